package signature

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func vectorHeader() http.Header {
	return http.Header{
		"Webhook-Id":        {vectorID},
		"Webhook-Timestamp": {"1614265330"},
		"Webhook-Signature": {vectorSignature},
	}
}

func TestVerifyTakes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(h http.Header)
		now    time.Time
	}{
		{"the official vector", func(http.Header) {}, vectorTime},
		{"late, within tolerance", func(http.Header) {}, vectorTime.Add(DefaultTolerance)},
		{"early, within tolerance", func(http.Header) {}, vectorTime.Add(-DefaultTolerance)},
		{"one of several", func(h http.Header) {
			h.Set(HeaderSignature, otherSignature+" v1a,AAAA v2,x "+vectorSignature)
		}, vectorTime},
		{"several lines", func(h http.Header) {
			h[HeaderSignature] = []string{otherSignature, vectorSignature}
		}, vectorTime},
	} {
		h := vectorHeader()
		tt.change(h)
		if err := Verify(mustSecret(t, vectorSecret), h, []byte(vectorBody), tt.now, DefaultTolerance); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestVerifySaysWhatIsWrong(t *testing.T) {
	sentinels := []error{ErrID, ErrTimestamp, ErrSignature, ErrMismatch}
	for _, tt := range []struct {
		name string
		// change what arrives.
		change   func(h http.Header)
		body     string
		now      time.Time
		sentinel error
		want     string
	}{
		{
			name: "no id", change: func(h http.Header) { h.Del(HeaderID) },
			sentinel: ErrID, want: "missing",
		},
		{
			name: "empty id", change: func(h http.Header) { h.Set(HeaderID, "") },
			sentinel: ErrID, want: "missing",
		},
		{
			name: "two ids", change: func(h http.Header) { h.Add(HeaderID, "b") },
			sentinel: ErrID, want: "2 times",
		},
		{
			name: "id with a dot", change: func(h http.Header) { h.Set(HeaderID, "a.b") },
			sentinel: ErrID, want: "dot",
		},
		{
			name: "no timestamp", change: func(h http.Header) { h.Del(HeaderTimestamp) },
			sentinel: ErrTimestamp, want: "missing",
		},
		{
			name: "two timestamps", change: func(h http.Header) { h.Add(HeaderTimestamp, "1614265330") },
			sentinel: ErrTimestamp, want: "2 times",
		},
		{
			name: "timestamp as text", change: func(h http.Header) { h.Set(HeaderTimestamp, "today") },
			sentinel: ErrTimestamp, want: `"today" is not a whole number`,
		},
		{
			name: "negative timestamp", change: func(h http.Header) { h.Set(HeaderTimestamp, "-161426533") },
			sentinel: ErrTimestamp, want: "not a whole number",
		},
		{
			name: "timestamp with a sign", change: func(h http.Header) { h.Set(HeaderTimestamp, "+1614265330") },
			sentinel: ErrTimestamp, want: "not a whole number",
		},
		{
			name: "milliseconds", change: func(h http.Header) { h.Set(HeaderTimestamp, "1614265330000") },
			sentinel: ErrTimestamp, want: "milliseconds?",
		},
		{
			name: "old", now: vectorTime.Add(DefaultTolerance + time.Second),
			sentinel: ErrTimestamp, want: "is 5m1s ago, and 5m0s is allowed",
		},
		{
			name: "from the future", now: vectorTime.Add(-DefaultTolerance - time.Second),
			sentinel: ErrTimestamp, want: "is 5m1s in the future",
		},
		{
			name: "not signed", change: func(h http.Header) { h.Del(HeaderSignature) },
			sentinel: ErrSignature, want: "missing",
		},
		{
			name: "empty signature", change: func(h http.Header) { h.Set(HeaderSignature, " ") },
			sentinel: ErrSignature, want: "missing",
		},
		{
			name: "signature without a version", change: func(h http.Header) { h.Set(HeaderSignature, vectorSignature[3:]) },
			sentinel: ErrSignature, want: "begins with v1,",
		},
		{
			name: "ed25519 only", change: func(h http.Header) { h.Set(HeaderSignature, "v1a,AAAA") },
			sentinel: ErrSignature, want: "public key",
		},
		{
			name: "another id", change: func(h http.Header) { h.Set(HeaderID, vectorID+"x") },
			sentinel: ErrMismatch, want: "webhook-id or webhook-timestamp",
		},
		{
			name: "another timestamp", change: func(h http.Header) { h.Set(HeaderTimestamp, "1614265331") },
			sentinel: ErrMismatch, want: "webhook-id or webhook-timestamp",
		},
		{
			name: "another secret", change: func(h http.Header) { h.Set(HeaderSignature, otherSignature) },
			sentinel: ErrMismatch, want: "the secret is another one, or the body",
		},
		{
			name: "cut signature", change: func(h http.Header) { h.Set(HeaderSignature, vectorSignature[:20]) },
			sentinel: ErrMismatch, want: "the secret is another one",
		},
		{
			name: "another body", body: `{"test":2432232314}`,
			sentinel: ErrMismatch, want: "parsed and written again",
		},
		{
			name: "a body with a line break", body: vectorBody + "\r\n",
			sentinel: ErrMismatch, want: "has a line break at its end that was not signed",
		},
		{
			name: "old and another body", body: "{}", now: vectorTime.Add(time.Hour),
			sentinel: ErrMismatch, want: "the secret is another one",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := vectorHeader()
			if tt.change != nil {
				tt.change(h)
			}
			body, now := tt.body, tt.now
			if body == "" {
				body = vectorBody
			}
			if now.IsZero() {
				now = vectorTime
			}
			err := Verify(mustSecret(t, vectorSecret), h, []byte(body), now, DefaultTolerance)
			for _, sentinel := range sentinels {
				if errors.Is(err, sentinel) != errors.Is(sentinel, tt.sentinel) {
					t.Errorf("%v; is it %q: %v", err, sentinel, errors.Is(err, sentinel))
				}
			}
			if err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want: %s", err, tt.want)
			}
		})
	}
}

