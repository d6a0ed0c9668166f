//go:build linux

package bench

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// Several relays on one database: each has its part, and nothing is lost or doubled.
func TestRelaysShareTheLoad(t *testing.T) {
	server := postgrestest.New(t)
	o := shortOptions(t)
	o.postgres, o.posters, o.relays = server.DSN("postgres"), relaySubscriptions, relayCounts{1, 2}
	r, err := measure(t.Context(), choose(t, o, ""), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		t.Error(p)
	}
	if len(r.Runs) != 2 {
		t.Fatalf("%d runs; want 2", len(r.Runs))
	}
	for i, f := range r.Runs {
		if len(f.Shares) != i+1 || slices.Min(f.Shares) <= 0 || f.LeastServed <= 0 {
			t.Errorf("%s: shares %v, least served %g", f.System, f.Shares, f.LeastServed)
		}
		if f.ServerCPU <= 0 || f.ServerLog < float64(o.size) || f.Transactions <= 0 {
			t.Errorf("%s: the server takes %g µs and %g bytes for an event, %g transactions/s", f.System, f.ServerCPU, f.ServerLog, f.Transactions)
		}
	}
	if n := len(r.Ratios); n != 2 {
		t.Errorf("%d ratios; want 2", n)
	}
	if left := server.Query(t, "postgres", "select count(*) from pg_namespace where nspname like 'bench%'"); left != "0" {
		t.Errorf("%s schemas are left behind", left)
	}
}

func TestNumbersOfRelays(t *testing.T) {
	for _, text := range []string{"", "0", "17", "1,x", "-1"} {
		if new(relayCounts).Set(text) == nil {
			t.Errorf("%q is taken", text)
		}
	}
	var r relayCounts
	if err := r.Set("1, 2,3"); err != nil || r.systems() != "relays-1,relays-2,relays-3" {
		t.Errorf("%v, %v", r, err)
	}
	if s, ok := systemNamed("relays-3"); !ok || s.relays != 3 || !s.postgres {
		t.Errorf("%+v", s)
	}
	for _, name := range []string{"relays-", "relays-0", "relays-99", "relays-x"} {
		if _, ok := systemNamed(name); ok {
			t.Errorf("%s is a system", name)
		}
	}
}

// What a subscription did not get shows, though the others got all.
func TestWhoStarvesIsSeen(t *testing.T) {
	const posters = relaySubscriptions
	posted := &Posted{Ends: make([]int64, 2*posters)}
	arrivals := make([]int64, len(posted.Ends))
	for event := range posted.Ends {
		posted.Ends[event], arrivals[event] = 10, 20
	}
	arrivals[7] = 2000 // after the window
	w := window{from: 0, length: 100}
	f := new(figures)
	f.share(w, posted, arrivals, posters, []float64{96, 32})
	if f.LeastServed != 0.5 || !slices.Equal(f.Shares, []float64{0.75, 0.25}) || len(f.Problems) != 0 {
		t.Errorf("shares %v, least served %g, %v", f.Shares, f.LeastServed, f.Problems)
	}
	arrivals[7+posters] = 0
	f = new(figures)
	f.share(w, posted, arrivals, posters, []float64{128, 0})
	if f.LeastServed != 0 || len(f.Problems) != 2 {
		t.Errorf("%+v", f)
	}
}

func TestFamilyTimeCountsWhoHasEnded(t *testing.T) {
	parent, _ := parentOf(os.Getpid())
	if parent != os.Getppid() {
		t.Errorf("the parent is %d; want %d", parent, os.Getppid())
	}
	before, err := familyTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(30 * time.Millisecond); time.Now().Before(until); {
		_ = fmt.Sprint(until)
	}
	after, err := familyTime(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("%d after %d, %v", after, before, err)
	}
}
