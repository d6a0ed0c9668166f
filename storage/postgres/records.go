package postgres

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// The records of columns of type json. Fields that are zero are left out, and unknown ones
// are ignored, so that records can grow. Times keep nanoseconds and offset.

// attributes are what an event has beside its columns.
type attributes struct {
	Source      text            `json:"source,omitempty"`
	Subject     text            `json:"subject,omitempty"`
	SourceID    text            `json:"source_id,omitempty"`
	Time        time.Time       `json:"time,omitzero"`
	ContentType text            `json:"content_type,omitempty"`
	Extensions  map[string]text `json:"extensions,omitempty"`
	TraceParent text            `json:"traceparent,omitempty"`
	TraceState  text            `json:"tracestate,omitempty"`
	Only        []string        `json:"only,omitempty"`
	Moved       *origin         `json:"moved,omitempty"`
}

// origin is what an event has from the store that accepted it.
type origin struct {
	ID       string    `json:"id"`
	Accepted time.Time `json:"accepted"`
}

func encodeAttributes(e *relay.Event) (string, error) {
	a := attributes{
		Source: text(e.Source), Subject: text(e.Subject), SourceID: text(e.SourceID), Time: e.Time,
		ContentType: text(e.ContentType), TraceParent: text(e.TraceParent), TraceState: text(e.TraceState), Only: e.Only,
	}
	if e.Moved {
		a.Moved = &origin{e.ID, e.Accepted}
	}
	for name, value := range e.Extensions {
		if a.Extensions == nil {
			a.Extensions = make(map[string]text, len(e.Extensions))
		}
		a.Extensions[name] = text(value)
	}
	return encode(a)
}

func decodeAttributes(record []byte, e *relay.Event) error {
	var a attributes
	if err := json.Unmarshal(record, &a); err != nil {
		return err
	}
	e.Source, e.Subject, e.SourceID, e.Time = string(a.Source), string(a.Subject), string(a.SourceID), a.Time
	e.ContentType, e.TraceParent, e.TraceState, e.Only = string(a.ContentType), string(a.TraceParent), string(a.TraceState), a.Only
	if a.Moved != nil {
		e.Moved, e.ID, e.Accepted = true, a.Moved.ID, a.Moved.Accepted
	}
	if len(a.Extensions) > 0 {
		e.Extensions = make(map[string]string, len(a.Extensions))
		for name, value := range a.Extensions {
			e.Extensions[name] = string(value)
		}
	}
	return nil
}

// progress is relay.Progress without what stands in columns.
type progress struct {
	Low            uint64      `json:"low,omitempty"`
	Done           [][2]uint64 `json:"done,omitempty"` // from, to
	Delivered      uint64      `json:"delivered,omitempty"`
	Failed         uint64      `json:"failed,omitempty"`
	Superseded     uint64      `json:"superseded,omitempty"`
	Open           uint64      `json:"open,omitempty"`
	Paused         bool        `json:"paused,omitempty"`
	PausedReason   text        `json:"paused_reason,omitempty"`
	Disabled       bool        `json:"disabled,omitempty"`
	DisabledReason text        `json:"disabled_reason,omitempty"`
	HoldUntil      time.Time   `json:"hold_until,omitzero"`
	ProbeAt        time.Time   `json:"probe_at,omitzero"`
	ResumedAt      time.Time   `json:"resumed_at,omitzero"`
	NextDue        time.Time   `json:"next_due,omitzero"`
	LastSuccess    time.Time   `json:"last_success,omitzero"`
	FailingSince   time.Time   `json:"failing_since,omitzero"`
	// FailingFor is in nanoseconds.
	FailingFor time.Duration `json:"failing_for,omitzero"`
}

func encodeProgress(p *relay.Progress) (string, error) {
	var done [][2]uint64
	for _, s := range p.Done {
		done = append(done, [2]uint64{s.From, s.To})
	}
	return encode(progress{
		Low: p.Low, Done: done, Delivered: p.Delivered, Failed: p.Failed, Superseded: p.Superseded, Open: p.Open,
		Paused: p.Paused, PausedReason: text(p.PausedReason), Disabled: p.Disabled, DisabledReason: text(p.DisabledReason),
		HoldUntil: p.HoldUntil, ProbeAt: p.ProbeAt, ResumedAt: p.ResumedAt, NextDue: p.NextDue, LastSuccess: p.LastSuccess, FailingSince: p.FailingSince,
		FailingFor: p.FailingFor,
	})
}

