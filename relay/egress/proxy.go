package egress

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	socks "golang.org/x/net/proxy"
)

// Proxy returns the URL of the proxy that makes the connections for requests to a URL, of
// which scheme, host and port are given; nil if none does. Its scheme is http, https or
// socks5. User name and password may be part of it. It is called for each connection.
type Proxy func(ctx context.Context, target *url.URL) (*url.URL, error)

// proxyPorts are the ports that need not be written, by scheme.
var proxyPorts = map[string]uint16{"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

// CheckProxy judges the URL of a proxy. The error does not show it, since it may hold a
// password.
func CheckProxy(u *url.URL) error {
	_, err := parseVia(u)
	return err
}

// via is the proxy of one connection.
type via struct {
	scheme string
	host   string
	port   uint16
	user   *url.Userinfo
	// targets are its addresses, those to be tried first at the beginning.
	targets []netip.Addr
}

func parseVia(u *url.URL) (*via, error) {
	port, ok := proxyPorts[u.Scheme]
	v := &via{scheme: u.Scheme, host: u.Hostname(), port: port, user: u.User}
	switch {
	case !ok:
		return nil, fmt.Errorf("a proxy is spoken to by http, https or socks5, and not by %q; write e.g. http://proxy.example.com:3128", u.Scheme)
	case v.host == "":
		return nil, errors.New("the URL of the proxy has no host; write e.g. http://proxy.example.com:3128")
	}
	if text := u.Port(); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q is no port of a proxy", text)
		}
		v.port = uint16(n)
	}
	return v, nil
}

// via returns the proxy for a target, its name looked up; nil if there is none. The proxy
// is the operator's choice, and no guard judges it.
func (d *Dialer) via(ctx context.Context, target *url.URL) (*via, error) {
	if d.Proxy == nil {
		return nil, nil //nolint:nilnil // no proxy is a valid choice
	}
	u, err := d.Proxy(ctx, target)
	if err != nil {
		if broken, ok := errors.AsType[*url.Error](err); ok {
			err = broken.Err // the whole of it shows the URL, which may hold a password
		}
		return nil, fmt.Errorf("choosing the proxy: %w", err)
	}
	if u == nil {
		return nil, nil //nolint:nilnil // as above
	}
	v, err := parseVia(u)
	if err != nil {
		return nil, err
	}
	answers, err := d.lookup(ctx, v.host)
	if err != nil {
		return nil, err
	}
	v.targets, err = d.targets("the proxy "+v.host, answers)
	return v, err
}

// tunnel connects to target through a proxy. What that gets to know is the address that
// was judged, and never the name: it has nothing to look up.
func (d *Dialer) tunnel(ctx context.Context, deadline time.Time, from sources, proxy *via, target netip.AddrPort) (net.Conn, error) {
	// There is no socket of ours whose address the guard could look at.
	if err := d.Guard.CheckAddr(target.Addr()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn, err := connectFirst(ctx, "the proxy "+proxy.host, proxy.targets, func(deadline time.Time, addr netip.Addr) (net.Conn, error) {
		return d.connectFrom(ctx, deadline, from, netip.AddrPortFrom(addr, proxy.port), nil)
	})
	if err != nil {
		return nil, err
	}
	tunnel, err := proxy.ask(ctx, conn, target)
	if err != nil {
		_ = conn.Close()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(target), Err: fmt.Errorf("the proxy %s: %w", proxy.host, err)}
	}
	return tunnel, nil
}

// ask makes the proxy connect. The connection does not outlive ctx until it has.
func (v *via) ask(ctx context.Context, conn net.Conn, target netip.AddrPort) (tunnel net.Conn, err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		switch {
		case !stop(): // whatever else has become of it
			err = context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded): // the connection's clock was a moment ahead of the context's
			err = fmt.Errorf("%w (%w)", context.DeadlineExceeded, err)
		}
	}()
	switch v.scheme {
	case "socks5", "socks5h":
		return conn, v.askSOCKS(ctx, conn, target)
	case "https":
		encrypted := tls.Client(conn, &tls.Config{ServerName: v.host, MinVersion: tls.VersionTLS12})
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = encrypted
	}
	return conn, v.askHTTP(conn, target)
}

// askHTTP sends CONNECT (RFC 9110, section 9.3.6).
func (v *via) askHTTP(conn net.Conn, target netip.AddrPort) error {
	var b strings.Builder
	fmt.Fprintf(&b, "CONNECT %v HTTP/1.1\r\nHost: %v\r\n", target, target)
	if v.user != nil {
		password, _ := v.user.Password()
		b.WriteString("Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(v.user.Username()+":"+password)) + "\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(conn, b.String()); err != nil {
		return err
	}
	// The target speaks only when it is spoken to: what follows the header is none of its.
	r := bufio.NewReader(io.LimitReader(conn, maxHeaderBytes))
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect}) //nolint:bodyclose // an answer to CONNECT has none
	switch {
	case err != nil:
		return fmt.Errorf("no answer to CONNECT: %w", err)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return fmt.Errorf("it answered %s to CONNECT", cmp.Or(resp.Status, strconv.Itoa(resp.StatusCode)))
	case r.Buffered() > 0:
		return errors.New("it sent more than its answer to CONNECT")
	}
	return nil
}

// askSOCKS speaks SOCKS 5 (RFC 1928, RFC 1929).
func (v *via) askSOCKS(ctx context.Context, conn net.Conn, target netip.AddrPort) error {
	var auth *socks.Auth
	if v.user != nil {
		password, _ := v.user.Password()
		auth = &socks.Auth{User: v.user.Username(), Password: password}
	}
	dialer, err := socks.SOCKS5("tcp", v.host, auth, connected{conn})
	if err != nil {
		return err
	}
	_, err = dialer.(socks.ContextDialer).DialContext(ctx, "tcp", target.String())
	return err
}

// connected is a dialer that has dialled.
type connected struct{ net.Conn }

// Dial implements [socks.Dialer].
func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

// DialContext implements [socks.ContextDialer].
func (c connected) DialContext(context.Context, string, string) (net.Conn, error) { return c.Conn, nil }
