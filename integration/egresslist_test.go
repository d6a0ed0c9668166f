package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// published is what receivers read.
type published struct {
	Version string
	Updated time.Time
	Regions map[string]struct {
		Active    []string
		Scheduled []struct{ Prefix, From string }
		Retiring  []struct{ Prefix, Until string }
	}
}

// publisher is an instance with an egress list, at a port of its own.
type publisher struct {
	*instance
	listPort int
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	return &publisher{instance: prepare(t), listPort: freePort(t)}
}

// configure writes the Caddyfile with these lines in the relay option.
func (p *publisher) configure(relay string) {
	p.instance.configure(relay)
	p.write("Caddyfile", p.file("Caddyfile")+fmt.Sprintf("http://:%d {\nbind 127.0.0.1\nhandle_path /addresses/* {\nrelay_egress\n}\nrespond 418\n}\n", p.listPort))
}

func (p *publisher) mustReload(relay string) {
	p.t.Helper()
	p.configure(relay)
	if r := p.reload(); r.code != 0 {
		p.t.Fatalf("reload: %s", r)
	}
}

// ask requests a file of the list; header are names and values in turn.
func (p *publisher) ask(file string, header ...string) answer {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/addresses/%s", p.listPort, file), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	a := do(clientOf, req)
	if a.err != nil && p.reloads > 0 { // as in accept
		a = do(clientOf, req)
	}
	return a
}

func (p *publisher) list() published {
	p.t.Helper()
	return decode[published](p.t, p.ask("egress.json"))
}

// told returns the prefixes that events of this type named, in the order of their events.
func (p *publisher) told(typ string) []string {
	p.t.Helper()
	all := []string{}
	for _, e := range pages[event](p.instance, "/relay/events", url.Values{"type": {typ}}) {
		var n struct{ Added, Removed []string }
		a := p.get("/relay/events/" + e.ID + "/data")
		if err := json.Unmarshal(a.body, &n); err != nil {
			p.t.Fatalf("%s: %v", a, err)
		}
		for _, prefix := range n.Removed {
			all = append(all, "-"+prefix)
		}
		for _, prefix := range n.Added {
			all = append(all, "+"+prefix)
		}
	}
	slices.Reverse(all)
	return all
}

func (p *publisher) wantTold(typ string, want ...string) {
	p.t.Helper()
	var got []string
	eventually(p.t, func() bool { got = p.told(typ); return len(got) >= len(want) }, func() string {
		return fmt.Sprintf("%s told of %q; want %q", typ, got, want)
	})
	if !slices.Equal(got, want) {
		p.t.Errorf("%s told of %q; want %q", typ, got, want)
	}
}

const (
	scheduled = "relay.egress.scheduled"
	changed   = "relay.egress.changed"
	withdrawn = "relay.egress.withdrawn"
)

