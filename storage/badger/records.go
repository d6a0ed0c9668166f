package badger

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caddyrelay/caddyrelay/relay"
)

// A record with one number: an entry of a log (Seq), the id of a name.
const numberValue = 1

// numberLen is the size of such a record.
const numberLen = frameLen + 1 + 8

func encodeNumber(key []byte, v uint64) []byte {
	return seal(key, appendFixed(newRecord(numberLen), numberValue, v))
}

func decodeNumber(key, rec []byte) (v uint64, err error) {
	err = decode(key, rec, func(f *field) error {
		if f.num == numberValue {
			v = f.value
		}
		return nil
	})
	return v, err
}

// Fields of a subscription's progress.
const (
	progressHead           = 1
	progressLow            = 2
	progressDone           = 3 // packed: from, to, from, to, ...
	progressDelivered      = 4
	progressFailed         = 5
	progressSuperseded     = 6
	progressOpen           = 7
	progressPaused         = 8
	progressPausedReason   = 9
	progressDisabled       = 10
	progressDisabledReason = 11
	progressHoldUntil      = 12
	progressLastSuccess    = 13
	progressFailingSince   = 14
	progressFloor          = 15 // lowest position that may not be trimmed yet
	progressProbeAt        = 16
	progressResumedAt      = 17
	progressNextDue        = 18
	progressFailingFor     = 19
)

// progressSize is at least the size of the record of p with its key.
func progressSize(p *relay.Progress) int {
	return progressKeyLen + frameLen + 10*12 + 6*maxTimeLen + 3*maxStringLen +
		len(p.PausedReason) + len(p.DisabledReason) + 20*len(p.Done)
}

func encodeProgress(key []byte, st *state) []byte {
	p := &st.progress
	b := newRecord(progressSize(p))
	b = appendUint(b, progressHead, p.Head)
	b = appendUint(b, progressLow, p.Low)
	if len(p.Done) > 0 {
		packed := make([]byte, 0, 20*len(p.Done))
		for _, s := range p.Done {
			packed = protowire.AppendVarint(protowire.AppendVarint(packed, s.From), s.To)
		}
		b = appendBytes(b, progressDone, packed)
	}
	b = appendUint(b, progressDelivered, p.Delivered)
	b = appendUint(b, progressFailed, p.Failed)
	b = appendUint(b, progressSuperseded, p.Superseded)
	b = appendUint(b, progressOpen, p.Open)
	b = appendBool(b, progressPaused, p.Paused)
	b = appendString(b, progressPausedReason, p.PausedReason)
	b = appendBool(b, progressDisabled, p.Disabled)
	b = appendString(b, progressDisabledReason, p.DisabledReason)
	b = appendTime(b, progressHoldUntil, p.HoldUntil)
	b = appendTime(b, progressLastSuccess, p.LastSuccess)
	b = appendTime(b, progressFailingSince, p.FailingSince)
	b = appendUint(b, progressFloor, st.floor)
	b = appendTime(b, progressProbeAt, p.ProbeAt)
	b = appendTime(b, progressResumedAt, p.ResumedAt)
	b = appendTime(b, progressNextDue, p.NextDue)
	b = appendUint(b, progressFailingFor, uint64(p.FailingFor))
	return seal(key, b)
}

// decodeProgress leaves the name to the caller, who has it from elsewhere.
func decodeProgress(key, rec []byte) (st state, err error) {
	p := &st.progress
	err = decode(key, rec, func(f *field) (err error) {
		switch f.num {
		case progressHead:
			p.Head = f.value
		case progressLow:
			p.Low = f.value
		case progressDone:
			var ends []uint64
			err = f.varints(func(v uint64) error { ends = append(ends, v); return nil })
			for i := 0; i+1 < len(ends); i += 2 {
				p.Done = append(p.Done, relay.Span{From: ends[i], To: ends[i+1]})
			}
		case progressDelivered:
			p.Delivered = f.value
		case progressFailed:
			p.Failed = f.value
		case progressSuperseded:
			p.Superseded = f.value
		case progressOpen:
			p.Open = f.value
		case progressPaused:
			p.Paused = f.value != 0
		case progressPausedReason:
			p.PausedReason = f.string()
		case progressDisabled:
			p.Disabled = f.value != 0
		case progressDisabledReason:
			p.DisabledReason = f.string()
		case progressHoldUntil:
			p.HoldUntil, err = f.time()
		case progressLastSuccess:
			p.LastSuccess, err = f.time()
		case progressFailingSince:
			p.FailingSince, err = f.time()
		case progressFloor:
			st.floor = f.value
		case progressProbeAt:
			p.ProbeAt, err = f.time()
		case progressResumedAt:
			p.ResumedAt, err = f.time()
		case progressNextDue:
			p.NextDue, err = f.time()
		case progressFailingFor:
			p.FailingFor = time.Duration(f.value)
		}
		return err
	})
	return st, err
}

