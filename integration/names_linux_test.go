package integration

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer is the resolver of the namespace. What it says of a name can be changed.
type nameServer struct {
	conn *net.UDPConn
	mu   sync.Mutex
	says map[string]saying
	// asked counts the questions for each name, askers those that came from an address.
	asked, askers map[string]int
}

// saying is the answer to a question: these addresses, or this code, once it is time.
type saying struct {
	addresses []string
	code      dnsmessage.RCode
	silent    bool
	wait      *gate
}

func newNameServer(t *testing.T, address string) *nameServer {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, says: make(map[string]saying), asked: make(map[string]int), askers: make(map[string]int)}
	var open sync.WaitGroup
	t.Cleanup(func() { _ = conn.Close(); open.Wait() })
	open.Go(func() {
		for {
			buf := make([]byte, 1500)
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			open.Go(func() { s.answer(buf[:n], from) })
		}
	})
	return s
}

// say sets what is said of a name from now on.
func (s *nameServer) say(name string, what saying) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says[name+"."] = what
}

func (s *nameServer) questions(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name+"."]
}

func (s *nameServer) answer(question []byte, from netip.AddrPort) {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return
	}
	q := m.Questions[0]
	s.mu.Lock()
	what, known := s.says[q.Name.String()]
	s.asked[q.Name.String()]++
	s.askers[from.Addr().Unmap().String()]++
	s.mu.Unlock()
	if !known {
		what.code = dnsmessage.RCodeNameError
	}
	if what.wait != nil {
		<-what.wait.opened
	}
	if what.silent {
		return
	}
	m.Response, m.RCode, m.Additionals = true, what.code, nil
	for _, text := range what.addresses {
		addr := netip.MustParseAddr(text)
		header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}
		switch {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	if packed, err := m.Pack(); err == nil {
		_, _ = s.conn.WriteToUDPAddrPort(packed, from)
	}
}

// F20: names that cannot be resolved, late ones, and those that lead somewhere else each
// time. The namespace has a /etc/resolv.conf of its own, so that the whole way through the
// system's resolver is tested.
func testNames(t *testing.T) {
	const resolver = "10.77.0.10"
	file := t.TempDir() + "/resolv.conf"
	if err := os.WriteFile(file, []byte("nameserver "+resolver+"\noptions timeout:1 attempts:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "--bind", file, "/etc/resolv.conf").CombinedOutput(); err != nil {
		t.Skipf("needs to be allowed to mount a file over /etc/resolv.conf: %v: %s", err, out)
	}
	defer func() { _ = exec.CommandContext(t.Context(), "umount", "/etc/resolv.conf").Run() }()
	names := newNameServer(t, resolver+":53")

	port := freePort(t)
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", port))
	r.answer(with(http.StatusOK, "Connection", "close")) // each delivery asks for the name anew
	canaries := map[string]*receiver{}
	for _, address := range []string{"127.0.0.1", "169.254.169.254", "10.77.0.3", "93.184.215.14"} {
		canaries[address] = newReceiverOn(t, fmt.Sprintf("%s:%d", address, port))
	}
	late := newGate(t)
	names.say("servfail.example.com", saying{code: dnsmessage.RCodeServerFailure})
	names.say("refused.example.com", saying{code: dnsmessage.RCodeRefused})
	names.say("empty.example.com", saying{})
	names.say("silent.example.com", saying{silent: true})
	names.say("late.example.com", saying{addresses: []string{"10.77.0.9"}, wait: late})
	names.say("rebind.example.com", saying{addresses: []string{"10.77.0.9"}})
	names.say("mixed.example.com", saying{addresses: []string{"10.77.0.9", "169.254.169.254"}})
	names.say("mapped.example.com", saying{addresses: []string{"10.77.0.9", "64:ff9b::a9fe:a9fe"}})

	config := "region eu 10.77.0.2\n"
	for _, name := range []string{"missing", "servfail", "refused", "empty", "silent", "late", "rebind", "mixed", "mapped"} {
		config += fmt.Sprintf("subscription %[1]s http://%[1]s.example.com:%[2]d {\nallow_ips 10.77.0.9\nconnect_timeout 2s\nretry 1ms\n}\n", name, port)
	}
	c := run(t, config, withEnv("GODEBUG=netdns=go"))
	only := func(name string) string {
		return c.accept("order.paid", `1`, "Relay-Subscriptions", name).ID
	}

	for _, name := range []string{"missing", "servfail", "refused", "empty", "silent"} {
		d := c.wantDelivery(only(name), name, stateFailed, "schedule")
		for _, a := range d.Attempts {
			if a.ErrorKind != "dns" || !strings.Contains(a.Error, name+".example.com") || a.RemoteAddress != "" {
				t.Errorf("%s: %+v; want dns, and the name", name, a)
			}
		}
		if d.AttemptCount != 2 {
			t.Errorf("%s: %+v; want it retried once", name, d)
		}
	}

	// The answer comes when somebody waits for it.
	asked := names.questions("late.example.com")
	id := only("late")
	eventually(t, func() bool { return names.questions("late.example.com") > asked }, func() string { return "the name is not asked for" })
	late.open()
	c.wantDelivery(id, "late", stateDelivered, "")
	before := r.wantExactly(1)

	// The same name leads somewhere allowed, then to each of the forbidden places, and back.
	c.wantDelivery(only("rebind"), "rebind", stateDelivered, "")
	for address := range canaries {
		names.say("rebind.example.com", saying{addresses: []string{address}})
		d := c.wantDelivery(only("rebind"), "rebind", stateFailed, anyReason)
		for _, a := range d.Attempts {
			if a.ErrorKind != "blocked" || a.RemoteAddress != "" {
				t.Errorf("rebound to %s: %+v; want it blocked", address, a)
			}
		}
	}
	names.say("rebind.example.com", saying{addresses: []string{"10.77.0.9"}})
	c.wantDelivery(only("rebind"), "rebind", stateDelivered, "")

	// One forbidden address among others spoils the answer.
	for _, name := range []string{"mixed", "mapped"} {
		if d := c.wantDelivery(only(name), name, stateFailed, anyReason); d.Attempts[0].ErrorKind != "blocked" {
			t.Errorf("%s: %+v; want it blocked", name, d)
		}
	}
	for address, canary := range canaries {
		canary.wantSilence(address)
	}
	if got := r.wantExactly(len(before) + 2); got[0].peer != "10.77.0.2" {
		t.Errorf("it came from %s", got[0].peer)
	}

	// The control: the canaries can be reached by that name.
	names.say("rebind.example.com", saying{addresses: []string{"10.77.0.3"}})
	c.mustReload(fmt.Sprintf("subscription rebind http://rebind.example.com:%d {\nallow_ips 10.77.0.3\n}", port))
	c.wantDelivery(only("rebind"), "rebind", stateDelivered, "")
	canaries["10.77.0.3"].wantExactly(1)
}
