package egress

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/httpcommon"
)

// A connection that breaks at its first request is asked why: for so long, and as long as no
// more was written than a request has, in pieces. HTTP/2 begins with some of its own.
const (
	refusalPatience = 200 * time.Millisecond
	refusalWrites   = 8
)

// noteAsking tells the watch when the server asks for a certificate, and otherwise chooses as
// crypto/tls does without it.
func (w *watch) noteAsking(config *tls.Config) {
	choose := config.GetClientCertificate
	config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		w.asked.Store(true)
		if choose != nil {
			return choose(info)
		}
		for i := range config.Certificates {
			if info.SupportsCertificate(&config.Certificates[i]) == nil {
				return &config.Certificates[i], nil
			}
		}
		return new(tls.Certificate), nil // none
	}
}

// Write implements [net.Conn]. In TLS 1.3 a server judges the client's certificate when the
// client has done with the handshake (RFC 8446, section 4.4.2.4). One that refuses it sends
// an alert and closes, so that the first request may find the connection broken; then the
// alert is the reason, and not the broken pipe.
func (w *watch) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	over := w.over.Load()
	if over == nil {
		return n, err // still in the handshake, or with http1, which looks itself
	}
	if w.writes.Add(1) > refusalWrites || err == nil || !w.asked.Load() || !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		return n, err
	}
	told := make(chan error, 1)
	// In a goroutine of its own: what it reads could make it write. Whoever waits for an answer
	// reads before it; the alert is told to both.
	go func() {
		_, err := over.Read(make([]byte, 1))
		told <- err
	}()
	timer := time.NewTimer(refusalPatience)
	defer timer.Stop()
	select {
	case refusal := <-told:
		if httpcommon.Alerted(refusal) {
			return n, refusal
		}
	case <-timer.C:
	}
	return n, err
}

// alertOr returns the alert by which the other side has ended TLS, if err only says that the
// connection is closed: net/http closes it when it has read the alert, and a request that is
// being written hears of that. TLS keeps the alert for whoever reads next.
func alertOr(err error, conn net.Conn) error {
	if conn == nil || !errors.Is(err, net.ErrClosed) {
		return err
	}
	if _, told := conn.Read(make([]byte, 1)); httpcommon.Alerted(told) {
		return told
	}
	return err
}
