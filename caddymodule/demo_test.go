package caddymodule

import (
	"io"
	"net"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// Two demos that start at the same moment must not get each other's requests, though
// Caddy lets two processes listen at the same port.
func TestADemoHasItsPortsToItself(t *testing.T) {
	ours, err := listenFrom(demoIntakePort)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.socket.Close()
	other, err := listenFrom(demoIntakePort)
	if err != nil {
		t.Fatal(err)
	}
	defer other.socket.Close()
	if ours.address == other.address {
		t.Errorf("both listen at %s", ours.address)
	}

	parsed, err := caddy.ParseNetworkAddress(ours.address)
	if err != nil {
		t.Fatal(err)
	}
	if listener, err := parsed.Listen(t.Context(), 0, net.ListenConfig{}); err == nil {
		_ = listener.(io.Closer).Close()
		t.Errorf("another server listens at %s too", ours.address)
	}
}
