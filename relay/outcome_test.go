package relay

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// judged is when the answers of these tests came.
var judged = time.Date(2026, time.November, 21, 23, 0, 0, 0, time.UTC)

// meaning says in a word what an attempt's result does to a delivery that has one more
// retry, and to its subscription.
func meaning(v verdict) string {
	switch v.end {
	case endDelivered:
		return "delivered"
	case endCut:
		return "cut"
	case endUnavailable:
		return "no address"
	default: // the receiver's failure
	}
	s := &Subscription{
		Name: "crm", MaxInFlight: 1, Breaker: DefaultBreaker, DisableAfter: DefaultDisableAfter,
		Retry: RetryPolicy{Delays: []time.Duration{time.Minute}},
	}
	var c condition
	c.failed(s, v, judged)
	kind, due, reason := next(&job{sub: s, parcel: parcel{since: judged}}, v, judged)
	switch {
	case kind != Retry:
		return "failed: " + string(reason)
	case c.Disabled && due.Equal(judged):
		return "disable"
	case c.HoldUntil.After(judged) && due.Equal(c.HoldUntil):
		return "hold " + due.Sub(judged).String()
	case !c.Disabled && c.HoldUntil.IsZero() && due.Equal(judged.Add(time.Minute)):
		return "retry"
	default:
		return fmt.Sprintf("%+v, %v", c.Progress, due)
	}
}

func TestAnswersMeanWhatTheTableSays(t *testing.T) {
	for _, c := range []struct {
		status int
		header string // "Field: value"
		want   string
		kind   ErrorKind
	}{
		{200, "", "delivered", KindNone},
		{201, "", "delivered", KindNone},
		{202, "", "delivered", KindNone},
		{204, "", "delivered", KindNone},
		{206, "", "delivered", KindNone},
		{299, "", "delivered", KindNone},
		{200, "Retry-After: 60", "delivered", KindNone},

		{300, "", "retry", Kind3xx},
		{301, "Location: https://example.com/", "retry", Kind3xx},
		{302, "Location: https://example.com/", "retry", Kind3xx},
		{303, "", "retry", Kind3xx},
		{304, "", "retry", Kind3xx},
		{307, "Location: https://example.com/", "retry", Kind3xx},
		{308, "", "retry", Kind3xx},
		{301, "Retry-After: 60", "retry", Kind3xx},
		{399, "", "retry", Kind3xx},

		{400, "", "retry", Kind4xx},
		{401, "", "retry", Kind4xx},
		{403, "", "retry", Kind4xx},
		{404, "", "retry", Kind4xx},
		{408, "", "retry", Kind4xx},
		{409, "", "retry", Kind4xx},
		{413, "Retry-After: 60", "retry", Kind4xx},
		{422, "", "retry", Kind4xx},
		{425, "", "retry", Kind4xx},
		{425, "Retry-After: 60", "retry", Kind4xx},
		{499, "", "retry", Kind4xx},

		{410, "", "disable", Kind4xx},
		{410, "Retry-After: 60", "disable", Kind4xx},

		{500, "", "retry", Kind5xx},
		{500, "Retry-After: 60", "retry", Kind5xx},
		{501, "", "retry", Kind5xx},
		{502, "", "retry", Kind5xx},
		{502, "Retry-After: 60", "retry", Kind5xx},
		{504, "", "retry", Kind5xx},
		{599, "", "retry", Kind5xx},

		// What is no status of HTTP is a failure as any other.
		{101, "Upgrade: websocket", "retry", KindProtocol},
		{199, "", "retry", KindProtocol},
		{600, "", "retry", KindProtocol},
		{666, "Retry-After: 60", "retry", KindProtocol},
		{999, "", "retry", KindProtocol},
		{1, "", "retry", KindProtocol},
	} {
		h := make(http.Header)
		if field, value, ok := strings.Cut(c.header, ": "); ok {
			h.Set(field, value)
		}
		v := judgeStatus(c.status, h, judged)
		if got := meaning(v); got != c.want || v.kind != c.kind || v.status != c.status {
			t.Errorf("%d %s: %s (%s, status %d); want %s (%s)", c.status, c.header, got, v.kind, v.status, c.want, c.kind)
		}
		if failed := c.want != "delivered"; failed != (v.message != "") || failed && !strings.Contains(v.message, fmt.Sprint(c.status)) {
			t.Errorf("%d: the message is %q", c.status, v.message)
		}
	}
}

