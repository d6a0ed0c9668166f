package badger

import (
	"encoding/binary"
	"errors"
	"fmt"

	bdb "github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caddyrelay/caddyrelay/relay"
)

// chunk is a run of positions in the log of a subscription. Those that a group appends to
// one log stand together in one record, under the first of them: what a record costs
// Badger hardly depends on its length. A position that was removed leaves a hole, so that
// the others keep theirs; the record goes with the last of them.
type chunk struct {
	sub   uint32
	first uint64
	// seqs are the events at first and behind it, at least one; 0 is a hole.
	seqs []relay.Seq
}

// chunkMost is how many positions a chunk may have. Who looks for the one that holds a
// position begins to read so far below it.
const chunkMost = 64

// Fields of a chunk. One of a single position is a record with one number, as formats
// before 3 have for each position.
const (
	chunkFirst = numberValue // Seq of the first position
	chunkRest  = 2           // packed: of each that follows, what it is above the one before
)

const (
	// entryLen is what a position takes at most with its share of the chunk's record.
	entryLen = logKeyLen + numberLen
	// chunkLen is what a chunk takes at most.
	chunkLen = entryLen + 3 + (chunkMost-1)*binary.MaxVarintLen64
)

var errTooMany = fmt.Errorf("it has more than %d positions", chunkMost)

// encode returns the record of a chunk.
func (c *chunk) encode(key []byte) []byte {
	var buf [(chunkMost - 1) * binary.MaxVarintLen64]byte
	rest, before := buf[:0], c.seqs[0]
	for _, seq := range c.seqs[1:] {
		if seq == 0 {
			rest = append(rest, 0)
			continue
		}
		// Above 0, which is a hole. An event that was added to the log late is older than the
		// one before.
		rest = protowire.AppendVarint(rest, protowire.EncodeZigZag(int64(seq-before))+1)
		before = seq
	}
	b := appendFixed(newRecord(numberLen+3+len(rest)), chunkFirst, uint64(c.seqs[0]))
	return seal(key, appendBytes(b, chunkRest, rest))
}

// decode reads a chunk. With an error it still has its first position, unless the key is
// none of a log.
func (c *chunk) decode(key, rec []byte) error {
	c.seqs = c.seqs[:0]
	if len(key) != logKeyLen {
		c.sub, c.first = 0, 0
		return &CorruptError{keyName(key), errShort}
	}
	c.sub, c.first = splitLogKey(key)
	c.seqs = append(c.seqs, 0)
	err := decode(key, rec, func(f *field) error {
		switch f.num {
		case chunkFirst:
			c.seqs[0] = relay.Seq(f.value)
		case chunkRest:
			return c.decodeRest(f)
		}
		return nil
	})
	if err == nil && c.last() < c.first {
		err = &CorruptError{keyName(key), errors.New("it goes beyond the last position")}
	}
	if err != nil {
		return &chunkError{sub: c.sub, Span: relay.Span{From: c.first, To: upTo(c.first)}, err: err}
	}
	return nil
}

func (c *chunk) decodeRest(f *field) error {
	before := c.seqs[0]
	return f.varints(func(v uint64) error {
		if len(c.seqs) == chunkMost {
			return errTooMany
		}
		if v == 0 {
			c.seqs = append(c.seqs, 0)
			return nil
		}
		before += relay.Seq(protowire.DecodeZigZag(v - 1))
		c.seqs = append(c.seqs, before)
		return nil
	})
}

// read decodes the record that an iterator stands at.
func (c *chunk) read(item *bdb.Item) error {
	return item.Value(func(rec []byte) error { return c.decode(item.Key(), rec) })
}

// upTo returns the last position that a chunk may have.
func upTo(first uint64) uint64 { return max(first, first+chunkMost-1) }

func (c *chunk) last() uint64 { return c.first + uint64(len(c.seqs)) - 1 }

func (c *chunk) covers(pos uint64) bool {
	return len(c.seqs) > 0 && c.first <= pos && pos <= c.last()
}

// at returns the event at a position that the chunk covers, 0 if there is none.
func (c *chunk) at(pos uint64) relay.Seq { return c.seqs[pos-c.first] }

// next returns the first position at or above pos that is not a hole.
func (c *chunk) next(pos uint64) (uint64, bool) {
	for pos = max(pos, c.first); c.covers(pos); pos++ {
		if c.at(pos) != 0 {
			return pos, true
		}
	}
	return 0, false
}

// empty reports whether there are only holes.
func (c *chunk) empty() bool {
	_, ok := c.next(c.first)
	return !ok
}

// chunkError is a record of a log that cannot be read, with the positions that it may
// have held.
type chunkError struct {
	sub uint32
	relay.Span
	err error
}

func (d *chunkError) Error() string {
	return fmt.Sprintf("the entries of the positions %d to %d, as far as there are so many: %v", d.From, d.To, d.err)
}

// Unwrap returns the cause, which is a [CorruptError].
func (d *chunkError) Unwrap() error { return d.err }
