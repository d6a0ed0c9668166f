package egress

import (
	"crypto/tls"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// watch is a connection below TLS. If it belongs to net/http, it notes when something was last
// read from it.
type watch struct {
	net.Conn
	heard atomic.Int64 // in nanoseconds since 1970

	// over is the connection by TLS, once the handshake is done and net/http has it; asked says
	// that the server asked for a certificate, writes counts what was written since.
	over   atomic.Pointer[tls.Conn]
	asked  atomic.Bool
	writes atomic.Int64
	// shut says that nothing is to be read, nor waited for.
	shut bool
}

// begin says that net/http gets the connection.
func (w *watch) begin(over *tls.Conn) {
	w.heard.Store(time.Now().UnixNano())
	w.over.Store(over)
}

// Read implements [net.Conn].
func (w *watch) Read(b []byte) (int, error) {
	if w.shut {
		return 0, os.ErrDeadlineExceeded // which does not end TLS
	}
	n, err := w.Conn.Read(b)
	if n > 0 && w.over.Load() != nil {
		w.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// CloseIfSilent closes a connection of HTTP/2 from which nothing was read since a request
// began that has now run into its deadline. HTTP/2 gives up the request alone and would put
// the next ones on the same connection, which may have been dead for long: firewalls forget
// connections and tell nobody. One that is alive has at least answered a ping, if the
// request waited for longer than pingAfter. Of HTTP/1 nothing needs to be closed.
func CloseIfSilent(conn net.Conn, since time.Time) {
	encrypted, ok := conn.(*tls.Conn)
	if !ok {
		return
	}
	if w, ok := encrypted.NetConn().(*watch); ok && w.heard.Load() < since.UnixNano() {
		_ = w.Close() // whoever waits for an answer on it hears of it
	}
}
