package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func header(t testing.TB, a Authorizer) string {
	t.Helper()
	h := http.Header{}
	if err := a.Authorize(context.Background(), h); err != nil {
		t.Fatal(err)
	}
	return h.Get("Authorization")
}

func TestFixedCredentials(t *testing.T) {
	basic, bearer := NewBasic("Aladdin", "open sesame"), NewBearer("t-1")
	if got := header(t, basic); got != "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" { // RFC 7617, section 2
		t.Error(got)
	}
	if got := header(t, bearer); got != "Bearer t-1" {
		t.Error(got)
	}
	h := http.Header{}
	if err := bearer.Authorize(context.Background(), h); err != nil {
		t.Fatal(err)
	}
	h.Add("Authorization", "other")
	bearer.Refused(h)
	if got := header(t, bearer); got != "Bearer t-1" {
		t.Errorf("another request has changed it: %s", got)
	}
	for _, v := range []any{basic, bearer, NewOAuth2(OAuth2Options{TokenURL: &url.URL{}, ClientSecret: "s3cret"})} {
		if text := fmt.Sprintf("%v %+v %#v %s", v, v, v, v); strings.Contains(text, "s3cret") || strings.Contains(text, "t-1") || strings.Contains(text, "QWx") {
			t.Errorf("%T prints %s", v, text)
		}
	}
}

// server issues tokens without a network.
type server struct {
	mu       sync.Mutex
	requests []*http.Request
	bodies   []url.Values
	// answer decides about the n-th request, from 1; nil: a token that lives an hour.
	answer func(n int) (status int, contentType, body string, err error)
	delay  time.Duration
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	values, _ := url.ParseQuery(string(body))
	s.mu.Lock()
	s.requests, s.bodies = append(s.requests, r), append(s.bodies, values)
	n := len(s.requests)
	s.mu.Unlock()
	select {
	case <-time.After(s.delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	status, contentType, text := 200, "application/json", fmt.Sprintf(`{"access_token":"t-%d","token_type":"Bearer","expires_in":3600}`, n)
	if s.answer != nil {
		var err error
		if status, contentType, text, err = s.answer(n); err != nil {
			return nil, err
		}
	}
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status, " ", http.StatusText(status)), Header: http.Header{"Content-Type": {contentType}},
		Body: io.NopCloser(strings.NewReader(text)), Request: r,
	}, nil
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func newOAuth2(s *server) *OAuth2 {
	return NewOAuth2(OAuth2Options{
		TokenURL: &url.URL{Scheme: "https", Host: "login.example.com", Path: "/token", RawQuery: "tenant=hidden"}, ClientID: "relay client", ClientSecret: "s3cret:/",
		Scopes: []string{"a", "b"}, Audience: "https://api.example.com", Transport: s, UserAgent: "caddy-relay/test",
	})
}

// in runs a test in virtual time.
func in(t *testing.T, test func(t *testing.T, s *server, o *OAuth2)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		test(t, s, newOAuth2(s))
		synctest.Wait()
	})
}

func TestTokenRequest(t *testing.T) {
	in(t, func(t *testing.T, s *server, o *OAuth2) {
		if got := header(t, o); got != "Bearer t-1" {
			t.Error(got)
		}
		r, body := s.requests[0], s.bodies[0]
		user, password, _ := r.BasicAuth()
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.Header.Get("User-Agent") != "caddy-relay/test" ||
			user != "relay+client" || password != "s3cret%3A%2F" { // escaped, as RFC 6749, section 2.3.1, says
			t.Errorf("%s %v", r.Method, r.Header)
		}
		if want := "audience=https%3A%2F%2Fapi.example.com&grant_type=client_credentials&scope=a+b"; body.Encode() != want {
			t.Errorf("%s; want %s", body.Encode(), want)
		}
	})
}

// Some servers want the secret in the body. That is found out once.
func TestTokenRequestWithTheSecretInTheBody(t *testing.T) {
	in(t, func(t *testing.T, s *server, o *OAuth2) {
		s.answer = func(n int) (int, string, string, error) {
			if s.requests[n-1].Header.Get("Authorization") != "" {
				return 401, "application/json", `{"error":"invalid_client"}`, nil
			}
			return 200, "application/json", `{"access_token":"t","token_type":"bearer","expires_in":100}`, nil
		}
		for range 3 {
			if got := header(t, o); got != "Bearer t" {
				t.Error(got)
			}
			time.Sleep(99 * time.Second)
		}
		if s.bodies[1].Get("client_secret") != "s3cret:/" || s.count() != 4 {
			t.Errorf("%d requests, %v", s.count(), s.bodies)
		}
	})
}