// Fields of an exception. From follows from the key.
const (
	exceptTo       = 1
	exceptSeq      = 2
	exceptKind     = 3
	exceptAttempts = 4
	exceptStep     = 5
	exceptDue      = 6
	exceptSince    = 7
	exceptKeyText  = 8
	exceptReason   = 9
	exceptAt       = 10
)

// exceptSize is at least the size of the record of e with its key.
func exceptSize(e *relay.Exception) int {
	return exceptKeyLen + frameLen + 5*12 + 3*maxTimeLen + 2*maxStringLen + len(e.Key) + len(e.Reason)
}

func encodeException(key []byte, e *relay.Exception) []byte {
	b := newRecord(exceptSize(e))
	b = appendUint(b, exceptTo, e.To)
	b = appendUint(b, exceptSeq, uint64(e.Seq))
	b = appendUint(b, exceptKind, uint64(e.Kind))
	b = appendInt(b, exceptAttempts, int64(e.Attempts))
	b = appendInt(b, exceptStep, int64(e.Step))
	b = appendTime(b, exceptDue, e.Due)
	b = appendTime(b, exceptSince, e.Since)
	b = appendString(b, exceptKeyText, e.Key)
	b = appendString(b, exceptReason, e.Reason)
	b = appendTime(b, exceptAt, e.At)
	return seal(key, b)
}

func decodeException(key, rec []byte) (e relay.Exception, err error) {
	_, _, e.From, err = splitExceptKey(key)
	if err != nil {
		return e, &CorruptError{keyName(key), err}
	}
	err = decode(key, rec, func(f *field) (err error) {
		switch f.num {
		case exceptTo:
			e.To = f.value
		case exceptSeq:
			e.Seq = relay.Seq(f.value)
		case exceptKind:
			e.Kind = relay.Kind(f.value)
		case exceptAttempts:
			e.Attempts = int(f.int())
		case exceptStep:
			e.Step = int(f.int())
		case exceptDue:
			e.Due, err = f.time()
		case exceptSince:
			e.Since, err = f.time()
		case exceptKeyText:
			e.Key = f.string()
		case exceptReason:
			e.Reason = f.string()
		case exceptAt:
			e.At, err = f.time()
		}
		return err
	})
	return e, err
}

// Fields of an attempt.
const (
	attemptNumber   = 1
	attemptAt       = 2
	attemptDuration = 3
	attemptStatus   = 4
	attemptError    = 5
	attemptKind     = 6
	attemptLocal    = 7
	attemptRemote   = 8
	attemptExcerpt  = 9
)

// attemptSize is at least the size of the record of a with its key.
func attemptSize(a *relay.Attempt) int {
	return attemptKeyLen + frameLen + 3*12 + maxTimeLen + 5*maxStringLen +
		len(a.Error) + len(a.ErrorKind) + len(a.Local) + len(a.Remote) + len(a.Excerpt)
}

func encodeAttempt(key []byte, a *relay.Attempt) []byte {
	return seal(key, appendAttempt(newRecord(attemptSize(a)), a))
}

func appendAttempt(b []byte, a *relay.Attempt) []byte {
	b = appendInt(b, attemptNumber, int64(a.Number))
	b = appendTime(b, attemptAt, a.At)
	b = appendInt(b, attemptDuration, int64(a.Duration))
	b = appendInt(b, attemptStatus, int64(a.Status))
	b = appendString(b, attemptError, a.Error)
	b = appendString(b, attemptKind, string(a.ErrorKind))
	b = appendString(b, attemptLocal, a.Local)
	b = appendString(b, attemptRemote, a.Remote)
	return appendBytes(b, attemptExcerpt, a.Excerpt)
}

func decodeAttempt(key, rec []byte) (a relay.Attempt, err error) {
	fields, err := unseal(key, rec)
	if err != nil {
		return a, err
	}
	return decodeAttemptFields(key, fields)
}

// decodeAttemptFields reads an attempt that stands in the record under key.
func decodeAttemptFields(key, fields []byte) (a relay.Attempt, err error) {
	err = eachField(fields, func(f *field) (err error) {
		switch f.num {
		case attemptNumber:
			a.Number = int(f.int())
		case attemptAt:
			a.At, err = f.time()
		case attemptDuration:
			a.Duration = time.Duration(f.int())
		case attemptStatus:
			a.Status = int(f.int())
		case attemptError:
			a.Error = f.string()
		case attemptKind:
			a.ErrorKind = relay.ErrorKind(f.bytes)
		case attemptLocal:
			a.Local = f.string()
		case attemptRemote:
			a.Remote = f.string()
		case attemptExcerpt:
			a.Excerpt = bytes.Clone(f.bytes)
		}
		return err
	})
	if err != nil {
		err = &CorruptError{keyName(key), err}
	}
	return a, err
}
