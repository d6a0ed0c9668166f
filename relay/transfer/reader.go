package transfer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/caddyrelay/caddyrelay/relay"
)

// maxLine bounds a line, in bytes: an event with fifty attempts for each of some dozens of
// subscriptions.
const maxLine = 64 << 20

// ErrCut means that the last line is missing: what was read is not all there was.
var ErrCut = errors.New("the export is cut off: its last line is missing")

// Error says what is wrong with a line.
type Error struct {
	// Line counts from 1.
	Line int
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Item is what a line says; only one of its members is set.
type Item struct {
	Event        *relay.Moved
	Key          *relay.MovedKey
	Subscription *relay.Steering
	Egress       []byte
}

// Reader reads what a [Writer] has written.
type Reader struct {
	in     *bufio.Reader
	digest hash.Hash
	number int
	counts Counts
	head   Head
}

// NewReader reads the first line.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10), digest: sha256.New()}
	l, _, err := r.line()
	switch {
	case errors.Is(err, io.EOF):
		return nil, &Error{1, errors.New("it is empty; give what caddy relay export has written")}
	case err != nil:
		return nil, err
	case l.Head == nil:
		return nil, &Error{1, errors.New("this is no export of a relay; give what caddy relay export has written")}
	case l.Head.Format != format:
		return nil, &Error{1, fmt.Errorf("it has format %d, this program knows format %d; use a newer one", l.Head.Format, format)}
	}
	r.head = *l.Head
	return r, nil
}

// Head returns the first line.
func (r *Reader) Head() Head { return r.head }

// Counts returns what was read so far.
func (r *Reader) Counts() Counts { return r.counts }

// line reads one. sum is the digest of all lines before it.
func (r *Reader) line() (l *line, sum string, err error) {
	var text []byte
	for {
		part, err := r.in.ReadSlice('\n')
		text = append(text, part...)
		if err == nil {
			break
		}
		if errors.Is(err, io.EOF) && len(text) > 0 {
			return nil, "", &Error{r.number + 1, ErrCut}
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, "", err
		}
		if len(text) > maxLine {
			return nil, "", &Error{r.number + 1, fmt.Errorf("it has more than %d bytes", maxLine)}
		}
	}
	r.number++
	sum = hex.EncodeToString(r.digest.Sum(nil))
	r.digest.Write(text)
	l = new(line)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(l); err != nil {
		return nil, "", &Error{r.number, err}
	}
	return l, sum, nil
}

// Next returns what the next line says. The error is [io.EOF] at the end of what is whole,
// [ErrCut], an [Error], or that of the source.
func (r *Reader) Next() (item Item, err error) {
	l, sum, err := r.line()
	if errors.Is(err, io.EOF) {
		return item, &Error{r.number + 1, ErrCut}
	}
	if err != nil {
		return item, err
	}
	switch {
	case l.Event != nil:
		r.counts.Events++
		item.Event, err = l.Event.value()
	case l.Key != nil:
		r.counts.Keys++
		item.Key, err = l.Key.value()
	case l.Subscription != nil:
		r.counts.Subscriptions++
		item.Subscription, err = l.Subscription.value()
	case l.Egress != nil:
		item.Egress = l.Egress
	case l.End != nil:
		return item, r.end(l.End, sum)
	default:
		err = errors.New("it says nothing")
	}
	if err != nil {
		return item, &Error{r.number, err}
	}
	return item, nil
}

// end compares the last line with what stands before it.
func (r *Reader) end(e *end, sum string) error {
	if e.SHA256 != sum || e.Counts != r.counts {
		return &Error{r.number, errors.New("the lines before it are not those that were written: the file was changed, or lines are missing")}
	}
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		return &Error{r.number + 1, errors.New("something follows the last line; import one export after the other")}
	}
	return io.EOF
}

// Check reads to the end, and returns what there is.
func Check(in io.Reader) (Head, Counts, error) {
	r, err := NewReader(in)
	if err != nil {
		return Head{}, Counts{}, err
	}
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			return r.head, r.counts, nil
		} else if err != nil {
			return r.head, r.counts, err
		}
	}
}
