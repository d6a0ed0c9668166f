package integration

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// crowd is an instance with many subscriptions, of which every second one is dead: its
// endpoint refuses connections, takes them and says nothing, or answers 500, in turn.
type crowd struct {
	*instance
	healthy, silent, broken *receiver
	size                    int
	sick                    bool
}

// well returns how many are not dead.
func (c *crowd) well() int {
	if c.sick {
		return c.size - c.size/2
	}
	return c.size
}

func newCrowd(t testing.TB, size int, sick bool) *crowd {
	t.Helper()
	c := &crowd{healthy: newReceiver(t), silent: newReceiver(t), broken: newReceiver(t), size: size, sick: sick}
	hold := newGate(t)
	c.silent.answer(hold.then(with(http.StatusOK)))
	c.broken.answer(with(http.StatusInternalServerError))
	refused := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	var config strings.Builder
	// Dead ones fail twice, and are then left alone. Thousands of requests at the same moment
	// take their time, here and at the receiver.
	timeout := time.Second + time.Duration(size)*time.Millisecond
	fmt.Fprintf(&config, "defaults {\nallow_ips 127.0.0.1\nmax_in_flight 2\ntimeout %s\nretry 10m 10m\nbreaker 0.5 2 10m 1h\n}\n", timeout)
	for i := range size {
		target := c.healthy.url()
		if sick && i%2 == 1 {
			target = []string{refused, c.silent.url(), c.broken.url()}[i/2%3]
		}
		fmt.Fprintf(&config, "subscription s%d %s/s%d order.* only.s%d\n", i, target, i, i)
	}
	c.instance = run(t, config.String(), withGrace("2s"))
	return c
}

// memory returns the resident memory of the process, in bytes; 0 where the system does
// not tell.
func (c *instance) memory() int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.cmd.Process.Pid))
	var size, resident int
	_, _ = fmt.Sscan(string(text), &size, &resident)
	return resident * os.Getpagesize()
}

// F23: half of the endpoints are dead, and the other half gets everything, once. What the
// dead ones cost is bounded, and nothing of theirs is lost. RELAY_TEST_LONG=1 makes it
// 10,000 subscriptions. How soon all of it happens is for BenchmarkLatencyBesideDead.
func TestHealthyEndpointsGetEverythingBesideAsManyDeadOnes(t *testing.T) {
	t.Parallel()
	size, events := 1000, 6
	if setting(t, "RELAY_TEST_LONG", 0) != 0 {
		size = 10_000
	}
	before := time.Now()
	c := newCrowd(t, size, true)
	t.Logf("%d subscriptions were ready after %s, in %d MiB", size, time.Since(before), c.memory()>>20)
	goroutines, memory := c.goroutines(), c.memory()
	var ids []string
	for i := range events {
		ids = append(ids, c.accept("order.paid", fmt.Sprint(i)).ID)
	}
	// Two requests are in flight at most for each, of a few goroutines; the rest is spare.
	most := goroutines + 2*5*size
	for range 10 {
		if n := c.goroutines(); n > most {
			t.Fatalf("there are %d goroutines; want at most %d", n, most)
		}
	}
	all := c.well() * events
	for came := -1; c.healthy.count() < all && c.healthy.count() > came; { // as long as it goes on
		came = c.healthy.count()
		eventually(t, func() bool { return c.healthy.count() >= min(came+1000, all) }, func() string {
			return fmt.Sprintf("%d of %d came", c.healthy.count(), all)
		})
	}

	counts := make(map[pair]int)
	for _, a := range c.healthy.wantExactly(all) {
		counts[pair{a.id(), a.subscription()}]++
	}
	for i := 0; i < size; i += 2 {
		for _, id := range ids {
			if n := counts[pair{id, fmt.Sprintf("s%d", i)}]; n != 1 {
				t.Errorf("s%d got %s %d times", i, id, n)
			}
		}
	}

	// Each of the dead has failed often enough for its breaker, and has all it was sent.
	eventually(t, func() bool {
		for _, s := range c.status().Subscriptions {
			var i int
			_, _ = fmt.Sscanf(s.Name, "s%d", &i)
			if want := i % 2; (s.Reason == "breaker") != (want == 1) || s.Pending != want*events || s.InFlight != 0 {
				return false
			}
		}
		return true
	}, func() string {
		return fmt.Sprintf("want every second one held by its breaker, with %d pending: %+v", events, c.status().Subscriptions[:8])
	})
	requests := c.silent.count() + c.broken.count()
	if most := 2 * (size - c.well()); requests > most {
		t.Errorf("the dead ones got %d requests; want at most %d", requests, most)
	}
	// An event to one of the healthy goes on, and none to the dead.
	for i := range 20 {
		name := fmt.Sprintf("s%d", i*2)
		c.wantDelivery(c.accept("only."+name, `1`).ID, name, stateDelivered, "")
	}
	eventually(t, func() bool { return c.goroutines() < goroutines+2*size }, func() string {
		return fmt.Sprintf("%d goroutines are left; there were %d", c.goroutines(), goroutines)
	})
	if grown := c.memory() - memory; grown > 100<<20+size*(64<<10) {
		t.Errorf("memory has grown by %d MiB", grown>>20)
	}
	t.Logf("in the end %d goroutines, %d MiB", c.goroutines(), c.memory()>>20)
}

// BenchmarkLatencyBesideDead tells the 99th percentile of the time from posting to arrival
// at healthy endpoints, over sockets, with half of 1,000 subscriptions dead ÷ with none.
func BenchmarkLatencyBesideDead(b *testing.B) {
	const size, events = 1000, 1000
	measure := func(c *crowd) time.Duration {
		c.accept("order.paid", `"the first"`) // each of the dead fails once
		offset := len(c.healthy.want(c.well()))
		posted := make(map[string]time.Time)
		for i := range events {
			at := time.Now()
			n := i * 2 % size
			id := c.accept(fmt.Sprintf("only.s%d", n), fmt.Sprint(i)).ID
			posted[id] = at
			c.request(http.MethodPost, fmt.Sprintf("/v1/events/only.s%d", n+1), "1", "Content-Type", "application/json")
		}
		var took []time.Duration
		for _, a := range c.healthy.want(offset + 2*events*c.well()/size)[offset:] {
			if at, ok := posted[a.id()]; ok {
				took = append(took, a.at.Sub(at))
			}
		}
		slices.Sort(took)
		return took[events*99/100]
	}
	var ratios, p99s []float64
	for b.Loop() {
		without := measure(newCrowd(b, size, false))
		with := measure(newCrowd(b, size, true))
		p99s = append(p99s, float64(with)/float64(time.Millisecond))
		ratios = append(ratios, float64(with)/float64(without))
	}
	slices.Sort(p99s)
	slices.Sort(ratios)
	b.ReportMetric(p99s[len(p99s)/2], "p99-ms")
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
}
