//go:build linux

package bench

import (
	"os"
	"strings"
	"testing"
	"time"
)

// shortOptions are those of a run that shows that everything works, and measures
// nothing that counts.
func shortOptions(t testing.TB) options {
	t.Helper()
	// A folder with a short name: that of t.TempDir may be too long for a socket.
	dir, err := os.MkdirTemp("", "rb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left in the folder: %v, %v", left, err)
		}
		os.RemoveAll(dir)
	})
	o := defaultOptions()
	o.rounds, o.duration, o.warmup, o.posters, o.caddy, o.dir = 1, time.Second, 200*time.Millisecond, 4, "", dir
	return o
}

// choose sets the systems.
func choose(t testing.TB, o options, names string) options {
	t.Helper()
	if err := o.choose(names); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOptionsAreJudgedBeforeAnythingIsStarted(t *testing.T) {
	tests := map[string]string{
		"-rounds 0":                 "-rounds",
		"-duration 0s":              "-duration",
		"-posters 0":                "-posters",
		"-size 10":                  "-size",
		"-size 10000000":            "-size",
		"-fanout 0":                 "-fanout",
		"-rate -1":                  "-rate",
		"-systems relay,rely":       `"rely"`,
		"-systems proxy -fanout 2":  "cannot fan out",
		"-others -1":                "-others",
		"-relays 0":                 "-help",
		"-relays 2":                 "needs -postgres",
		"-relays 2 -fanout 2":       "do not go together",
		"-systems relays-2":         "is what -relays measures",
		"-backlog -1":               "-backlog",
		"-tls h3":                   "-help",
		"-backlog 5 -fanout 2":      "do not go together",
		"-systems relay-backlog":    "needs -backlog",
		"-steady -fanout 2":         "do not go together",
		"-systems client -tls h1":   "does not speak TLS",
		"now":                       `"now"`,
		"-grow weather":             "none of subscriptions, fanout",
		"-grow size -values 9":      "-grow size at 9: -size must be",
		"-grow size -values 1k":     `"1k"`,
		"-grow fanout -rate 5":      "do not go together",
		"-grow size -profile p":     "do not go together",
		"-values 1,2":               "give both",
		"-plot .":                   "give -grow, or files",
		"-plot /none -grow size":    "/none is no folder",
		"-report":                   "takes files",
		"-report -grow size a.json": "leave out",
		"-brief":                    "-json",
		"-sync-delay 2s":            "-sync-delay",
		"-unknown":                  "-help",
		"-systems relay -rounds no": "-help",
	}
	for args, want := range tests {
		_, err := parseOptions(strings.Fields(args))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want an error with %s", args, err, want)
		}
	}
}

func TestModesCompareWhatTheyAreAbout(t *testing.T) {
	tests := map[string]string{
		"":                       "relay proxy relay-defaults proxy-defaults",
		"-rate 100":              "relay proxy commit",
		"-fanout 10":             "relay relay-defaults client",
		"-others 10":             "relay relay-alone",
		"-backlog 10":            "relay relay-backlog",
		"-steady":                "relay",
		"-tls h2":                "relay proxy",
		"-systems client,commit": "client commit",
		"-report some.json":      "relay proxy relay-defaults proxy-defaults", // but measures nothing
	}
	for args, want := range tests {
		o, err := parseOptions(strings.Fields(args))
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		if got := strings.Join(o.facts().Systems, " "); got != want {
			t.Errorf("%q measures %s; want %s", args, got, want)
		}
	}
}

// TestACaddyThatIsNamedIsMeasured: who names one is never given the figures of another.
func TestACaddyThatIsNamedIsMeasured(t *testing.T) {
	t.Chdir(t.TempDir())
	for path, mode := range map[string]os.FileMode{"built": 0o700, "text": 0o600} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		self bool
		err  string
	}{
		"":         {self: true},
		builtCaddy: {self: true}, // the default, and not built yet
		"built":    {},
		"text":     {err: "text is no program"},
		".":        {err: ". is no program"},
		"missing":  {err: "-caddy: stat missing"},
	} {
		o := options{caddy: name}
		path, self, err := o.caddyCommand()
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", name, err, c.err)
			}
		case err != nil || self != c.self || !self && path != name:
			t.Errorf("%q: %q, %t, %v", name, path, self, err)
		}
	}
}
