package files

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/proto"
)

// Table is a sorted table (.sst). It is read block by block, so that one bad block costs
// no more than itself. It is not safe for concurrent use.
//
//	block ... block  index  index length  checksum of the index  its length
type Table struct {
	file   *os.File
	info   TableInfo
	secret []byte
	blocks []block
	// records is how many there are in all blocks.
	records int
	// buf is what was read ahead, from the offset at.
	buf []byte
	at  int64
}

type block struct {
	first  []byte // key, with version
	offset int64
	size   int
}

// Bounds against nonsense, in bytes.
const (
	mostIndex    = 256 << 20
	mostChecksum = 64
	mostBlock    = 16 << 20

	readAhead = 256 << 10
)

// OpenTable opens a table and reads its index. The error is an [Error] if the index is
// damaged.
func OpenTable(name string, info TableInfo, keys Keys) (*Table, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	t := &Table{file: file, info: info}
	if err := t.open(keys); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return t, nil
}

func (t *Table) open(keys Keys) (err error) {
	raw, at, err := t.readIndex()
	if err != nil {
		return err
	}
	secrets := [][]byte{nil}
	switch {
	case t.info.Unknown:
		for _, id := range keys.ids {
			if secret, err := keys.secret(id); err == nil {
				secrets = append(secrets, secret)
			}
		}
	default:
		if secrets[0], err = keys.secret(t.info.Key); err != nil {
			return fmt.Errorf("the key with the number %d is not in KEYREGISTRY: %w", t.info.Key, err)
		}
	}
	for _, t.secret = range secrets {
		index := raw
		if t.secret != nil {
			if index, err = t.decrypt(raw); err != nil {
				continue
			}
		}
		if t.blocks, t.records, err = parseIndex(index, at); err == nil && t.fits() {
			return nil
		}
	}
	return &Error{At: at, What: "the index cannot be read", Err: err}
}

// fits reports whether the first block can be read, where it is not sure with which key.
func (t *Table) fits() bool {
	if !t.info.Unknown {
		return true
	}
	for i := range t.blocks {
		if _, err := t.Block(i); err == nil {
			return true
		}
	}
	return false
}

// readIndex returns the index as it stands in the file, and where.
func (t *Table) readIndex() (raw []byte, at int64, err error) {
	info, err := t.file.Stat()
	if err != nil {
		return nil, 0, err
	}
	at = info.Size()
	back := func(n int) []byte {
		if err != nil {
			return nil
		}
		if at -= int64(n); n < 0 || at < 0 {
			err = &Error{At: 0, What: "the file is too short"}
			return nil
		}
		buf := make([]byte, n)
		if _, readErr := t.file.ReadAt(buf, at); readErr != nil {
			err = &Error{At: at, What: "it cannot be read", Err: readErr}
		}
		return buf
	}
	length := func(most uint32) int {
		buf := back(4)
		if err != nil {
			return 0
		}
		n := binary.BigEndian.Uint32(buf)
		if n > most {
			err = &Error{At: at, What: fmt.Sprintf("a length is %d, which cannot be", n)}
			return 0
		}
		return int(n)
	}
	sum := back(length(mostChecksum))
	raw = back(length(mostIndex))
	if err != nil {
		return nil, 0, err
	}
	if err := verify(raw, sum); err != nil {
		return nil, 0, &Error{At: at, What: "the index is damaged", Err: err}
	}
	return raw, at, nil
}

// verify compares data with a checksum as Badger writes it.
func verify(data, sum []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return err
	}
	if want.Algo != pb.Checksum_CRC32C && want.Algo != pb.Checksum_XXHash64 {
		return errors.New("the checksum is of an unknown sort")
	}
	if y.VerifyChecksum(data, &want) != nil {
		return errors.New("the checksum does not match")
	}
	return nil
}

// parseIndex reads an index of a table whose blocks end at an offset. What FlatBuffers
// makes of data that is no index is a panic.
func parseIndex(data []byte, end int64) (blocks []block, records int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("it says what cannot be")
		}
	}()
	index := fb.GetRootAsTableIndex(data, 0)
	n := index.OffsetsLength()
	if n <= 0 || n > len(data) {
		return nil, 0, errors.New("it names no blocks")
	}
	var o fb.BlockOffset
	for i := range n {
		index.Offsets(&o, i)
		b := block{first: bytes.Clone(o.KeyBytes()), offset: int64(o.Offset()), size: int(o.Len())}
		if len(b.first) < versionLen || b.size <= 0 || b.size > mostBlock || b.offset+int64(b.size) > end {
			return nil, 0, fmt.Errorf("what it says of block %d cannot be", i)
		}
		blocks = append(blocks, b)
	}
	return blocks, int(index.KeyCount()), nil
}

// Records returns how many records the table has, with all their versions.
func (t *Table) Records() int { return t.records }

// Blocks returns the number of blocks.
func (t *Table) Blocks() int { return len(t.blocks) }

// First returns the first key of a block.
func (t *Table) First(i int) []byte { return y.ParseKey(t.blocks[i].first) }

// Close closes the file.
func (t *Table) Close() error { return t.file.Close() }

// Check reads every block, and returns an [Error] for each that cannot be read.
func (t *Table) Check() (bad []error) {
	for i := range t.blocks {
		if _, err := t.content(i); err != nil {
			bad = append(bad, err)
		}
	}
	return bad
}

// Block returns the entries of a block, in order. The error is an [Error].
func (t *Table) Block(i int) (entries []Entry, err error) {
	data, err := t.content(i)
	if err != nil {
		return nil, err
	}
	entries, err = parseBlock(data)
	if err != nil {
		return nil, t.bad(i, "a block says what cannot be", err)
	}
	return entries, nil
}

