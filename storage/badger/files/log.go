package files

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"strconv"

	"github.com/dgraph-io/badger/v4/y"
)

// Log is what a log (.mem) turned out to hold.
//
//	number of the key  initialization vector  entry ... entry
//
// An entry is its meta bits, the lengths of key and value, key, value, and a checksum. The
// last entry of a transaction is a mark.
type Log struct {
	// End is where Badger would cut the log: behind the last whole transaction before the
	// first byte that is wrong. It is 0 if Badger would not open it.
	End int64
	// Rest says that something else than zeros stands behind End.
	Rest bool
	// Behind are the entries that can be read there nevertheless, marks left out.
	Behind []Entry
}

// Versions returns how many transactions the entries behind the end are of.
func (l *Log) Versions() int {
	seen := make(map[uint64]struct{})
	for i := range l.Behind {
		seen[l.Behind[i].Version] = struct{}{}
	}
	return len(seen)
}

const (
	logHeaderLen = 8 + 12
	mostHeader   = 2 + 3*binary.MaxVarintLen64
	mostKey      = 1 << 16
	// mostValue is larger than any value of ours.
	mostValue = 2 << 20
)

// ReadLog reads a log. each gets the entries up to its end, unless it is nil.
func ReadLog(name string, keys Keys, each func(Entry)) (*Log, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	s := &logScanner{window: window{file: file, size: info.Size()}}
	header := s.window.bytes(0, logHeaderLen)
	if len(header) < logHeaderLen {
		return &Log{Rest: len(bytes.Trim(header, "\x00")) > 0}, nil
	}
	copy(s.vector[:], header[8:])
	if s.secret, err = keys.secret(binary.BigEndian.Uint64(header)); err != nil {
		return s.withAny(keys), nil
	}
	log := &Log{End: s.whole(each)}
	log.Rest = s.window.skipZeros(log.End) < info.Size()
	if log.Rest {
		log.Behind = s.behind(log.End)
	}
	return log, nil
}

// withAny reads a log that names a key which there is not, by whatever key there is.
func (s *logScanner) withAny(keys Keys) *Log {
	log := &Log{Rest: true}
	for _, id := range append([]uint64{0}, keys.ids...) {
		s.secret, _ = keys.secret(id)
		if found := s.behind(logHeaderLen); len(found) > len(log.Behind) || id == 0 {
			log.Behind = found
		}
	}
	return log
}

// logScanner reads the entries of a log.
type logScanner struct {
	window window
	secret []byte
	vector [12]byte
}

type logEntry struct {
	Entry
	meta, userMeta byte
	expires        uint64
	next           int64 // where it ends
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// at reads the entry at an offset. What it returns is good until the next call.
func (s *logScanner) at(offset int64) (e logEntry, ok bool) {
	head := s.window.bytes(offset, mostHeader)
	if len(head) < 6 {
		return e, false
	}
	e.meta, e.userMeta = head[0], head[1]
	at := 2
	number := func() uint64 {
		v, n := binary.Uvarint(head[at:])
		if n <= 0 {
			return ^uint64(0)
		}
		at += n
		return v
	}
	keyLen, valueLen := number(), number()
	e.expires = number()
	if keyLen <= versionLen || keyLen > mostKey || valueLen > mostValue {
		return e, false
	}
	size := at + int(keyLen) + int(valueLen)
	raw := s.window.bytes(offset, size+crc32.Size)
	if len(raw) < size+crc32.Size || crc32.Checksum(raw[:size], castagnoli) != binary.BigEndian.Uint32(raw[size:]) {
		return e, false
	}
	plain, err := decrypt(raw[at:size], s.secret, binary.BigEndian.AppendUint32(bytes.Clone(s.vector[:]), uint32(offset)))
	if err != nil {
		return e, false
	}
	key := plain[:keyLen]
	e.Key, e.Version, e.Value = y.ParseKey(key), y.ParseTs(key), plain[keyLen:]
	e.judge(e.meta, e.expires)
	e.next = offset + int64(size) + crc32.Size
	return e, true
}

// whole reads whole transactions and returns where they end, as Badger does when it opens
// the log.
func (s *logScanner) whole(each func(Entry)) (end int64) {
	end = logHeaderLen
	var version uint64 // of the transaction under way; 0 if there is none
	var pending []Entry
	for offset := end; ; {
		e, ok := s.at(offset)
		if !ok {
			return end
		}
		offset = e.next
		switch {
		case e.meta&bitTxn != 0:
			if version != 0 && version != e.Version {
				return end
			}
			version = e.Version
		case e.meta&bitFinTxn != 0:
			n, err := strconv.ParseUint(string(e.Value), 10, 64)
			if err != nil || n != version {
				return end
			}
			version = 0
		case version != 0:
			return end
		}
		if each != nil && e.meta&bitFinTxn == 0 {
			pending = append(pending, e.clone())
		}
		if version != 0 {
			continue
		}
		end = offset
		for _, p := range pending {
			each(p)
		}
		pending = pending[:0]
	}
}

// behind finds the entries behind an offset, at whatever byte they begin.
func (s *logScanner) behind(offset int64) (found []Entry) {
	for offset = s.window.skipZeros(offset); offset < s.window.size; offset = s.window.skipZeros(offset) {
		head := s.window.bytes(offset, 2)
		if len(head) < 2 { // the disk does not give it
			offset += 512
			continue
		}
		// Most offsets are none of an entry, and need no checksum to be told.
		if kind := head[0] &^ bitDelete; (kind != bitTxn && kind != bitFinTxn) || head[1] != 0 {
			offset++
			continue
		}
		e, ok := s.at(offset)
		if !ok || e.expires > Gone {
			offset++
			continue
		}
		if e.meta&bitFinTxn == 0 {
			found = append(found, e.clone())
		}
		offset = e.next
	}
	return found
}

func (e *logEntry) clone() Entry {
	c := e.Entry
	c.Key, c.Value = bytes.Clone(c.Key), bytes.Clone(c.Value)
	return c
}