// A change of addresses from its announcement to long after: told to everybody, once,
// though the process is killed on the way.
func TestPlannedChangeOfAddressesIsToldOnce(t *testing.T) {
	t.Parallel()
	crm, ops := newReceiver(t), newReceiver(t)
	p := newPublisher(t)
	lines := func(eu string) string {
		return "region eu {\negress 127.0.0.1\n" + eu + "\n}\n" + subscribed("crm", crm, "topics order.*") + subscribed("ops", ops, "topics relay.egress.*")
	}
	p.configure(lines(""))
	p.start()
	before := p.list()
	if got := before.Regions["eu"]; len(before.Regions) != 1 || !slices.Equal(got.Active, []string{"127.0.0.1/32"}) || got.Scheduled == nil || got.Retiring == nil {
		t.Errorf("%+v", before)
	}
	plain := p.accept("order.paid", `1`).ID
	p.wantDelivery(plain, "crm", stateDelivered, "")

	// It is announced; on a slow machine its moment may have passed by then.
	var at time.Time
	var egress, prefix string
	for i := 2; ; i++ {
		at = time.Now().Add(time.Duration(i*i) * time.Second).UTC().Truncate(time.Millisecond)
		egress, prefix = fmt.Sprintf("egress 127.0.0.%d from %s", i, at.Format(time.RFC3339Nano)), fmt.Sprintf("127.0.0.%d/32", i)
		p.mustReload(lines(egress))
		announced := p.list()
		id := p.accept("order.paid", `2`).ID
		p.wantDelivery(id, "crm", stateDelivered, "")
		if !time.Now().Before(at) {
			if i == 7 {
				t.Skip("this machine is too slow to announce a change 49 seconds ahead")
			}
			p.mustReload(lines(""))
			continue
		}
		if eu := announced.Regions["eu"]; len(eu.Scheduled) != 1 || eu.Scheduled[0].Prefix != prefix || eu.Scheduled[0].From != at.Format(time.RFC3339Nano) || len(eu.Active) != 1 {
			t.Errorf("%+v", announced)
		}
		if announced.Version == before.Version {
			t.Error("the version did not change with the announcement")
		}
		break
	}
	if v := crm.got()[0].header.Values("Relay-Egress-Change"); v != nil {
		t.Errorf("before anything was planned a delivery carries %q", v)
	}
	if got := crm.got(); got[len(got)-1].header.Get("Relay-Egress-Change") != at.Format(time.RFC3339Nano) {
		t.Errorf("the delivery after the announcement carries %q; want %s", got[len(got)-1].header.Get("Relay-Egress-Change"), at)
	}
	eventually(t, func() bool {
		return slices.ContainsFunc(ops.got(), func(a arrival) bool {
			return a.header.Get("Relay-Event") == scheduled && strings.Contains(string(a.body), prefix)
		})
	}, func() string { return "the announcement is not delivered" })

	// It happens by the clock, whatever becomes of the process.
	p.kill()
	p.start()
	eventually(t, func() bool { return slices.Contains(p.list().Regions["eu"].Active, prefix) }, func() string {
		return fmt.Sprintf("%s is not in use at %s: %+v", prefix, time.Now(), p.list())
	})
	after := p.list()
	if !after.Updated.Equal(at.Truncate(time.Second)) || len(after.Regions["eu"].Scheduled) != 0 {
		t.Errorf("%+v; want it updated at %s", after, at)
	}
	id := p.accept("order.paid", `3`).ID
	p.wantDelivery(id, "crm", stateDelivered, "")
	if got := crm.got(); got[len(got)-1].header.Values("Relay-Egress-Change") != nil {
		t.Errorf("after the change a delivery carries %q", got[len(got)-1].header.Values("Relay-Egress-Change"))
	}
	eventually(t, func() bool {
		return slices.ContainsFunc(ops.got(), func(a arrival) bool {
			return a.header.Get("Relay-Event") == changed && strings.Contains(string(a.body), prefix)
		})
	}, func() string { return "the change is not delivered as an event" })
	tag := p.ask("egress.json").header.Get("ETag")
	p.kill()
	p.start()
	if a := p.ask("egress.json", "If-None-Match", tag); a.status != http.StatusNotModified {
		t.Errorf("after a restart the list is another one: %s", a)
	}
	p.mustReload(lines(egress) + "retention {\ndelivered 2d\n}\n")
	if again := p.list(); again.Version != after.Version || !again.Updated.Equal(after.Updated) {
		t.Errorf("%+v after a reload; want %+v", again, after)
	}
	count := func(typ string) (n int) {
		for _, text := range p.told(typ) {
			if text == "+"+prefix {
				n++
			}
		}
		return n
	}
	if a, b := count(scheduled), count(changed); a != 1 || b != 1 {
		t.Errorf("announced %d times, and happened %d times", a, b)
	}

	// Another instance with the same configuration has the same version.
	other := newPublisher(t)
	other.configure(lines(egress))
	other.start()
	if v := other.list().Version; v != after.Version {
		t.Errorf("another instance has the version %s; want %s", v, after.Version)
	}
}