// retryAfters are the forms of the field (RFC 9110, section 10.2.3), those that people
// write, and what they mean at the time judged; 0: nothing.
var retryAfters = []struct {
	value string
	want  time.Duration
}{
	{"1", time.Second},
	{"120", 2 * time.Minute},
	{" 60 ", time.Minute},
	{"0060", time.Minute},
	{"86400", 24 * time.Hour},
	{"86401", 24 * time.Hour},
	{"315360000", 24 * time.Hour}, // ten years
	{"9223372036854775807", 24 * time.Hour},
	{"9223372036854775808", 24 * time.Hour},
	{strings.Repeat("9", 1000), 24 * time.Hour},
	{"Sat, 21 Nov 2026 23:10:00 GMT", 10 * time.Minute},
	{"Saturday, 21-Nov-26 23:10:00 GMT", 10 * time.Minute}, // RFC 850
	{"Sat Nov 21 23:10:00 2026", 10 * time.Minute},         // asctime
	{"Sat, 21 Nov 2026 23:00:01 GMT", time.Second},
	{"Sat, 21 Nov 2036 23:10:00 GMT", 24 * time.Hour},

	{"", 0},
	{"0", 0},
	{"-60", 0},
	{"+60", 0},
	{"1.5", 0},
	{"60s", 0},
	{"60, 120", 0},
	{"0x3c", 0},
	{"६०", 0},
	{"soon", 0},
	{"2026-11-21T23:10:00Z", 0},
	{"Sat, 21 Nov 2026 23:00:00 GMT", 0}, // now
	{"Sat, 21 Nov 2026 22:59:59 GMT", 0},
	{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
	{"Sat, 32 Nov 2026 23:10:00 GMT", 0},
}

func TestRetryAfterHoldsTheSubscription(t *testing.T) {
	for status, kind := range map[int]ErrorKind{429: Kind429, 503: Kind5xx} {
		for _, c := range retryAfters {
			v := judgeStatus(status, http.Header{"Retry-After": {c.value}}, judged)
			want := "retry"
			if c.want > 0 {
				want = "hold " + c.want.String()
			}
			if got := meaning(v); got != want || v.kind != kind {
				t.Errorf("%d with Retry-After %q: %s (%s); want %s (%s)", status, c.value, got, v.kind, want, kind)
			}
		}
		if v := judgeStatus(status, http.Header{}, judged); meaning(v) != "retry" || v.kind != kind {
			t.Errorf("%d without Retry-After: %s (%s)", status, meaning(v), v.kind)
		}
	}
	// The first field counts, as everywhere in net/http.
	v := judgeStatus(429, http.Header{"Retry-After": {"60", "120"}}, judged)
	if got := meaning(v); got != "hold 1m0s" {
		t.Errorf("two fields: %s", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, c := range retryAfters {
		f.Add(c.value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		d, ok := retryAfter(http.Header{"Retry-After": {value}}, judged)
		if ok != (d > 0) || d > maxRetryAfter {
			t.Errorf("%q: %v, %v", value, d, ok)
		}
	})
}

func TestErrorsMeanWhatTheTableSays(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	call := func(name string, err syscall.Errno) error { return os.NewSyscallError(name, err) }
	for _, c := range []struct {
		err  error
		want string
		kind ErrorKind
	}{
		{&destination.BlockedError{Host: "crm.example.com", Reason: "it is private"}, "retry", KindBlocked},
		{dial(&destination.BlockedError{Reason: "it is private"}), "retry", KindBlocked},

		{&net.DNSError{Err: "no such host", Name: "crm.example.com", IsNotFound: true}, "retry", KindDNS},
		{dial(&net.DNSError{Err: "i/o timeout", Name: "crm.example.com", IsTimeout: true}), "retry", KindDNS},

		{dial(call("connect", syscall.ECONNREFUSED)), "retry", KindConnect},
		{dial(call("connect", syscall.EHOSTUNREACH)), "retry", KindConnect},
		{dial(call("connect", syscall.ENETUNREACH)), "retry", KindConnect},
		{dial(call("connect", syscall.ECONNRESET)), "retry", KindConnect},

		{dial(os.ErrDeadlineExceeded), "retry", KindTimeout},
		{dial(call("connect", syscall.ETIMEDOUT)), "retry", KindTimeout},
		{os.ErrDeadlineExceeded, "retry", KindTimeout},
		{context.DeadlineExceeded, "retry", KindTimeout},

		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "retry", KindTLS},
		{tls.AlertError(40), "retry", KindTLS},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "retry", KindTLS},
		{x509.UnknownAuthorityError{}, "retry", KindTLS},
		{x509.HostnameError{Certificate: new(x509.Certificate), Host: "crm.example.com"}, "retry", KindTLS},
		{x509.CertificateInvalidError{Cert: new(x509.Certificate), Reason: x509.Expired}, "retry", KindTLS},
		{errors.New("remote error: tls: handshake failure"), "retry", KindTLS},

		{&net.OpError{Op: "read", Err: call("read", syscall.ECONNRESET)}, "retry", KindReset},
		{&net.OpError{Op: "write", Err: call("write", syscall.EPIPE)}, "retry", KindReset},
		{io.EOF, "retry", KindReset},
		{io.ErrUnexpectedEOF, "retry", KindReset},
		{errors.New("http: server closed idle connection"), "retry", KindReset},

		{errors.New(`net/http: HTTP/1.x transport connection broken: malformed HTTP response "SSH-2.0"`), "retry", KindProtocol},
		{errors.New("net/http: server response headers exceeded 65536 bytes; aborted"), "retry", KindProtocol},

		{dial(call("socket", syscall.EMFILE)), "no address", KindNone},
		{dial(call("socket", syscall.ENFILE)), "no address", KindNone},
		{dial(call("socket", syscall.ENOBUFS)), "no address", KindNone},
		{dial(call("connect", syscall.EADDRNOTAVAIL)), "no address", KindNone}, // no port is left

		{&egress.UnavailableError{Region: "eu", Reason: "its address 192.0.2.10 is not on this machine"}, "no address", KindNone},
		{dial(&egress.UnavailableError{Region: "eu"}), "no address", KindNone},
	} {
		for name, err := range map[string]error{
			"as it is":       c.err,
			"wrapped":        fmt.Errorf("connecting: %w", c.err),
			"of a client":    &url.Error{Op: "Post", URL: "https://crm.example.com/", Err: c.err},
			"one of several": errors.Join(errors.New("the other address"), c.err),
		} {
			v := judgeError(context.Background(), err)
			if got := meaning(v); got != c.want || v.kind != c.kind || v.status != 0 || v.message == "" {
				t.Errorf("%v (%s): %s (%s, %q); want %s (%s)", err, name, got, v.kind, v.message, c.want, c.kind)
			}
		}
		// A stop cuts an attempt wherever it is: what came of it is not the receiver's fault.
		stopped, stop := context.WithCancelCause(context.Background())
		stop(errDraining)
		if v := judgeError(stopped, c.err); meaning(v) != "cut" || v.kind != KindNone {
			t.Errorf("%v, cut by a stop: %s (%s)", c.err, meaning(v), v.kind)
		}
	}
}

// What the context ends, without an error that says so, is a timeout.
func TestWhatTheDeadlineEndsIsATimeout(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	<-ctx.Done()
	for _, err := range []error{errors.New("use of closed network connection"), context.Canceled, io.EOF} {
		if v := judgeError(ctx, err); v.kind != KindTimeout || meaning(v) != "retry" {
			t.Errorf("%v: %s (%s)", err, meaning(v), v.kind)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type refusingSigner struct{}

func (refusingSigner) Sign(http.Header, signature.Message) error {
	return errors.New("no secret is valid now")
}

// TestAttemptFailsAlone: what guest modules do wrong is a failure of one attempt.
func TestAttemptFailsAlone(t *testing.T) {
	var sent int
	answers := func(status int) roundTrip {
		return func(*http.Request) (*http.Response, error) {
			sent++
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("because"))}, nil
		}
	}
	for name, c := range map[string]struct {
		transport http.RoundTripper
		signers   []signature.Signer
		want      string
		kind      ErrorKind
		sent      int
	}{
		"delivered":          {answers(204), nil, "delivered", KindNone, 1},
		"a strange status":   {answers(600), nil, "retry", KindProtocol, 1},
		"no secret":          {answers(204), []signature.Signer{refusingSigner{}}, "retry", KindSign, 0},
		"a signer panics":    {answers(204), []signature.Signer{nil}, "retry", KindPanic, 0},
		"a transport panics": {roundTrip(nil), nil, "retry", KindPanic, 0},
	} {
		sent = 0
		s := &Subscription{
			Name: "crm", Method: http.MethodPost, URL: &url.URL{Scheme: "https", Host: "crm.example.com"},
			Timeout: time.Second, Transport: c.transport, Signers: c.signers,
		}
		j := &job{sub: s, plan: new(Plan), parcel: parcel{event: &Event{ID: "evt_1", Type: "a", Data: []byte("1")}}}
		a, v := j.attempt(context.Background())
		if got := meaning(v); got != c.want || v.kind != c.kind || sent != c.sent {
			t.Errorf("%s: %s (%s), %d requests; want %s (%s), %d", name, got, v.kind, sent, c.want, c.kind, c.sent)
		}
		if a.Number != 1 || a.ErrorKind != c.kind || a.Error != v.message || a.At.IsZero() {
			t.Errorf("%s: the record is %+v", name, a)
		}
	}
}

func TestWhatBecomesOfAFailedDelivery(t *testing.T) {
	const wait = 10 * time.Minute
	answered := func(status int) verdict { return judgeStatus(status, http.Header{}, judged) }
	asked := func(status int) verdict {
		return judgeStatus(status, http.Header{"Retry-After": {"600"}}, judged)
	}
	lost := failure(KindConnect, "connection refused")
	delays := []time.Duration{time.Minute, time.Hour}
	for name, c := range map[string]struct {
		policy RetryPolicy
		step   int
		age    time.Duration // since the first attempt
		v      verdict
		// in is when it is due; reason is why it is not.
		in     time.Duration
		reason Reason
	}{
		"the first delay":             {RetryPolicy{Delays: delays}, 0, 0, answered(500), time.Minute, ""},
		"the second delay":            {RetryPolicy{Delays: delays}, 1, 0, answered(500), time.Hour, ""},
		"no delay left":               {RetryPolicy{Delays: delays}, 2, 0, answered(500), 0, ReasonSchedule},
		"long after the last":         {RetryPolicy{Delays: delays}, 99, 0, lost, 0, ReasonSchedule},
		"a delay of zero":             {RetryPolicy{Delays: []time.Duration{0}}, 0, 0, answered(500), 0, ""},
		"every status by default":     {RetryPolicy{Delays: delays}, 0, 0, answered(404), time.Minute, ""},
		"a redirect by default":       {RetryPolicy{Delays: delays}, 0, 0, answered(302), time.Minute, ""},
		"no status of HTTP":           {RetryPolicy{Delays: delays}, 0, 0, answered(600), time.Minute, ""},
		"Retry-After beats the delay": {RetryPolicy{Delays: delays}, 0, 0, asked(429), wait, ""},
		"also where it is shorter":    {RetryPolicy{Delays: delays}, 1, 0, asked(503), wait, ""},
		"Retry-After uses one up":     {RetryPolicy{Delays: delays}, 2, 0, asked(429), 0, ReasonSchedule},
		"gone":                        {RetryPolicy{Delays: delays}, 0, 0, answered(410), 0, ""},
		"gone after the last":         {RetryPolicy{Delays: delays}, 2, 0, answered(410), 0, ""},

		"off":                     {RetryPolicy{Off: true}, 0, 0, answered(500), 0, ReasonSchedule},
		"off, no answer":          {RetryPolicy{Off: true}, 0, 0, lost, 0, ReasonSchedule},
		"off, with delays":        {RetryPolicy{Off: true, Delays: delays}, 0, 0, lost, 0, ReasonSchedule},
		"off, Retry-After":        {RetryPolicy{Off: true}, 0, 0, asked(429), 0, ReasonSchedule},
		"off, but gone: is held":  {RetryPolicy{Off: true}, 0, 0, answered(410), 0, ""},
		"on_status, gone is held": {RetryPolicy{Delays: delays, OnStatus: []int{5}}, 0, 0, answered(410), 0, ""},

		"on_status class":              {RetryPolicy{Delays: delays, OnStatus: []int{5}}, 0, 0, answered(599), time.Minute, ""},
		"on_status code":               {RetryPolicy{Delays: delays, OnStatus: []int{408, 5}}, 0, 0, answered(408), time.Minute, ""},
		"not its code":                 {RetryPolicy{Delays: delays, OnStatus: []int{408, 5}}, 0, 0, answered(404), 0, ReasonStatus},
		"not its class":                {RetryPolicy{Delays: delays, OnStatus: []int{4}}, 0, 0, answered(500), 0, ReasonStatus},
		"not its class, the last":      {RetryPolicy{Delays: delays, OnStatus: []int{4}}, 2, 0, answered(500), 0, ReasonStatus},
		"no code of a class":           {RetryPolicy{Delays: delays, OnStatus: []int{500}}, 0, 0, answered(503), 0, ReasonStatus},
		"never what is no status":      {RetryPolicy{Delays: delays, OnStatus: []int{3, 4, 5}}, 0, 0, answered(600), 0, ReasonStatus},
		"always what has none":         {RetryPolicy{Delays: delays, OnStatus: []int{500}}, 0, 0, lost, time.Minute, ""},
		"429 is not exempt":            {RetryPolicy{Delays: delays, OnStatus: []int{5}}, 0, 0, answered(429), 0, ReasonStatus},
		"but with Retry-After":         {RetryPolicy{Delays: delays, OnStatus: []int{5}}, 0, 0, asked(429), wait, ""},
		"503 with Retry-After, always": {RetryPolicy{Delays: delays, OnStatus: []int{4}}, 0, 0, asked(503), wait, ""},
		"502 with Retry-After, not":    {RetryPolicy{Delays: delays, OnStatus: []int{4}}, 0, 0, asked(502), 0, ReasonStatus},

		"give_up_after, early":       {RetryPolicy{Delays: delays, GiveUpAfter: time.Hour}, 0, 58 * time.Minute, lost, time.Minute, ""},
		"give_up_after, just":        {RetryPolicy{Delays: delays, GiveUpAfter: time.Hour}, 0, 59 * time.Minute, lost, time.Minute, ""},
		"give_up_after, late":        {RetryPolicy{Delays: delays, GiveUpAfter: time.Hour}, 0, 59*time.Minute + 1, lost, 0, ReasonGiveUpAfter},
		"give_up_after, Retry-After": {RetryPolicy{Delays: delays, GiveUpAfter: time.Hour}, 0, 51 * time.Minute, asked(429), 0, ReasonGiveUpAfter},
		"give_up_after, but gone":    {RetryPolicy{Delays: delays, GiveUpAfter: time.Hour}, 0, 99 * time.Hour, answered(410), 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			j := &job{sub: &Subscription{Retry: c.policy}, parcel: parcel{step: c.step, since: judged.Add(-c.age)}}
			kind, due, reason := next(j, c.v, judged)
			if c.reason != "" {
				if kind != Failed || reason != c.reason || !due.IsZero() {
					t.Errorf("%v, due %v, reason %q; want given up, reason %q", kind, due, reason, c.reason)
				}
				return
			}
			if kind != Retry || reason != "" || !due.Equal(judged.Add(c.in)) {
				t.Errorf("%v in %v, reason %q; want a retry in %v", kind, due.Sub(judged), reason, c.in)
			}
		})
	}
}

// TestJitterOnlyAdds: the schedule is a promise, so that no attempt comes before its time,
// and none later than the share that is allowed.
func TestJitterOnlyAdds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		d := time.Duration(random.Int64N(1 << random.IntN(61)))
		share := random.Float64()
		switch random.IntN(8) {
		case 0:
			share = 0
		case 1:
			share = 1
		}
		p := RetryPolicy{Delays: []time.Duration{d}, Jitter: share}
		got, ok := p.delay(0)
		most := d + time.Duration(float64(d)*share)
		if !ok || got < d || got > most {
			t.Fatalf("a delay of %v with jitter %v became %v, %v; want up to %v", d, share, got, ok, most)
		}
		if _, ok := p.delay(1); ok {
			t.Fatal("there is a delay after the last")
		}
	}
	// It does spread: otherwise all that failed at once would come back at once.
	seen := make(map[time.Duration]bool)
	p := RetryPolicy{Delays: []time.Duration{time.Hour}, Jitter: DefaultJitter}
	for range 100 {
		d, _ := p.delay(0)
		seen[d] = true
	}
	if len(seen) < 90 {
		t.Errorf("100 delays have %d lengths", len(seen))
	}
}

// TestRecordsHoldNothingOfAnAnswer, nor does an answer choose what kind of error it is.
func TestRecordsHoldNothingOfAnAnswer(t *testing.T) {
	for _, answer := range []string{
		"Authorization: Bearer s3cr3t\r\n\r\n",
		"tls: Authorization: Bearer s3cr3t\r\n\r\n",
		"HTTP/1.1 200 OK\r\ntls: x\r\nAuthorization Bearer s3cr3t, tls: x\r\n\r\n",
		"Authorization: Bearer s3cr3t server closed idle connection\r\n\r\n",
	} {
		_, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
		if err == nil {
			t.Fatalf("%q can be read", answer)
		}
		if v := judgeAnswer(t.Context(), err); v.kind != KindProtocol || strings.Contains(v.message, "s3cr3t") {
			t.Errorf("%q is %s: %s", answer, v.kind, v.message)
		}
	}
}
