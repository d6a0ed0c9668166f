package intake

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// Limits of a batch.
const (
	// DefaultMaxBatch is the number of events unless [Options] say otherwise.
	DefaultMaxBatch = 1000
	// MaxMaxBatch bounds the option: long before it the store says how many fit.
	MaxMaxBatch = 10_000
	// MaxBatchSize is in bytes of the body.
	MaxBatchSize = 2 << 20
)

// batch is a body of many events on their way to the engine: all of them, or none.
type batch struct {
	h      *Handler
	s      *submission
	events []relay.Publication
	faults faults
	// before is the number of faults of the items before this one.
	before int
}

// parseArray reads application/cloudevents-batch+json: an array of CloudEvents. An empty
// one is right, and does nothing (JSON format 1.0.2, section 4.3).
func (h *Handler) parseArray(s *submission) ([]relay.Publication, *refusal) {
	if ref := checkEncoding(s.body); ref != nil {
		return nil, ref
	}
	c := payload.Open(s.body)
	defer c.Close()
	if c.PeekKind() != jsontext.KindBeginArray {
		if ref := checkJSON(s.body, maxDepth); ref != nil {
			return nil, ref
		}
		return nil, refuse(problemBatch, "The body is not an array. A batch is [...] of CloudEvents; a single one is sent as application/cloudevents+json.")
	}
	b := batch{h: h, s: s}
	if _, err := c.ReadToken(); err != nil {
		return nil, diagnose(s.body)
	}
	for i := 0; c.PeekKind() != jsontext.KindEndArray; i++ {
		b.enter(i, 0)
		if ref := b.readElement(c); ref != nil {
			return nil, ref
		}
	}
	if _, err := c.ReadToken(); err != nil || !readEnd(c) {
		return nil, diagnose(s.body)
	}
	return b.finish()
}

// readElement reads the next element of an array.
func (b *batch) readElement(c *payload.Cursor) *refusal {
	if c.PeekKind() != jsontext.KindBeginObject {
		value, err := c.Raw()
		if err != nil {
			return diagnose(b.s.body)
		}
		if tooDeep(value, maxDepth+1) >= 0 {
			return checkDepth(b.s.body, maxDepth+2)
		}
		b.faults.whole("must be an object, a CloudEvent")
		return nil
	}
	var o object
	if !o.read(c) {
		return diagnose(b.s.body)
	}
	text := c.Since(o.start)
	// The text of an element is two levels above its data.
	if tooDeep(text, maxDepth+1) >= 0 {
		return checkDepth(b.s.body, maxDepth+2)
	}
	return b.add(text, o.cloudEvent(&b.faults))
}

// parseLines reads application/x-ndjson: an envelope or a CloudEvent a line.
func (h *Handler) parseLines(s *submission) ([]relay.Publication, *refusal) {
	b := batch{h: h, s: s}
	number, start := 0, 0
	for line := range bytes.Lines(s.body) {
		number++
		at := start
		start += len(line)
		text := bytes.Trim(line, " \t\r\n")
		if len(text) == 0 {
			continue
		}
		at += bytes.Index(line, text[:1])
		b.enter(len(b.s.lines), number)
		b.s.lines = append(b.s.lines, number)
		if ref := b.readLine(text); ref != nil {
			return nil, ref.inLine(number, len(b.s.lines)-1, at)
		}
	}
	if len(b.s.lines) == 0 {
		return nil, refuse(problemMalformed, "The body has no line with an event.")
	}
	return b.finish()
}

// readLine reads one line of NDJSON, which is not empty.
func (b *batch) readLine(text []byte) *refusal {
	var o object
	isObject, ref := parseObject(text, &o)
	switch {
	case ref != nil:
		return ref
	case !isObject:
		b.faults.whole("must be an object, an envelope or a CloudEvent")
		return nil
	case o.known[attrSpecVersion] != nil:
		return b.add(text, o.cloudEvent(&b.faults))
	}
	return b.add(text, o.envelope(&b.faults))
}

// enter goes to the item of that index, on that line of an NDJSON body.
func (b *batch) enter(index, line int) {
	b.faults.item, b.faults.line = pointerTo(index), line
	b.before = b.faults.count
}

// add takes an item, unless something is wrong with it or with one before: then nothing
// will be stored.
func (b *batch) add(text []byte, d draft) *refusal {
	if len(text) > b.h.maxSize {
		ref := oversized(fmt.Sprintf("has an event of %d bytes", len(text)), int64(b.h.maxSize), mendEvent)
		ref.faults = []fault{{Pointer: b.faults.item, Line: b.faults.line, Detail: "too large"}}
		return ref
	}
	if b.faults.count == b.before && b.before < maxFaults && b.h.catalogue.HasSchema(d.typ) {
		b.h.checkSchema(&d, &b.faults)
	}
	if b.faults.count > 0 {
		return nil
	}
	if len(b.events) == b.h.maxBatch {
		return tooMany(b.h.maxBatch)
	}
	// Of its own: one event that waits for its receiver must not keep the whole batch.
	d.data, d.text = bytes.Clone(d.data), text
	p, ref := b.h.publication(b.s, &d)
	if ref != nil {
		b.faults.whole(ref.detail)
		return nil
	}
	b.events = append(b.events, p)
	return nil
}

func (b *batch) finish() ([]relay.Publication, *refusal) {
	if b.faults.count > 0 {
		return nil, b.faults.refusal(problemBatch, "batch")
	}
	var ref *refusal
	b.s.whole, ref = b.h.wholeKey(b.s)
	return b.events, ref
}

func tooMany(most int) *refusal {
	return &refusal{
		kind:   problemBatchTooLarge,
		detail: fmt.Sprintf("The batch has more than %d events (max_batch). Nothing was stored; send at most so many in a request.", most),
		fits:   &most,
	}
}

func pointerTo(index int) string { return fmt.Sprintf("/%d", index) }

// inLine makes a refusal that is about a line of an NDJSON body one that is about the
// body: the item of that index, which begins at a byte of it.
func (ref *refusal) inLine(number, index, start int) *refusal {
	if ref.kind == problemBatchTooLarge || ref.kind == problemTooLarge {
		return ref // they are about the body already
	}
	ref.detail = fmt.Sprintf("Line %d: %s", number, ref.detail)
	if len(ref.faults) == 0 {
		ref.faults = []fault{{Detail: "see the detail"}}
	}
	for i := range ref.faults {
		f := &ref.faults[i]
		f.Pointer, f.Line = pointerTo(index)+f.Pointer, number
		if f.Offset != nil {
			*f.Offset += start
		}
	}
	return ref
}