// A server that fails, is away or asks for patience is not asked a second time with the
// secret elsewhere.
func TestOnlyARefusalOfTheClientIsAskedAgain(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		err    error
		want   int
	}{
		{400, `{"error":"invalid_request"}`, nil, 2},
		{401, ``, nil, 2},
		{200, `{"error":"invalid_client"}`, nil, 2},
		{200, `<html>`, nil, 1},
		{302, ``, nil, 1},
		{429, ``, nil, 1},
		{500, `{"error":"server_error"}`, nil, 1},
		{0, ``, errors.New("refused"), 1},
	} {
		in(t, func(t *testing.T, s *server, o *OAuth2) {
			s.answer = func(int) (int, string, string, error) { return tt.status, "application/json", tt.body, tt.err }
			_ = o.Authorize(context.Background(), http.Header{})
			if s.count() != tt.want {
				t.Errorf("%d %s: %d requests, want %d", tt.status, tt.body, s.count(), tt.want)
			}
		})
	}
}

// One token serves all until it ends, and one request asks for the next.
func TestTokensAreShared(t *testing.T) {
	in(t, func(t *testing.T, s *server, o *OAuth2) {
		s.delay = time.Second
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if got := header(t, o); got != "Bearer t-1" {
					t.Error(got)
				}
			})
		}
		wg.Wait()
		for range 59 { // until a minute before the end
			time.Sleep(time.Minute - time.Second)
			header(t, o)
		}
		if s.count() != 1 {
			t.Errorf("%d requests; want one", s.count())
		}
	})
}

// The next token is fetched while the last one serves: nobody waits for it.
func TestTokensAreRefreshedBeforeTheyEnd(t *testing.T) {
	in(t, func(t *testing.T, s *server, o *OAuth2) {
		header(t, o)
		s.delay = 5 * time.Second
		time.Sleep(59*time.Minute + time.Second)
		start := time.Now()
		if got := header(t, o); got != "Bearer t-1" || time.Since(start) != 0 {
			t.Errorf("%s after %s; want the old one at once", got, time.Since(start))
		}
		time.Sleep(6 * time.Second)
		if got := header(t, o); got != "Bearer t-2" || s.count() != 2 {
			t.Errorf("%s after %d requests", got, s.count())
		}
	})
}

