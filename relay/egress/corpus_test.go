package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/destination"
)

// The rows of the corpus that addresses decide. The text of all rows is judged in
// package destination; what "reply" rows reply is judged where deliveries are
// made, but their addresses have to pass here.
func TestCorpusOfAnswers(t *testing.T) {
	text, err := os.ReadFile("../destination/testdata/destinations.tsv")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "kind\t") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		kind, raw, resolvesTo, verdict, why := f[0], f[1], f[2], f[3], f[4]
		count[kind]++
		switch kind {
		case "url":
			continue // nothing is looked up
		case "dns", "reply":
		default:
			t.Fatalf("%s: kind %q is unknown", raw, kind)
		}
		resolvesTo, _, _ = strings.Cut(resolvesTo, " -> ")
		accept := kind == "reply" || verdict == "allow"
		if got := judgeRow(t, raw, resolvesTo); got != accept {
			t.Errorf("%s resolving to %s (%s): accepted %v, want %v", raw, resolvesTo, why, got, accept)
		}
	}
	if count["dns"] < 75 || count["reply"] < 12 {
		t.Errorf("the corpus has shrunk: %v", count)
	}
}

// judgeRow reports whether all lookups of a row end in a connection. No
// connection is really made; but if one is about to be made to an address that a
// fresh judgement refuses the test fails at once.
func judgeRow(t *testing.T, raw, resolvesTo string) bool {
	t.Helper()
	g := guard(t)
	u, err := g.CheckURL(raw)
	if err != nil {
		t.Fatalf("%s: the text is refused: %v", raw, err)
	}
	var lookups [][]netip.Addr
	for lookup := range strings.SplitSeq(resolvesTo, ";then:") {
		if lookup == "cname:localhost." {
			lookup = "127.0.0.1,::1"
		}
		lookups = append(lookups, addrs(strings.Split(lookup, ",")...))
	}
	connected := 0
	d := &Dialer{
		Guard:    g,
		Resolver: resolving(lookups...),
		connect: func(_ context.Context, _ netip.Addr, target netip.AddrPort) (net.Conn, error) {
			if err := g.CheckAddr(target.Addr()); err != nil {
				t.Fatalf("%s: about to connect: %v", raw, err)
			}
			connected++
			client, server := net.Pipe()
			server.Close()
			return client, nil
		},
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	for range lookups {
		var blocked *destination.BlockedError
		if err := dialPipe(t, d, net.JoinHostPort(u.Hostname(), port)); err != nil && !errors.As(err, &blocked) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	return connected == len(lookups)
}

func dialPipe(t *testing.T, d *Dialer, address string) error {
	t.Helper()
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err == nil {
		conn.Close()
	}
	return err
}