func TestVerifyMissesTheLineBreakThatWasSigned(t *testing.T) {
	h := http.Header{}
	body := []byte(vectorBody + "\n")
	if err := mustStandard(t, TimedSecret{Secret: vectorSecret}).Sign(h, Message{ID: vectorID, Time: vectorTime, Body: body}); err != nil {
		t.Fatal(err)
	}
	// The byte after the body is another's: looking for the line break must not
	// write over it.
	err := Verify(mustSecret(t, vectorSecret), h, body[:len(body)-1:len(body)], vectorTime, 0)
	if !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "lacks the line break") {
		t.Error(err)
	}
}

func TestVerifyWithoutToleranceTakesOldRequests(t *testing.T) {
	if err := Verify(mustSecret(t, vectorSecret), vectorHeader(), []byte(vectorBody), vectorTime.Add(9999*time.Hour), 0); err != nil {
		t.Error(err)
	}
}

func TestVerifyRefusesTheZeroSecret(t *testing.T) {
	if err := Verify(StandardSecret{}, vectorHeader(), []byte(vectorBody), vectorTime, 0); err == nil {
		t.Error("a request was verified without a secret")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(vectorID, "1614265330", vectorSignature, []byte(vectorBody))
	f.Add("", "-1", "v1,", []byte{})
	f.Add("a.b", "999999999999", "v1a, v1,  ,", []byte("\n"))
	secret := mustSecret(f, vectorSecret)
	f.Fuzz(func(t *testing.T, id, stamp, signature string, body []byte) {
		h := http.Header{HeaderID: {id}, HeaderTimestamp: {stamp}, HeaderSignature: {signature}}
		err := Verify(secret, h, body, vectorTime, DefaultTolerance)
		switch {
		case err == nil:
			// Only what holds the secret can make another one.
			if id != vectorID || stamp != "1614265330" || string(body) != vectorBody {
				t.Fatalf("verified: %q %q %q %q", id, stamp, signature, body)
			}
		case !errors.Is(err, ErrID) && !errors.Is(err, ErrTimestamp) && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrMismatch):
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}
