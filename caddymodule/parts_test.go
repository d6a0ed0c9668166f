package caddymodule

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/destination"
)

func TestLiveLoggerFollowsTheConfigurations(t *testing.T) {
	layer := func() (*zap.Logger, *observer.ObservedLogs) {
		core, logs := observer.New(zap.InfoLevel)
		return zap.New(core), logs
	}
	first, firstLogs := layer()
	second, secondLogs := layer()
	live := newLiveLogger(first)
	logger := live.logger("relay.storage").With(zap.Int("a", 1))
	live.push(first)
	logger.Info("to the first")
	live.push(second)
	logger.Info("to the second", zap.Int("b", 2))
	logger.Debug("to nobody")
	live.remove(first) // as after a reload
	logger.Info("to the second")
	live.remove(second) // as on exit
	live.remove(second)
	logger.Info("to the second")
	if n := firstLogs.Len(); n != 1 {
		t.Errorf("the first logger got %d entries; want 1", n)
	}
	entries := secondLogs.All()
	if len(entries) != 3 || entries[0].LoggerName != "relay.storage" || len(entries[0].Context) != 2 {
		t.Errorf("the second logger got %+v", entries)
	}
}

func TestTransportsAreSharedOnlyBetweenEquals(t *testing.T) {
	prefix := netip.MustParsePrefix
	region := func(name string) *Region { return &Region{Name: name, Egress: []Egress{{Address: "192.0.2.1"}}} }
	base := func() route {
		return route{region: region("eu"), connectTimeout: time.Second, rules: destination.Rules{
			AllowIPs:   []netip.Prefix{prefix("10.0.0.0/8"), prefix("10.0.0.1/32")},
			AllowHosts: []string{"a.internal", "b.internal"},
		}}
	}
	same := base()
	same.rules.AllowIPs = []netip.Prefix{prefix("10.0.0.1/32"), prefix("10.0.0.0/8"), prefix("10.0.0.1/32")}
	same.rules.AllowHosts = []string{"B.internal", "a.internal"}
	if base().key() != same.key() {
		t.Errorf("order, repetition and case count: %s and %s", base().key(), same.key())
	}
	for name, change := range map[string]func(*route){
		"region":    func(r *route) { r.region = region("us") },
		"no region": func(r *route) { r.region = nil },
		"addresses": func(r *route) { r.rules.AllowIPs = r.rules.AllowIPs[:1] },
		"hosts":     func(r *route) { r.rules.AllowHosts = nil },
		"timeout":   func(r *route) { r.connectTimeout++ },
	} {
		other := base()
		change(&other)
		if base().key() == other.key() {
			t.Errorf("routes that differ in %s share a transport", name)
		}
	}

	a := mustProvision(t, `{"subscriptions": [
		{"name": "a", "url": "https://a.example.com/"},
		{"name": "b", "url": "https://b.example.com/", "max_in_flight": 100},
		{"name": "c", "url": "https://c.example.com/", "allow_ips": ["10.0.0.0/8"]}]}`)
	of := func(name string) any { return a.plan.Subscription(name).Transport }
	if of("a") != of("b") || of("a") == of("c") {
		t.Error("a and b must share a transport, and c have its own")
	}
	if n := len(a.transports); n != 2 {
		t.Errorf("%d transports; want 2", n)
	}
}

func TestCanonicalPath(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Skipf("needs symbolic links: %v", err)
	}
	want := filepath.Join(dir, "no", "such")
	for _, path := range []string{want, want + "/", dir + "/./no//such", dir + "/link/no/such", dir + "/link/link/no/x/../such"} {
		if got, err := canonicalPath(path); err != nil || got != want {
			t.Errorf("canonicalPath(%s) = %s, %v; want %s", path, got, err, want)
		}
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := canonicalPath("no/such"); err != nil || got != filepath.Join(wd, "no", "such") {
		t.Errorf("a relative path: %s, %v", got, err)
	}
}

func TestModuleVersion(t *testing.T) {
	module := func(version string, replace *debug.Module) *debug.Module {
		return &debug.Module{Path: modulePath, Version: version, Replace: replace}
	}
	for _, c := range []struct {
		info *debug.BuildInfo
		want string
	}{
		{&debug.BuildInfo{}, "dev"},
		{&debug.BuildInfo{Main: *module("(devel)", nil)}, "dev"},
		{&debug.BuildInfo{Main: *module("v1.2.3", nil)}, "1.2.3"},
		{&debug.BuildInfo{Deps: []*debug.Module{{Path: "x", Version: "v9.9.9"}, module("v1.2.3", nil)}}, "1.2.3"},
		{&debug.BuildInfo{Deps: []*debug.Module{module("v0.0.0", &debug.Module{Path: "/src"})}}, "dev"},
	} {
		if got := moduleVersion(c.info); got != c.want {
			t.Errorf("%+v: %s; want %s", c.info, got, c.want)
		}
	}
}

func TestRetryPolicy(t *testing.T) {
	var none *Retry
	if p := none.policy(); p.Off || len(p.Delays) != len(relay.DefaultSchedule) || p.Jitter != relay.DefaultJitter {
		t.Errorf("the default: %+v", p)
	}
	zero := 0.0
	if p := (&Retry{Jitter: &zero}).policy(); p.Jitter != 0 || len(p.Delays) != len(relay.DefaultSchedule) {
		t.Errorf("jitter 0: %+v", p)
	}
	if p := (&Retry{Off: true}).policy(); !p.Off || p.Delays != nil {
		t.Errorf("off: %+v", p)
	}
}
