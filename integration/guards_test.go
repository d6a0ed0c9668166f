package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// conversation is a connection on which bytes are sent as they are.
type conversation struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

// converse opens a connection to intake and sends the text.
func (c *instance) converse(t *testing.T, text string) *conversation {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	v := &conversation{conn, t, bufio.NewReader(conn)}
	v.say(text)
	return v
}

func (v *conversation) say(text string) {
	v.t.Helper()
	if _, err := io.WriteString(v.Conn, text); err != nil {
		v.t.Fatal(err)
	}
}

// hear reads the next answer, also an interim one, and checks its status.
func (v *conversation) hear(status int) answer {
	v.t.Helper()
	resp, err := http.ReadResponse(v.in, nil)
	if err != nil {
		v.t.Fatalf("%v; want %d", err, status)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if resp.StatusCode != http.StatusContinue {
		a.body, a.err = io.ReadAll(resp.Body)
	}
	if a.status != status || a.err != nil {
		v.t.Errorf("answered %s; want %d", a, status)
	}
	return a
}

func head(path string, fields ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(append(fields, "\r\n"), "\r\n")
}

const typeJSON = "Content-Type: application/json"

// Whoever waits to be asked for the body is asked only if it will be taken, and whoever
// does not send it does not keep the answer waiting.
func TestRefusedBodiesAreNotAskedFor(t *testing.T) {
	t.Parallel()
	c := run(t, subscribed("crm", newReceiver(t)))
	refused := map[string]struct {
		status int
		head   []string
	}{
		"foreign origin": {403, []string{ofType, typeJSON, "Origin: null", "Content-Length: 100"}},
		"forwarded":      {403, []string{ofType, typeJSON, "Via: 1.1 proxy", "Content-Length: 100"}},
		"no such path":   {404, []string{"/v1/events/a/b", typeJSON, "Content-Length: 100"}},
		"too large":      {413, []string{ofType, typeJSON, "Content-Length: 99999999999"}},
		"text":           {415, []string{ofType, "Content-Type: text/plain", "Content-Length: 100000"}},
		"compressed":     {415, []string{ofType, typeJSON, "Content-Encoding: br", "Transfer-Encoding: chunked"}},
		"wrong key":      {400, []string{ofType, typeJSON, `Idempotency-Key: "a`, "Content-Length: 100"}},
		"wrong type":     {422, []string{"/v1/events/a..b", typeJSON, "Content-Length: 100"}},
	}
	for name, r := range refused {
		for _, expect := range []string{"", "Expect: 100-continue"} {
			t.Run(name+" "+expect, func(t *testing.T) {
				t.Parallel()
				fields := r.head[1:]
				if expect != "" {
					fields = append(fields[:len(fields):len(fields)], expect)
				}
				v := c.converse(t, head(r.head[0], fields...))
				v.hear(r.status)
				if rest, err := io.ReadAll(v.in); err != nil || len(rest) > 0 {
					t.Errorf("after the answer: %q, %v; want the end", rest, err)
				}
			})
		}
	}
	t.Run("welcome", func(t *testing.T) {
		t.Parallel()
		v := c.converse(t, head(ofType, typeJSON, "Content-Length: 2", "Expect: 100-continue"))
		v.hear(http.StatusContinue)
		v.say(`{}`)
		v.hear(http.StatusAccepted)
		// The connection goes on, for requests that come before the answer to the last.
		one := head(ofType, typeJSON, "Content-Length: 1")
		v.say(one + "1" + one + "{" + head(ofType, typeJSON, "Transfer-Encoding: chunked") + "1\r\n3\r\n0\r\n\r\n")
		v.hear(http.StatusAccepted)
		v.hear(http.StatusBadRequest)
		v.hear(http.StatusAccepted)
	})
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		v := c.converse(t, head(ofType, typeJSON, "Content-Length: 100")+"{")
		a := v.hear(http.StatusRequestTimeout)
		wantProblem(t, a, http.StatusRequestTimeout)
	})
	t.Run("all sent before the answer is read", func(t *testing.T) {
		t.Parallel()
		const size = 4 << 20
		v := c.converse(t, head(ofType, typeJSON, fmt.Sprintf("Content-Length: %d", size)))
		v.say(strings.Repeat("x", size))
		v.hear(http.StatusRequestEntityTooLarge)
	})
}