func decodeProgress(record []byte, p *relay.Progress) error {
	var r progress
	if err := json.Unmarshal(record, &r); err != nil {
		return err
	}
	for _, s := range r.Done {
		p.Done = append(p.Done, relay.Span{From: s[0], To: s[1]})
	}
	p.Low, p.Delivered, p.Failed, p.Superseded, p.Open = r.Low, r.Delivered, r.Failed, r.Superseded, r.Open
	p.Paused, p.PausedReason, p.Disabled, p.DisabledReason = r.Paused, string(r.PausedReason), r.Disabled, string(r.DisabledReason)
	p.HoldUntil, p.ProbeAt, p.ResumedAt, p.NextDue, p.LastSuccess, p.FailingSince = r.HoldUntil, r.ProbeAt, r.ResumedAt, r.NextDue, r.LastSuccess, r.FailingSince
	p.FailingFor = r.FailingFor
	return nil
}

// exception is relay.Exception without its span, which stands in columns.
type exception struct {
	Kind     relay.Kind `json:"kind"`
	Seq      relay.Seq  `json:"seq,omitempty"`
	Attempts int        `json:"attempts,omitempty"`
	Step     int        `json:"step,omitempty"`
	At       time.Time  `json:"at,omitzero"`
	Due      time.Time  `json:"due,omitzero"`
	Since    time.Time  `json:"since,omitzero"`
	Key      text       `json:"key,omitempty"`
	Reason   text       `json:"reason,omitempty"`
}

func encodeException(x *relay.Exception) (string, error) {
	return encode(exception{
		Kind: x.Kind, Seq: x.Seq, Attempts: x.Attempts, Step: x.Step,
		At: x.At, Due: x.Due, Since: x.Since, Key: text(x.Key), Reason: text(x.Reason),
	})
}

func decodeException(first, last int64, record []byte) (relay.Exception, error) {
	var r exception
	err := json.Unmarshal(record, &r)
	return relay.Exception{
		From: uint64(first), To: uint64(last), Kind: r.Kind, Seq: r.Seq, Attempts: r.Attempts, Step: r.Step,
		At: r.At, Due: r.Due, Since: r.Since, Key: string(r.Key), Reason: string(r.Reason),
	}, err
}

// attempt is relay.Attempt without its number and excerpt.
type attempt struct {
	At        time.Time       `json:"at,omitzero"`
	Duration  time.Duration   `json:"duration_ns,omitempty"`
	Status    int             `json:"status,omitempty"`
	Error     text            `json:"error,omitempty"`
	ErrorKind relay.ErrorKind `json:"error_kind,omitempty"`
	Local     text            `json:"local,omitempty"`
	Remote    text            `json:"remote,omitempty"`
}

func encodeAttempt(a *relay.Attempt) (string, error) {
	return encode(attempt{
		At: a.At, Duration: a.Duration, Status: a.Status, Error: text(a.Error), ErrorKind: a.ErrorKind,
		Local: text(a.Local), Remote: text(a.Remote),
	})
}

func decodeAttempt(number int32, record, excerpt []byte) (relay.Attempt, error) {
	var r attempt
	err := json.Unmarshal(record, &r)
	return relay.Attempt{
		Number: int(number), At: r.At, Duration: r.Duration, Status: r.Status, Error: string(r.Error), ErrorKind: r.ErrorKind,
		Local: string(r.Local), Remote: string(r.Remote), Excerpt: excerpt,
	}, err
}

// receipt is what is kept of a relay.Receipt under an idempotency key: enough to repeat the
// answer even after the event was removed.
type receipt struct {
	Seq     relay.Seq `json:"seq,omitempty"`
	Type    text      `json:"type"`
	Matched []int32   `json:"matched,omitempty"`
	// ID is that of an event which another store accepted; it has no Seq here.
	ID text `json:"id,omitempty"`
}

func (r *receipt) eventID(tag uint16) string {
	if r.ID != "" {
		return string(r.ID)
	}
	return relay.FormatID(r.Seq, tag)
}

func encode(v any) (string, error) {
	raw, err := json.Marshal(v)
	return string(raw), err
}

// array writes numbers as PostgreSQL reads an array of them.
func array[T int32 | int64](numbers []T) string {
	b := append(make([]byte, 0, 2+8*len(numbers)), '{')
	for i, n := range numbers {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(append(b, '}'))
}
