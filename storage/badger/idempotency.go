package badger

import (
	"crypto/sha256"
	"errors"
	"fmt"

	bdb "github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Fields of an idempotency key, and of each of its receipts.
const (
	idemSum     = 1
	idemStored  = 2
	idemReceipt = 3 // repeated

	receiptSeq     = 1
	receiptType    = 2
	receiptMatched = 3 // packed ids
	receiptID      = 4 // in the place of the Seq, where another store gave it
)

// known is what is kept of an idempotency key.
type known struct {
	relay.KnownKey[receipt]
	// stored is only read, not written from here.
	stored relay.Seq
}

func newKnown(sum [sha256.Size]byte, receipts []receipt) *known {
	return &known{KnownKey: relay.KnownKey[receipt]{Sum: sum, Receipts: receipts}}
}

// receipt is a relay.Receipt in the store's numbers.
type receipt struct {
	seq     relay.Seq
	typ     string
	matched []uint32
	// id is that of an event of another store, or empty.
	id string
}

// eventID returns the ID of the event that it is about.
func (r *receipt) eventID(tag uint16) string {
	if r.id != "" {
		return r.id
	}
	return relay.FormatID(r.seq, tag)
}

// idemSize is at least what an idempotency key takes with its entry by age.
func idemSize(receipts []receipt) int {
	n := idemKeyLen + frameLen + 2 + sha256.Size + 9 + idemAgeKeyLen + frameLen
	for _, r := range receipts {
		n += receiptSize(len(r.typ), len(r.matched)) + maxStringLen + len(r.id)
	}
	return n
}

// receiptSize is at least what a receipt takes.
func receiptSize(typ, matched int) int {
	return 3*maxStringLen + 9 + typ + 5*matched
}

func encodeKnown(key []byte, stored relay.Seq, k *known) []byte {
	b := newRecord(idemSize(k.Receipts))
	b = appendBytes(b, idemSum, k.Sum[:])
	b = appendFixed(b, idemStored, uint64(stored))
	var buf []byte
	for _, r := range k.Receipts {
		buf = appendFixed(buf[:0], receiptSeq, uint64(r.seq))
		buf = appendString(buf, receiptType, r.typ)
		buf = appendString(buf, receiptID, r.id)
		if len(r.matched) > 0 {
			size := 0
			for _, id := range r.matched {
				size += protowire.SizeVarint(uint64(id))
			}
			buf = protowire.AppendVarint(protowire.AppendTag(buf, receiptMatched, protowire.BytesType), uint64(size))
			for _, id := range r.matched {
				buf = protowire.AppendVarint(buf, uint64(id))
			}
		}
		b = appendBytes(b, idemReceipt, buf)
	}
	return seal(key, b)
}

// knownUnder returns what is kept of an idempotency key, or nil.
func knownUnder(txn *bdb.Txn, h idemHash) (found *known, err error) {
	key := idemKey(h)
	err = get(txn, key, func(rec []byte) (err error) {
		found, err = decodeKnown(key, rec)
		return err
	})
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return nil, nil
	}
	return found, err
}

func decodeKnown(key, rec []byte) (*known, error) {
	k := &known{}
	err := decode(key, rec, func(f *field) error {
		switch f.num {
		case idemSum:
			if len(f.bytes) != len(k.Sum) {
				return errors.New("its digest has a wrong length")
			}
			k.Sum = [sha256.Size]byte(f.bytes)
		case idemStored:
			k.stored = relay.Seq(f.value)
		case idemReceipt:
			r, err := decodeReceipt(f.bytes)
			if err != nil {
				return fmt.Errorf("reading a receipt: %w", err)
			}
			k.Receipts = append(k.Receipts, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

func decodeReceipt(b []byte) (r receipt, err error) {
	err = eachField(b, func(f *field) error {
		switch f.num {
		case receiptSeq:
			r.seq = relay.Seq(f.value)
		case receiptType:
			r.typ = f.string()
		case receiptID:
			r.id = f.string()
		case receiptMatched:
			return f.varints(func(v uint64) error {
				r.matched = append(r.matched, uint32(v))
				return nil
			})
		}
		return nil
	})
	return r, err
}