func TestOtherMethodsAreToldWhatIsAllowed(t *testing.T) {
	t.Parallel()
	c := run(t, subscribed("crm", newReceiver(t)))
	for path, allowed := range map[string]string{open: "POST", ofType: "GET, HEAD, POST", "/livez": "GET, HEAD"} {
		for _, method := range []string{"OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} {
			a := c.request(method, path, "")
			wantProblem(t, a, http.StatusMethodNotAllowed)
			if a.header.Get("Allow") != allowed || a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s %s: %v; want Allow: %s", method, path, a.header, allowed)
			}
		}
	}
	if a := c.request(http.MethodHead, open, ""); a.status != http.StatusMethodNotAllowed || len(a.body) != 0 {
		t.Errorf("HEAD: %s", a)
	}
	// Caddy's own answer, before intake sees the request.
	a := c.post(ofType, `{}`, "X-Long", strings.Repeat("x", 32<<10))
	if a.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a long header: %s", a)
	}
	fields := []string{}
	for i := range 101 {
		fields = append(fields, fmt.Sprintf("X-%d", i), "1")
	}
	wantProblem(t, c.post(ofType, `{}`, fields...), http.StatusRequestHeaderFieldsTooLarge)
}

// overUnix returns a client for a site on a unix socket.
func overUnix(path string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

// A unix socket needs no token and takes any host, but is no way around the other guards.
func TestIntakeOnAUnixSocket(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := prepare(t)
	c.sites = fmt.Sprintf("http://:4665 {\n\tbind unix/%s|0222\n\trelay_intake\n}\nhttp://:4666 {\n\tbind unix/%s\n\trelay_intake {\n\t\thosts relay.example.com\n\t}\n}\n"+
		"http://:4667 {\n\tbind unix/%s\n\trelay_intake {\n\t\ttoken {env.TOKEN}\n\t}\n}\n", c.path("any.sock"), c.path("hosts.sock"), c.path("token.sock"))
	c.env = append(c.env, "TOKEN=open-sesame")
	c.configure(subscribed("crm", r))
	c.start()
	post := func(socket, host string, header ...string) answer {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, "http://"+host+ofType, strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return do(overUnix(c.path(socket)), req)
	}
	accepted := 0
	for _, p := range []struct {
		socket, host string
		header       []string
		status       int
	}{
		{"any.sock", "localhost", nil, 202},
		{"any.sock", "anything.example", nil, 202},
		{"any.sock", "localhost", []string{"X-Forwarded-For", "127.0.0.1"}, 403},
		{"any.sock", "localhost", []string{"Origin", "https://attacker.example"}, 403},
		{"any.sock", "localhost", []string{"Content-Type", "text/plain"}, 415},
		{"hosts.sock", "localhost", nil, 202},
		{"hosts.sock", "relay.example.com", nil, 202},
		{"hosts.sock", "anything.example", nil, 403},
		{"token.sock", "localhost", nil, 401},
		{"token.sock", "anything.example", []string{"Authorization", "Bearer open-sesame"}, 202},
	} {
		a := post(p.socket, p.host, p.header...)
		if p.status != http.StatusAccepted {
			wantProblem(t, a, p.status)
			continue
		}
		c.accepted(a)
		accepted++
	}
	info, err := os.Stat(c.path("any.sock"))
	if err != nil || info.Mode().Perm() != 0o222 {
		t.Errorf("the socket has the mode %v (%v); want 0222", info.Mode(), err)
	}
	c.drained()
	r.wantExactly(accepted)
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d; want 0", code)
	}
}

