//go:build linux

package bench

import (
	"math/rand/v2"
	"strconv"
)

// An event's body is {"id":"<16 hex digits>","fill":"<text>"}: the number stands where
// the sink finds it without parsing.
const (
	bodyHead  = `{"id":"`
	bodyID    = 16
	bodyFill  = `","fill":"`
	bodyTail  = `"}`
	minSize   = len(bodyHead) + bodyID + len(bodyFill) + len(bodyTail)
	fillStart = minSize - len(bodyTail)
)

// fillText is as hard to compress as text of six bits a character can be, so that
// storage cannot win by squeezing it. Each body takes another piece of it.
var fillText = func() []byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	random := rand.New(rand.NewPCG(1, 2)) // the same in each run
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = alphabet[random.IntN(len(alphabet))]
	}
	return text
}()

// newBody returns a body of the size whose number is still to be set.
func newBody(size int) []byte {
	body := make([]byte, size)
	copy(body, bodyHead)
	copy(body[len(bodyHead)+bodyID:], bodyFill)
	copy(body[size-len(bodyTail):], bodyTail)
	return body
}

// setEvent makes the body that of the event with the number.
func setEvent(body []byte, number uint64) {
	const digits = "0123456789abcdef"
	for i := range bodyID {
		body[len(bodyHead)+i] = digits[number>>(4*(bodyID-1-i))&0xf]
	}
	fill := body[fillStart : len(body)-len(bodyTail)]
	// A step that is prime to the length takes neighbours far apart.
	from := int(number * 7919 % uint64(len(fillText)-len(fill)+1))
	copy(fill, fillText[from:])
}

// eventNumber reads the number of a body.
func eventNumber(body []byte) (uint64, bool) {
	if len(body) < minSize || string(body[:len(bodyHead)]) != bodyHead {
		return 0, false
	}
	number, err := strconv.ParseUint(string(body[len(bodyHead):len(bodyHead)+bodyID]), 16, 64)
	return number, err == nil
}
