package egress

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/http1"
)

// A connection of HTTP/2 on which a request has run into its deadline is closed if nothing
// was heard meanwhile, and kept if something was.
func TestConnectionIsClosedOnlyIfItWasSilent(t *testing.T) {
	for _, silent := range []bool{true, false} {
		release := make(chan struct{})
		r := newReceiver(t, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }, func(_ http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/hang" {
				<-release
			}
		})
		client := newClient(t, &Dialer{Guard: guard(t, "127.0.0.9")}, TransportOptions{TLS: trusting(r)})
		// Small requests are another client's, which looks after its connections itself.
		large := make([]byte, http1.MaxBody+1)
		post := func() error {
			res, err := client.Post(r.URL, "", bytes.NewReader(large))
			if err == nil {
				_ = res.Body.Close()
			}
			return err
		}
		if err := post(); err != nil {
			t.Fatal(err)
		}
		// The transport shares a connection a moment after it has given it to the first request.
		shared := r.senders()[0]
		for again := false; !again; {
			if err := post(); err != nil {
				t.Fatal(err)
			}
			from := r.senders()
			shared, again = from[len(from)-1], from[len(from)-1] == from[len(from)-2]
		}
		var conn net.Conn
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan struct{})
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn:      func(i httptrace.GotConnInfo) { conn = i.Conn },
			WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) },
		})
		since := time.Now()
		ended := make(chan error)
		go func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+"/hang", bytes.NewReader(large))
			if err == nil {
				_, err = client.Do(req)
			}
			ended <- err
		}()
		<-sent
		if !silent {
			if err := post(); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-ended; err == nil {
			t.Fatal("the request that hangs was answered")
		}
		if silent { // since then nothing can have been heard
			since = time.Now().Add(time.Hour)
		}
		CloseIfSilent(conn, since)
		for deadline := time.Now().Add(10 * time.Second); ; { // the transport hears of it a moment later
			err := post()
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		close(release)
		from := r.senders()
		if same := shared == from[len(from)-1]; same == silent {
			t.Errorf("silent: %v, and requests came from %v, the one that hung from %v", silent, from, shared)
		}
	}
	CloseIfSilent(nil, time.Now()) // no connection was made
}
