package integration

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const storiesPage = "../docs/stories.md"

// TestStories lives through the stories of the documentation, and holds what is said in them
// against what the page shows. UPDATE=1 writes the page.
func TestStories(t *testing.T) {
	need(t, "promtool", "the Debian package prometheus")
	inANetworkNamespace(t, func(t *testing.T) {
		ip(t, "link set lo up")
		for _, address := range []string{"192.0.2.10", "10.77.0.9"} {
			ip(t, "addr add "+address+"/32 dev lo")
		}
		t.Run("dead endpoint", testDeadEndpointStory)
		t.Run("wrong secret", testWrongSecretStory)
		t.Run("missing address", testMissingAddressStory)
		t.Run("full disk", testFullDiskStory)
	}, "STORIES_UPDATE="+os.Getenv("UPDATE"))
}

// incident is a session of an operator that goes into the documentation.
type incident struct {
	*instance
	name   string
	before map[string]float64 // metrics, before it went wrong
	text   strings.Builder
}

func tell(t *testing.T, name, config string, options ...option) *incident {
	t.Helper()
	c := run(t, config, options...)
	return &incident{instance: c, name: name, before: c.metrics()}
}

// say adds a line that is not the output of a command.
func (s *incident) say(format string, args ...any) { fmt.Fprintf(&s.text, format+"\n", args...) }

// relay runs a command of the session.
func (s *incident) relay(args ...string) result {
	s.t.Helper()
	line := "caddy relay"
	for _, a := range args {
		if strings.ContainsAny(a, `{" `) {
			a = "'" + a + "'"
		}
		line += " " + a
	}
	r := s.instance.relay(args...)
	s.say("$ %s", line)
	out := r.out
	if args[0] == "doctor" {
		out = wrongOnly(out)
	}
	s.text.WriteString(out)
	for line := range strings.Lines(r.errors) {
		if strings.HasPrefix(line, "Error: ") && args[0] != "doctor" {
			s.text.WriteString(line)
		}
	}
	return r
}

// ofTheMachine are checks of the doctor that depend on where the test runs.
var ofTheMachine = regexp.MustCompile(`^ \S+ +(disk|clock|limits|stop time|configuration) `)

