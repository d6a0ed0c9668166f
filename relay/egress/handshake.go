package egress

// HandshakeError says that there was a connection, and that TLS did not come about on it.
type HandshakeError struct {
	// Local and Remote are its addresses as the kernel reported them, "host:port".
	Local, Remote string
	Err           error
}

// Error is that of the handshake.
func (e *HandshakeError) Error() string { return e.Err.Error() }

// Unwrap returns what crypto/tls said.
func (e *HandshakeError) Unwrap() error { return e.Err }
