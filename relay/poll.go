package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/relay/expression"
)

// answered is what one poll has found out.
type answered struct {
	polled Polled
	// message says in words what the answer was, where it was not what is waited for.
	message string
	// wait is how long the answer asked to be left alone.
	wait time.Duration
	// hopeless says that no poll can be made for this event.
	hopeless bool
}

// poll asks once whether what a delivery waits for is there, and says what becomes of the
// delivery. It never panics.
func (j *job) poll(ctx context.Context) (a Attempt, v verdict) {
	w := j.sub.WaitFor
	if j.event.Type == string(TopicTest) { // it is about the endpoint, and nothing else
		return a, verdict{end: endWaited, waited: waitSpared}
	}
	found := answered{message: j.resting}
	if j.resting == "" {
		var cut *verdict
		if found, cut = w.ask(ctx, j); cut != nil {
			return a, *cut
		}
	}
	v = verdict{end: endWaiting, message: found.message, wait: found.wait, polled: found.polled}
	now := time.Now()
	switch {
	case found.polled == PolledReady:
		v.end, v.waited = endWaited, waitReady
		return a, v
	case !found.hopeless && now.Before(j.waitEnds()):
		return a, v
	}
	v.waited = waitTimeout
	v.message = fmt.Sprintf("waited for %s in vain: %s", now.Sub(j.waitingSince()).Round(time.Second), found.message)
	if w.OnTimeout == TimeoutDeliver {
		v.end = endWaited
		return a, v
	}
	v.end, v.kind = endInVain, KindTimeout
	since := j.waitingSince()
	return Attempt{
		Number: j.attempts + 1, At: since, Duration: now.Sub(since), Error: v.message, ErrorKind: v.kind,
	}, v
}

// ask makes a poll. The verdict is not nil if nothing can be said because of this machine.
func (w *WaitFor) ask(ctx context.Context, j *job) (found answered, cut *verdict) {
	defer func() {
		if p := recover(); p != nil {
			found = answered{polled: PolledFailed, message: fmt.Sprintf("panic: %v", p)}
		}
	}()
	req, err := w.request(j)
	if err != nil {
		return answered{message: "no poll can be made for this event: " + err.Error(), hopeless: true}, nil
	}
	resp, _, err := egress.Send(ctx, w.Transport, time.Now().Add(j.sub.Timeout), req)
	if err != nil {
		v := judgeAnswer(ctx, err)
		if v.end == endCut || v.end == endUnavailable {
			return answered{}, &v
		}
		return answered{polled: PolledFailed, message: "no answer: " + v.message}, nil
	}
	defer resp.Body.Close()
	return w.judge(j, resp), nil
}

// request builds that of a poll.
func (w *WaitFor) request(j *job) (*http.Request, error) {
	target := w.URL
	if w.URLTemplate != nil {
		var err error
		if target, err = w.URLTemplate.URL(j.event); err != nil {
			return nil, err
		}
	}
	h := http.Header{fieldUserAgent: j.plan.userAgent}
	for i := range w.Header {
		if err := w.Header[i].apply(h, j.event); err != nil {
			return nil, err
		}
	}
	if _, ok := h[fieldUserAgent]; !ok {
		h[fieldUserAgent] = []string{""} // otherwise net/http adds its own
	}
	return &http.Request{
		Method: http.MethodGet, URL: target, Host: target.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h,
	}, nil
}

// judge says what an answer means.
func (w *WaitFor) judge(j *job, resp *http.Response) answered {
	message := "the answer was " + statusText(resp.StatusCode)
	wait, asks := retryAfter(resp.Header, time.Now())
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return answered{polled: PolledThrottled, message: message, wait: wait}
	case resp.StatusCode == http.StatusServiceUnavailable && asks:
		return answered{polled: PolledThrottled, message: message, wait: wait}
	}
	body, flaw := pollBody(resp.Body)
	ready, err := w.met(j, resp, body)
	switch {
	case ready:
		return answered{polled: PolledReady}
	case err != nil && flaw != nil:
		message += "; " + flaw.Error()
	case err != nil:
		message += "; until has no answer: " + err.Error()
	default:
		message += ", and until is not met"
	}
	return answered{polled: PolledNotReady, message: message}
}

// met reports whether an answer is what is waited for.
func (w *WaitFor) met(j *job, resp *http.Response, body []byte) (bool, error) {
	header := make(map[string]string, len(resp.Header))
	for name, values := range resp.Header {
		header[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	v := viewOf(j.event)
	defer v.close()
	if w.Until.Uses("data") {
		v.data()
	}
	return w.Until.MatchResponse(&v.Event, &expression.Response{Status: resp.StatusCode, Header: header, Body: body})
}

// pollBody reads the body of an answer, as it is. The error is why it is not there.
func pollBody(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, maxResponseRead+1))
	switch {
	case err != nil:
		return nil, errors.New("its body broke off")
	case len(data) > maxResponseRead:
		return nil, fmt.Errorf("its body has more than %d KiB, and was not read", maxResponseRead>>10)
	}
	return data, nil
}

// reportPoll tells the observer of the plan under which a poll was made. That a delivery is
// made although it has waited in vain is worth a warning; else the failed attempt is.
func (r settled) reportPoll(l *lane, j *job) {
	p := j.plan
	if r.polled != "" {
		p.observer.Polled(j.sub, r.polled)
	}
	switch r.waited {
	case waitReady:
		p.waited(j, WaitedReady)
	case waitTimeout:
		p.waited(j, WaitedTimeout)
		if r.outcome == "" {
			p.logWaited(l, j, r)
		}
	default:
	}
}

// waited tells observer and tracer of a wait that has ended.
func (p *Plan) waited(j *job, how Waited) {
	p.observer.Waited(j.sub.Name, how)
	if p.tracer != nil && j.event.Sampled() {
		p.tracer.Waited(j.event, j.sub, j.waitingSince(), how)
	}
}

// logWaited notes that a delivery is made although it has waited in vain; of a place that does
// not answer for long some records are enough.
func (p *Plan) logWaited(l *lane, j *job, r settled) {
	level := zap.WarnLevel
	silent, passes := l.vain.pass(r.now)
	if !passes {
		level = zap.DebugLevel
	}
	if c := p.logger.Check(level, "delivering what has waited in vain"); c != nil {
		c.Write(zap.String("subscription", j.sub.Name), zap.String("event", j.event.ID), zap.String("error", r.message),
			zap.Uint64("more_since_last", silent))
	}
}
