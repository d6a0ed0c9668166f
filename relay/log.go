package relay

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logAttempt writes one record an attempt. It holds no payload, no secret and no URL: a
// webhook's URL is often a secret itself. Of an endpoint that fails again and again some
// records are enough, the others are written on the debug level.
func (l *lane) logAttempt(j *job, r settled, a Attempt) {
	level, message, pace := zap.DebugLevel, "attempt", (*logPace)(nil)
	switch r.outcome {
	case OutcomeDelivered, OutcomeCut:
	case OutcomeRetry:
		level, message, pace = zap.WarnLevel, "attempt failed", &l.failures
	default:
		level, message, pace = zap.ErrorLevel, "delivery failed", &l.losses
	}
	var silent uint64
	if pace != nil {
		var passes bool
		if silent, passes = pace.pass(r.now); !passes {
			level = zap.DebugLevel
		}
	}
	if c := j.plan.logger.Check(level, message); c != nil {
		fields := attemptFields(j, r, a)
		if silent > 0 {
			fields = append(fields, zap.Uint64("more_since_last", silent))
		}
		c.Write(fields...)
	}
}

func attemptFields(j *job, r settled, a Attempt) []zapcore.Field {
	fields := []zap.Field{
		zap.String("subscription", j.sub.Name),
		zap.String("region", j.sub.Region),
		zap.String("outcome", string(r.outcome)),
		zap.Int("attempt", a.Number),
		zap.Duration("duration", a.Duration),
	}
	if j.event != nil {
		fields = append(fields, zap.String("event", j.event.ID), zap.String("type", j.event.Type))
		if id := j.event.TraceID(); id != "" {
			fields = append(fields, zap.String("trace_id", id))
		}
	}
	if a.Status != 0 {
		fields = append(fields, zap.Int("status", a.Status))
	}
	if a.Local != "" {
		fields = append(fields, zap.String("local_address", a.Local))
	}
	if r.message != "" {
		fields = append(fields, zap.String("error", r.message))
	}
	if a.ErrorKind != KindNone {
		fields = append(fields, zap.String("error_kind", string(a.ErrorKind)))
	}
	if !r.due.IsZero() {
		fields = append(fields, zap.Time("next_attempt", r.due))
	}
	return fields
}

// Records of one level about one subscription: so many in each window.
const (
	logBurst  = 10
	logWindow = time.Minute
)

// logPace lets the first records of each window pass.
type logPace struct {
	mu     sync.Mutex
	began  time.Time
	passed int
	silent uint64
}

// pass reports whether a record may be written, and how many were not since the last.
func (p *logPace) pass(now time.Time) (silent uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if since := now.Sub(p.began); since < 0 || since >= logWindow {
		p.began, p.passed = now, 0
	}
	if p.passed >= logBurst {
		p.silent++
		return 0, false
	}
	p.passed++
	silent, p.silent = p.silent, 0
	return silent, true
}
