package badger

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
)

// Data of events is packed one by one, when it is appended, and not by Badger in the blocks of
// its tables: that packs again at each merge, and takes two and a half times the memory for it
// that the table itself takes. Shorter data has little in it that repeats.
const packFrom = 512

// unpackMost is more than an event that could be stored has.
const unpackMost = 4 * valueThreshold

// packing are buffers to pack into, each as large as its data needed at most.
var packing = sync.Pool{New: func() any { return new([]byte) }}

// withPacked calls fn with the data in a shorter form, or with nil if that is hardly shorter.
func withPacked(data []byte, fn func(packed []byte)) {
	if len(data) < packFrom {
		fn(nil)
		return
	}
	buf := packing.Get().(*[]byte)
	defer packing.Put(buf)
	if most := s2.MaxEncodedLen(len(data)); cap(*buf) < most {
		*buf = make([]byte, most)
	}
	packed := s2.Encode((*buf)[:cap(*buf)], data)
	if len(packed) > len(data)-len(data)/8 {
		packed = nil
	}
	fn(packed)
}

// unpackedLen returns how long packed data was.
func unpackedLen(packed []byte) (int, error) {
	n, err := s2.DecodedLen(packed)
	switch {
	case err != nil:
		return 0, fmt.Errorf("its packed data: %w", err)
	case n > unpackMost:
		return 0, errors.New("its packed data is too long")
	}
	return n, nil
}

func unpack(packed []byte) ([]byte, error) {
	n, err := unpackedLen(packed)
	if err != nil {
		return nil, err
	}
	data, err := s2.Decode(make([]byte, n), packed)
	if err != nil {
		return nil, fmt.Errorf("its packed data: %w", err)
	}
	return data, nil
}
