package egress

import (
	"net/http"
	"testing"
)

// answering is a way out without a network.
type answering func(*http.Request) *http.Response

func (f answering) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func TestAClientIsNamedAndFollowsNoRedirect(t *testing.T) {
	var went []string
	client := NewClient(answering(func(r *http.Request) *http.Response {
		went = append(went, r.URL.Host+" "+r.Header.Get("User-Agent"))
		return &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"https://elsewhere.example.com/"}}, Body: http.NoBody, Request: r}
	}), "caddy-relay/test")
	resp, err := client.Get("https://login.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusTemporaryRedirect || len(went) != 1 || went[0] != "login.example.com caddy-relay/test" {
		t.Errorf("%d, %q", resp.StatusCode, went)
	}
}

// What has no way out must not find one of its own.
func TestAClientWithoutATransportSendsNothing(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a request was made by some other transport")
		}
	}()
	resp, err := NewClient(nil, "x").Get("http://127.0.0.1:1/")
	if err == nil {
		_ = resp.Body.Close()
	}
}