func (t *Table) bad(i int, what string, err error) error {
	return &Error{At: t.blocks[i].offset, What: what, Err: err}
}

// content returns a block decrypted, decompressed and verified, without its checksum.
func (t *Table) content(i int) ([]byte, error) {
	raw, err := t.read(t.blocks[i].offset, t.blocks[i].size)
	if err != nil {
		return nil, t.bad(i, "a block cannot be read", err)
	}
	if t.secret != nil {
		if raw, err = t.decrypt(raw); err != nil {
			return nil, t.bad(i, "a block cannot be decrypted", err)
		}
	}
	if !t.info.Unknown {
		return t.decompress(i, raw, t.info.Compression)
	}
	// Its checksum says how it is compressed.
	if data, err := t.decompress(i, raw, options.None); err == nil {
		return data, nil
	}
	return t.decompress(i, raw, options.Snappy)
}

// decompress returns a block decompressed and verified, without its checksum.
func (t *Table) decompress(i int, raw []byte, how options.CompressionType) (data []byte, err error) {
	switch how {
	case options.None:
	case options.Snappy:
		if n, err := snappy.DecodedLen(raw); err != nil || n > mostBlock {
			return nil, t.bad(i, "a block is damaged", err)
		}
		if raw, err = snappy.Decode(nil, raw); err != nil {
			return nil, t.bad(i, "a block is damaged", err)
		}
	default:
		return nil, t.bad(i, fmt.Sprintf("a block is compressed in the way %d, which is not known", how), nil)
	}
	n := len(raw) - 4
	if n < 0 {
		return nil, t.bad(i, "a block is too short", nil)
	}
	sum := binary.BigEndian.Uint32(raw[n:])
	if sum > mostChecksum || int(sum) > n {
		return nil, t.bad(i, "a block is damaged", nil)
	}
	data = raw[:n-int(sum)]
	if err := verify(data, raw[n-int(sum):n]); err != nil {
		return nil, t.bad(i, "a block is damaged", err)
	}
	return data, nil
}

// read returns a part of the file. It is good until the next call.
func (t *Table) read(offset int64, size int) ([]byte, error) {
	if offset >= t.at && offset+int64(size) <= t.at+int64(len(t.buf)) {
		return t.buf[offset-t.at:][:size], nil
	}
	if cap(t.buf) < max(size, readAhead) {
		t.buf = make([]byte, max(size, readAhead))
	}
	t.buf = t.buf[:cap(t.buf)]
	n, err := t.file.ReadAt(t.buf, offset)
	if n < size && (err == nil || errors.Is(err, io.EOF)) {
		err = io.ErrUnexpectedEOF
	}
	if n < size { // maybe only what stands behind it cannot be read
		n, err = t.file.ReadAt(t.buf[:size], offset)
	}
	t.buf, t.at = t.buf[:max(n, 0)], offset
	if n < size {
		return nil, err
	}
	return t.buf[:size], nil
}

// decrypt returns what stands behind data that ends with its initialization vector.
func (t *Table) decrypt(data []byte) ([]byte, error) {
	n := len(data) - aes.BlockSize
	if n < 0 {
		return nil, errors.New("it is too short")
	}
	return decrypt(data[:n], t.secret, data[n:])
}

// entryHeaderLen is that of an entry in a block: how much of its key is that of the first
// one, and how much follows.
const entryHeaderLen = 4

// parseBlock reads the entries of a block whose checksum is right.
//
//	entry ... entry  offset of each  their number
func parseBlock(data []byte) (entries []Entry, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("it says what cannot be")
		}
	}()
	n := len(data) - 4
	count := int(binary.BigEndian.Uint32(data[n:]))
	end := n - 4*count
	offset := func(i int) int {
		if i == count {
			return end
		}
		return int(binary.NativeEndian.Uint32(data[end+4*i:]))
	}
	var first []byte
	for i := range count {
		entry := data[offset(i):offset(i+1)]
		overlap, diff := binary.NativeEndian.Uint16(entry), binary.NativeEndian.Uint16(entry[2:])
		key := make([]byte, 0, int(overlap)+int(diff))
		key = append(append(key, first[:overlap]...), entry[entryHeaderLen:entryHeaderLen+int(diff)]...)
		if i == 0 {
			first = key
		}
		var v y.ValueStruct
		v.Decode(entry[entryHeaderLen+int(diff):])
		if v.Meta&bitValuePointer != 0 {
			return nil, errors.New("a value is in the value log")
		}
		e := Entry{Key: y.ParseKey(key), Version: y.ParseTs(key), Value: v.Value}
		e.judge(v.Meta, v.ExpiresAt)
		entries = append(entries, e)
	}
	return entries, nil
}

// Find returns the newest version of a key, or false.
func (t *Table) Find(key []byte) (found Entry, ok bool, err error) {
	// The first block that begins at the key or behind it; it may begin in the one before.
	i, _ := slices.BinarySearchFunc(t.blocks, key, func(b block, key []byte) int {
		return cmp.Or(bytes.Compare(y.ParseKey(b.first), key), 1)
	})
	for i = max(i-1, 0); i < len(t.blocks) && bytes.Compare(t.First(i), key) <= 0; i++ {
		entries, err := t.Block(i)
		if err != nil {
			return Entry{}, false, err
		}
		for _, e := range entries {
			if bytes.Equal(e.Key, key) {
				return e, true, nil
			}
		}
	}
	return Entry{}, false, nil
}

// End returns where the last block ends, and the index begins.
func (t *Table) End() int64 {
	last := t.blocks[len(t.blocks)-1]
	return last.offset + int64(last.size)
}