// wrongOnly leaves out of the doctor's answer what is well, and what depends on the machine.
func wrongOnly(out string) string {
	var kept strings.Builder
	skips := false
	for line := range strings.Lines(out) {
		switch {
		case strings.HasPrefix(line, "        "):
		case strings.HasPrefix(line, " FAIL"), strings.HasPrefix(line, " warn"):
			skips = ofTheMachine.MatchString(line)
		default:
			skips = true
		}
		if !skips {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// send publishes an event and returns its ID.
func (s *incident) send() string {
	s.t.Helper()
	r := s.relay("send", "order.paid", `{"order":47}`)
	id, _, _ := strings.Cut(r.out, " ")
	if r.code != 0 || !strings.HasPrefix(id, "evt_") {
		s.t.Fatalf("sending: %s", r)
	}
	return id
}

// alerts says which alerts fire if all stays for some time as it is now.
func (s *incident) alerts(after time.Duration, want ...string) {
	s.t.Helper()
	rules, err := filepath.Abs("../deploy/prometheus/relay.rules.yml")
	if err != nil {
		s.t.Fatal(err)
	}
	const changed = 30 // minutes after which the series are as they are now
	now := float64(time.Now().UnixMilli())/1000 - changed*60
	var test strings.Builder
	fmt.Fprintf(&test, "rule_files: [%q]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n", rules)
	for name, value := range s.metrics() {
		earlier := fmt.Sprintf("_x%d", changed)
		if before, there := s.before[name]; there && !strings.Contains(name, "_timestamp_") {
			earlier = fmt.Sprintf("%g+0x%d", before, changed-1)
		}
		if strings.Contains(name, "_timestamp_") && value > 0 {
			value -= now
		}
		fmt.Fprintf(&test, "  - series: '%s'\n    values: '%s %g+0x60'\n", name, earlier, value)
	}
	test.WriteString("  alert_rule_test:\n")
	text, err := os.ReadFile(rules)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(text), -1) {
		fmt.Fprintf(&test, "  - {eval_time: %s, alertname: %s}\n", after+changed*time.Minute, alert[1])
	}
	out, _ := exec.Command("promtool", "test", "rules", s.write("alerts.yml", test.String())).CombinedOutput()
	var fired []string
	for _, found := range regexp.MustCompile(`Labels:\{[^}]*alertname="(\w+)"[^\n]*\n\s*Annotations:\{.*summary="((?:[^"\\]|\\.)*)"`).FindAllStringSubmatch(string(out), -1) {
		fired = append(fired, found[1])
		s.say("# alert %s: %s", found[1], strings.ReplaceAll(found[2], `\"`, `"`))
	}
	if strings.Join(fired, " ") != strings.Join(want, " ") {
		s.t.Errorf("the alerts %v fire, want %v:\n%s", fired, want, out)
	}
}

// end holds the session against the page.
func (s *incident) end() {
	s.t.Helper()
	session := strings.NewReplacer(s.store(), "/var/lib/caddy-relay", s.dir, "/etc/caddy", s.admin(), "localhost:2019").Replace(s.text.String())
	page, err := os.ReadFile(storiesPage)
	if err != nil {
		s.t.Fatal(err)
	}
	mark := "<!-- story: " + s.name + " -->\n\n```console\n"
	head, rest, found := strings.Cut(string(page), mark)
	shown, tail, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		s.t.Fatalf("%s has no %q", storiesPage, mark)
	}
	if os.Getenv("STORIES_UPDATE") != "" {
		if err := os.WriteFile(storiesPage, []byte(head+mark+session+"```\n"+tail), 0o644); err != nil { //nolint:gosec // documentation
			s.t.Fatal(err)
		}
		return
	}
	if got, want := alike(session), alike(shown); got != want {
		s.t.Errorf("the page shows\n%s\nand it is\n%s\n(UPDATE=1 writes the page)", want, got)
	}
}

// alike makes sessions comparable: what differs from run to run is the same.
func alike(session string) string {
	for _, differs := range []struct{ pattern, same string }{
		{`evt_[0-9a-z]+`, "evt"},
		{`\d{4}-\d\d-\d\dT[0-9:.]+Z`, "TIME"},
		{`:\d{4,5}\b`, ":PORT"},
		{`\d+ ms`, "N ms"},
		{`[\d.]+ ?[KMG]iB`, "SIZE"},
		{`due for [\dhms ]+`, "due for long"},
		{` +`, " "},
		{`crm active \d \d \d (TIME|-)`, "crm active"}, // the delivery may be over by then, or not yet
	} {
		session = regexp.MustCompile(differs.pattern).ReplaceAllString(session, differs.same)
	}
	return session
}

// attempted waits until a delivery was attempted so often.
func (s *incident) attempted(id string, n int) {
	s.t.Helper()
	eventually(s.t, func() bool { return s.delivery(id, "crm").AttemptCount >= n }, func() string { return "no attempt was made" })
}

// Retries are far apart, so that none is made while the session goes on.
const storyWords = "allow_ips 10.77.0.9\nsign standard {file.%s}\nretry 5m 30m 2h\n"

func testDeadEndpointStory(t *testing.T) {
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	c := prepare(t)
	secret := c.write("crm.whsec", newSecret())
	s := tell(t, "dead endpoint", "region eu 192.0.2.10\nsubscription crm "+r.url()+"/hooks order.* {\n"+fmt.Sprintf(storyWords, secret)+"}")
	r.down()
	id := s.send()
	s.attempted(id, 1)
	s.alerts(6*time.Minute, "RelaySubscriptionFailing")
	s.relay("doctor")
	s.relay("list", "deliveries", "--state", "retrying")
	s.relay("show", id)
	s.relay("show", id, "--why", "crm")
	s.say("# the endpoint is back")
	r.up()
	s.relay("resume", "crm")
	s.wantDelivery(id, "crm", stateDelivered, "")
	s.relay("list", "deliveries")
	s.end()
}

func testWrongSecretStory(t *testing.T) {
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	theirs := newSecret()
	r.answer(func(w http.ResponseWriter, a *arrival) {
		if err := verify(theirs, a); err != nil {
			http.Error(w, "signature does not match", http.StatusUnauthorized)
		}
	})
	c := prepare(t)
	secret := c.write("crm.whsec", newSecret())
	s := tell(t, "wrong secret", "region eu 192.0.2.10\nsubscription crm "+r.url()+"/hooks order.* {\n"+fmt.Sprintf(storyWords, secret)+"}")
	id := s.send()
	s.attempted(id, 1)
	s.alerts(6*time.Minute, "RelaySubscriptionFailing")
	s.relay("doctor")
	s.relay("show", id)
	s.relay("show", id, "--why", "crm")
	s.say("$ install -m 600 crm-from-the-receiver.whsec /etc/caddy/crm.whsec")
	c.write("crm.whsec", theirs)
	s.say("$ caddy reload --config /etc/caddy/Caddyfile --force")
	if res := s.reload("--force"); res.code != 0 {
		t.Fatalf("reload: %s", res)
	}
	s.relay("resume", "crm")
	s.wantDelivery(id, "crm", stateDelivered, "")
	s.relay("list", "deliveries")
	s.end()
}

func testMissingAddressStory(t *testing.T) {
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	c := prepare(t)
	secret := c.write("crm.whsec", newSecret())
	s := tell(t, "missing address", "region us 198.51.100.20\nsubscription crm "+r.url()+"/hooks order.* {\n"+fmt.Sprintf(storyWords, secret)+"}")
	id := s.send()
	s.wantDelivery(id, "crm", stateHeld, reasonEgress)
	s.alerts(30*time.Minute, "RelayEgressAddressMissing", "RelayBacklogOld")
	s.relay("doctor")
	s.relay("list", "deliveries")
	s.relay("show", id, "--why", "crm")
	s.say("$ ip addr add 198.51.100.20/32 dev lo")
	ip(t, "addr add 198.51.100.20/32 dev lo")
	defer ip(t, "addr del 198.51.100.20/32 dev lo")
	s.wantDelivery(id, "crm", stateDelivered, "")
	s.relay("list", "deliveries")
	r.wantExactly(1)
	s.end()
}

func testFullDiskStory(t *testing.T) {
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	c := prepare(t)
	secret := c.write("crm.whsec", newSecret())
	s := tell(t, "full disk", "region eu 192.0.2.10\nsubscription crm "+r.url()+"/hooks order.* {\n"+fmt.Sprintf(storyWords, secret)+"}",
		func(c *instance) { tmpfs(t, c.store(), "96m") })
	id := s.send()
	s.wantDelivery(id, "crm", stateDelivered, "")
	hog := s.path("store/hog")
	takeAllBut(t, hog, 12<<20)
	s.say("# another program has filled the volume")
	s.wantReadiness(http.StatusServiceUnavailable)
	s.relay("send", "order.paid", `{"order":48}`)
	s.alerts(2*time.Minute, "RelayIntakeRefusing", "RelayStorageLow")
	s.relay("doctor")
	s.relay("health")
	s.relay("show", id)
	s.say("$ rm /var/lib/caddy-relay/hog")
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	s.wantReadiness(http.StatusOK)
	s.relay("health")
	s.wantDelivery(s.send(), "crm", stateDelivered, "")
	s.end()
}
