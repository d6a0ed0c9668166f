package egress

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// broken is a connection whose writes fail from some moment on.
type broken struct {
	net.Conn
	after bool
}

func (b *broken) Write(p []byte) (int, error) {
	if b.after {
		return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
	}
	return b.Conn.Write(p)
}

// A server that refuses the client's certificate after the handshake is told by its alert,
// also where the request finds the connection broken already.
func TestARefusedCertificateIsToldByItsAlert(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	for _, tt := range []struct {
		name string
		auth tls.ClientAuthType
		want string
		// closed is what is said of it when it is closed.
		closed string
	}{
		{"asked", tls.RequireAndVerifyClientCert, "remote error: tls: ", "remote error: tls: "},
		{"not asked", tls.NoClientCert, "broken pipe", "use of closed network connection"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			judged := make(chan struct{})
			go func() {
				defer close(judged)
				raw, err := listener.Accept()
				if err != nil {
					return
				}
				defer raw.Close()
				config := &tls.Config{Certificates: server.TLS.Certificates, ClientAuth: tt.auth, ClientCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
				_ = tls.Server(raw, config).Handshake() // it sends the alert
			}()
			raw, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			socket := &broken{Conn: raw}
			watched := &watch{Conn: socket}
			config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // it is the client that is judged here
			watched.noteAsking(config)
			conn := tls.Client(watched, config)
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			watched.over.Store(conn)
			<-judged
			socket.after = true
			if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %s", err, tt.want)
			}
			watched.writes.Store(refusalWrites)
			if _, err := watched.Write([]byte("x")); err == nil || !strings.Contains(err.Error(), "broken pipe") {
				t.Errorf("a write of a later request: %v", err)
			}
			// net/http closes what it has read the alert of.
			_ = raw.Close()
			if err := alertOr(net.ErrClosed, conn); !strings.Contains(err.Error(), tt.closed) {
				t.Errorf("of a closed connection: %v; want %s", err, tt.closed)
			}
		})
	}
}