// A refresh that fails is no failure while the token serves; afterwards it is, and the
// server is not asked for each attempt.
func TestAServerThatIsDownIsLeftAlone(t *testing.T) {
	in(t, func(t *testing.T, s *server, o *OAuth2) {
		header(t, o)
		s.answer = func(int) (int, string, string, error) { return 503, "text/html", "<html>secret page", nil }
		time.Sleep(59*time.Minute + time.Second)
		for range 20 {
			if got := header(t, o); got != "Bearer t-1" {
				t.Error(got)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(40 * time.Second)
		before := s.count()
		for range 100 {
			err := o.Authorize(context.Background(), http.Header{})
			if err == nil || err.Error() != "asking for a token: the server answered 503 Service Unavailable" {
				t.Fatal(err)
			}
		}
		if n := s.count() - before; n > 2 {
			t.Errorf("%d requests for 100 attempts", n)
		}
		s.answer = nil
		time.Sleep(2 * time.Second)
		if got := header(t, o); !strings.HasPrefix(got, "Bearer t-") {
			t.Error(got)
		}
	})
}

// A token that the endpoint refuses is given up once. If it refuses the next, too, the
// server is left in peace.
func TestARefusedTokenIsGivenUpOnce(t *testing.T) {
	in(t, func(t *testing.T, s *server, o *OAuth2) {
		refuse := func() {
			h := http.Header{}
			if err := o.Authorize(context.Background(), h); err != nil {
				t.Fatal(err)
			}
			o.Refused(h)
			o.Refused(h) // by another attempt with the same token
		}
		for range 10 {
			refuse()
			time.Sleep(time.Second)
		}
		if got := header(t, o); got != "Bearer t-2" || s.count() != 2 {
			t.Errorf("%s after %d requests; want the second", got, s.count())
		}
		o.Refused(http.Header{"Authorization": {"Bearer t-1"}})
		o.Refused(http.Header{})
		time.Sleep(time.Minute)
		refuse()
		if got := header(t, o); got != "Bearer t-3" {
			t.Errorf("%s after a minute", got)
		}
	})
}

func TestTokensWithoutAnEndServeUntilTheyAreRefused(t *testing.T) {
	in(t, func(t *testing.T, s *server, o *OAuth2) {
		s.answer = func(n int) (int, string, string, error) {
			return 200, "application/json", fmt.Sprintf(`{"access_token":"t-%d"}`, n), nil
		}
		for range 10 {
			if got := header(t, o); got != "Bearer t-1" {
				t.Error(got)
			}
			time.Sleep(24 * time.Hour)
		}
		o.Refused(http.Header{"Authorization": {"Bearer t-1"}})
		if got := header(t, o); got != "Bearer t-2" {
			t.Error(got)
		}
	})
}

// Whoever waits gives up with its attempt; the request goes on for the others.
func TestWaitingEndsWithTheAttempt(t *testing.T) {
	in(t, func(t *testing.T, s *server, o *OAuth2) {
		s.delay = 5 * time.Second
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := o.Authorize(ctx, http.Header{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if got := header(t, o); got != "Bearer t-1" || s.count() != 1 {
			t.Errorf("%s after %d requests", got, s.count())
		}
		s.delay = time.Hour
		o.Refused(http.Header{"Authorization": {"Bearer t-1"}})
		start := time.Now()
		if err := o.Authorize(context.Background(), http.Header{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 2*fetchTimeout {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// What the server says is told in a line, without secret, token, query or the body.
func TestErrorsOfTheServerAreExplained(t *testing.T) {
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
		err                     error
		want                    string
	}{
		{"code", "application/json", `{"error":"invalid_scope","error_description":"no\r\nsuch scope é"}`, 400, nil, "the server answered 400 Bad Request, invalid_scope: no??such scope ?"},
		{"page", "text/html", "s3cret page", 500, nil, "the server answered 500 Internal Server Error"},
		{"client", "application/json", `{"error":"invalid_client"}`, 401, nil, "the server answered 401 Unauthorized, invalid_client; are client_id and client_secret those of this server?"},
		{"redirect", "text/html", "", 302, nil, "the server answered 302 Found; redirects are not followed: let token_url be the URL that it leads to"},
		{"path", "text/html", "", 404, nil, "the server answered 404 Not Found; is token_url right?"},
		{"no token", "application/json", `{"x":"s3cret"}`, 200, nil, "the answer is not what RFC 6749 says: server response missing access_token"},
		{"no JSON", "application/json", `s3cret`, 200, nil, "the answer is not what RFC 6749 says: cannot parse json: invalid character 's' looking for beginning of value; is token_url right?"},
		{"bad token", "application/json", `{"access_token":"a\r\nX: y"}`, 200, nil, "has characters that cannot be sent"},
		{"mac", "application/json", `{"access_token":"a","token_type":"mac"}`, 200, nil, "of the type mac"},
		{"network", "", "", 0, &net.OpError{Op: "dial", Err: errors.New("refused")}, "dial: refused"},
		{"long", "application/json", `{"error":"` + strings.Repeat("x", 5000) + `"}`, 400, nil, "xxxx"},
	} {
		in(t, func(t *testing.T, s *server, o *OAuth2) {
			s.answer = func(int) (int, string, string, error) { return tt.status, tt.contentType, tt.body, tt.err }
			err := o.Authorize(context.Background(), http.Header{})
			if err == nil || !strings.HasPrefix(err.Error(), "asking for a token: ") || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 500 {
				t.Errorf("%s: %v; want %s", tt.name, err, tt.want)
			}
			for _, secret := range []string{"s3cret", base64.StdEncoding.EncodeToString([]byte("relay+client")), "hidden"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("%s: the error shows %s: %v", tt.name, secret, err)
				}
			}
			if op := new(net.OpError); tt.err != nil && !errors.As(err, &op) {
				t.Errorf("%s: %v hides its cause", tt.name, err)
			}
		})
	}
}

// No redirect is followed: it would take the secret elsewhere.
func TestTokenRequestsFollowNoRedirect(t *testing.T) {
	in(t, func(t *testing.T, s *server, o *OAuth2) {
		s.answer = func(int) (int, string, string, error) { return 307, "text/html", "", nil }
		_ = o.Authorize(context.Background(), http.Header{})
		for _, r := range s.requests {
			if r.URL.Host != "login.example.com" {
				t.Errorf("went to %s", r.URL)
			}
		}
	})
}
