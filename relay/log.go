package relay

import "go.uber.org/zap"

// logAttempt writes one record an attempt. It holds no payload, no secret and no URL: a
// webhook's URL is often a secret itself.
func (p *Plan) logAttempt(j *job, r settled, a Attempt) {
	switch r.outcome {
	case OutcomeDelivered, OutcomeCut:
		if c := p.logger.Check(zap.DebugLevel, "attempt"); c != nil {
			c.Write(attemptFields(j, r, a)...)
		}
	case OutcomeRetry:
		p.logger.Warn("attempt failed", attemptFields(j, r, a)...)
	default:
		p.logger.Error("delivery failed", attemptFields(j, r, a)...)
	}
}

func attemptFields(j *job, r settled, a Attempt) []zap.Field {
	fields := []zap.Field{
		zap.String("subscription", j.sub.Name),
		zap.String("outcome", string(r.outcome)),
		zap.Int("attempt", a.Number),
		zap.Duration("duration", a.Duration),
	}
	if j.event != nil {
		fields = append(fields, zap.String("event", j.event.ID), zap.String("type", j.event.Type))
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
	return fields
}
