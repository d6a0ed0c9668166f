package relay_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"time"
)

// visits are the requests of a fleet.
type visits struct {
	mu  sync.Mutex
	all []sentBy
	// answer decides about a request; nil: 200 at once.
	answer func(v *sentBy) (*http.Response, error)
	// inFlight counts what is under way, by subscription; most is the highest that was seen.
	inFlight, most map[string]int
}

// sentBy is one of them.
type sentBy struct {
	node             *node
	subscription, id string
	body             string
	at               time.Time
	request          *http.Request
	status           int // 0: none yet
}

func (s *visits) visit(n *node, r *http.Request) (*http.Response, error) {
	v := &sentBy{node: n, subscription: r.Header.Get("Relay-Subscription"), id: r.Header.Get("Webhook-Id"), at: time.Now(), request: r}
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		v.body = string(body)
	}
	s.mu.Lock()
	if s.most == nil {
		s.inFlight, s.most = make(map[string]int), make(map[string]int)
	}
	s.inFlight[v.subscription]++
	s.most[v.subscription] = max(s.most[v.subscription], s.inFlight[v.subscription])
	s.all = append(s.all, *v)
	i, decide := len(s.all)-1, s.answer
	s.mu.Unlock()
	resp, err := answer(200), error(nil)
	if decide != nil {
		resp, err = decide(v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight[v.subscription]--
	if err == nil {
		s.all[i].status = resp.StatusCode
		resp.Body = io.NopCloser(bytes.NewReader(nil))
	}
	return resp, err
}

// slowly answers 200 after a time, unless the attempt is cut.
func slowly(d time.Duration) func(v *sentBy) (*http.Response, error) {
	return func(v *sentBy) (*http.Response, error) {
		select {
		case <-time.After(d):
			return answer(200), nil
		case <-v.request.Context().Done():
			return nil, v.request.Context().Err()
		}
	}
}

// of returns the requests of a subscription so far.
func (s *visits) of(name string) (all []sentBy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.all {
		if v.subscription == name {
			all = append(all, v)
		}
	}
	return all
}

// taken counts how often an event was answered with 200.
func (s *visits) taken(name, id string) (n int) {
	for _, v := range s.of(name) {
		if v.id == id && v.status == 200 {
			n++
		}
	}
	return n
}