// Kills right after a reload hit every step of an announcement, sooner or later.
func TestAnnouncementsSurviveKillsAndAreMadeOnce(t *testing.T) {
	t.Parallel()
	rounds := setting(t, "RELAY_TEST_ANNOUNCEMENTS", 6)
	p := newPublisher(t)
	far := time.Now().AddDate(0, 3, 0).UTC().Truncate(time.Second).Format(time.RFC3339)
	lines := "region eu {\negress 127.0.0.1\n"
	p.configure(lines + "}\n")
	p.start()
	var want []string
	for i := range rounds {
		lines += fmt.Sprintf("egress 127.0.1.%d from %s\n", i, far)
		want = append(want, fmt.Sprintf("+127.0.1.%d/32", i))
		p.mustReload(lines + "}\n")
		p.kill()
		p.start()
	}
	p.wantTold(scheduled, want...)
	p.wantTold(changed)
	p.wantTold(withdrawn)
	if got := p.list().Regions["eu"].Scheduled; len(got) != rounds {
		t.Errorf("%+v", got)
	}
	feed := string(p.ask("egress.atom").body)
	if n := strings.Count(feed, "<entry>"); n != rounds {
		t.Errorf("%d entries:\n%s", n, feed)
	}
}

// What a reload that failed would have changed is told to nobody; what vanishes is a
// warning.
func TestUnannouncedChangeOfAddressesIsAWarning(t *testing.T) {
	t.Parallel()
	squatter := newReceiver(t)
	_, squatted, _ := strings.Cut(squatter.address, ":")
	p := newPublisher(t)
	p.configure("region eu 127.0.0.1 127.0.0.2\n")
	p.start()
	before := p.list()
	for range 4 { // apps start in any order
		p.configure("region eu 127.0.0.1\n")
		p.write("Caddyfile", p.file("Caddyfile")+"http://:"+squatted+" {\nbind 127.0.0.1\nrespond ok\n}\n")
		if r := p.reload(); r.code == 0 {
			t.Fatal("the reload has not failed")
		}
		if got := p.list(); got.Version != before.Version {
			t.Errorf("a failed reload has changed the list: %+v", got)
		}
	}
	p.wantTold(changed)
	warnings := func() []string {
		return decode[struct{ Warnings []string }](t, p.get("/relay/status")).Warnings
	}
	if w := warnings(); len(w) != 0 {
		t.Errorf("%q", w)
	}

	p.mustReload("region eu 127.0.0.1\n")
	p.wantTold(changed, "-127.0.0.2/32")
	if w := warnings(); len(w) != 1 || !strings.HasPrefix(w[0], `region "eu": the address 127.0.0.2 vanished from the configuration`) {
		t.Errorf("%q", w)
	}
	eventually(t, func() bool { return strings.Contains(p.log(), "the address 127.0.0.2 vanished") }, p.log)
	if r := p.relay("egress"); r.code != 0 || !strings.Contains(r.out, "warning: region \"eu\": the address 127.0.0.2 vanished") {
		t.Error(r)
	}
	p.kill()
	p.start()
	if w := warnings(); len(w) != 1 {
		t.Errorf("after a restart: %q", w)
	}
	p.mustReload("region eu {\negress 127.0.0.1\negress 127.0.0.2 until " + time.Now().AddDate(0, 2, 0).UTC().Format(time.RFC3339) + "\n}\n")
	for _, w := range warnings() {
		if strings.Contains(w, "vanished") {
			t.Errorf("it is back with an end: %q", w)
		}
	}
	// What the list does not answer is for what stands behind it.
	if a := do(clientOf, mustRequest(t, fmt.Sprintf("http://127.0.0.1:%d/egress.json", p.listPort))); a.status != http.StatusTeapot {
		t.Errorf("outside of its path: %s", a)
	}
}

func mustRequest(t *testing.T, target string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