// written writes a certificate and its key to files.
func written(c *instance, made tls.Certificate) (certificate, key string) {
	c.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.write("site.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]}))),
		c.write("site.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// The guards do not depend on the version of HTTP.
func TestIntakeOverHTTP2(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	r := newReceiver(t)
	c := prepare(t, withGlobals("servers {\nprotocols h1 h2 h2c\n}"))
	certificate, key := written(c, a.issue(nil))
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	port := freePort(t)
	c.sites = fmt.Sprintf("https://:%d {\n\tbind 127.0.0.1\n\ttls %s %s\n\trelay_intake\n}\n", port, certificate, key)
	c.configure(subscribed("crm", r))
	c.start()
	clear, secure := new(http.Protocols), new(http.Protocols)
	clear.SetUnencryptedHTTP2(true)
	secure.SetHTTP2(true)
	accepted := 0
	for url, transport := range map[string]*http.Transport{
		fmt.Sprintf("http://127.0.0.1:%d", c.port): {Protocols: clear},
		fmt.Sprintf("https://127.0.0.1:%d", port):  {Protocols: secure, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}},
	} {
		client := &http.Client{Transport: transport, Timeout: patience}
		defer transport.CloseIdleConnections()
		for _, p := range []struct {
			status int
			header http.Header
		}{
			{202, http.Header{"Content-Type": {"application/json"}}},
			{415, http.Header{"Content-Type": {"text/plain"}}},
			{403, http.Header{"Content-Type": {"application/json"}, "Forwarded": {"for=192.0.2.1"}}},
			{202, http.Header{"Content-Type": {"application/json"}}},
		} {
			var body io.Reader = strings.NewReader(`{}`)
			if p.status != http.StatusAccepted {
				pipe, never := io.Pipe() // a body that does not come
				defer never.Close()
				body = pipe
			}
			req, err := http.NewRequest(http.MethodPost, url+ofType, body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = p.header
			resp, err := client.Do(req)
			if err != nil {
				t.Fatalf("%s: %v", url, err)
			}
			resp.Body.Close()
			if resp.StatusCode != p.status || resp.ProtoMajor != 2 {
				t.Errorf("%s: %s %s; want HTTP/2 and %d", url, resp.Proto, resp.Status, p.status)
			}
			if p.status == http.StatusAccepted {
				accepted++
			}
		}
	}
	c.drained()
	r.wantExactly(accepted)
}

// For a sender that cannot send a token, Caddy adds it, by the address that it comes from:
// as documented for Phraseanet.
func TestCaddyAddsTheTokenForAnAddress(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := prepare(t, withEnv("INTAKE_TOKEN=open-sesame"))
	port := freePort(t)
	c.sites = fmt.Sprintf("http://:%d {\n\t@worker remote_ip 127.0.0.2/32\n\trequest_header @worker Authorization \"Bearer {env.INTAKE_TOKEN}\"\n"+
		"\trelay_intake {\n\t\ttoken {env.INTAKE_TOKEN}\n\t\taccept phraseanet\n\t}\n}\n", port)
	c.configure(subscribed("archive", r))
	c.start()
	from := func(ip string) answer {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
		req, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/v1/events", port), strings.NewReader(`{"event":"record.created","webhookId":4711,"data":{}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		return do(client, req)
	}
	wantProblem(t, from("127.0.0.1"), http.StatusUnauthorized)
	if got := c.accepted(from("127.0.0.2")); got.Type != "record.created" || got.Duplicate {
		t.Errorf("%+v", got)
	}
	if again := c.accepted(from("127.0.0.2")); !again.Duplicate {
		t.Errorf("the repeat is answered %+v", again)
	}
	c.drained()
	r.wantExactly(1)
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d; want 0", code)
	}
}
