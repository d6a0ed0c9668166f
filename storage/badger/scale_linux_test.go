package badger

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// reopenEnv makes the test binary open the store and an engine in the directory that it
// names, and say how long that took and how much memory.
const reopenEnv = "CADDYRELAY_TEST_REOPEN"

// attachEnv makes it deliver, too.
const attachEnv = "CADDYRELAY_TEST_REOPEN_ATTACH"

func reopenChild(dir string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(2)
	}
	start := time.Now()
	s, err := Open(dir, Options{})
	if err != nil {
		fail(err)
	}
	opened := time.Since(start)
	engine, err := relay.Open(context.Background(), s, relay.Options{})
	if err != nil {
		fail(err)
	}
	ready := time.Since(start)
	total, anon := memory(fail)
	pending := engine.Unfinished()
	var tried atomic.Int64
	if os.Getenv(attachEnv) != "" {
		plan, err := relay.NewPlan(relay.PlanOptions{Subscriptions: failing(fail, s, &tried)})
		if err != nil {
			fail(err)
		}
		engine.Attach(plan)
		time.Sleep(8 * time.Second)
	}
	time.Sleep(2 * time.Second) // what was read at the start may go
	laterTotal, laterAnon := memory(fail)
	fmt.Println("opened", opened.Seconds(), ready.Seconds(), total, anon, laterTotal, laterAnon, tried.Load(), pending)
	if err := engine.Close(); err != nil {
		fail(err)
	}
}

// failing are subscriptions for all that a store has, whose endpoints take a while to fail.
func failing(fail func(error), s *Store, tried *atomic.Int64) (all []*relay.Subscription) {
	for p, err := range s.Progress(background) {
		if err != nil {
			fail(err)
		}
		all = append(all, &relay.Subscription{
			Name: p.Subscription, URL: &url.URL{Scheme: "https", Host: p.Subscription + ".example.com", Path: "/"},
			Transport: refusing(func() { tried.Add(1) }), Breaker: relay.BreakerPolicy{Off: true},
		})
	}
	return all
}

// refusing is a way to an endpoint that answers 503.
type refusing func()

func (f refusing) RoundTrip(*http.Request) (*http.Response, error) {
	f()
	time.Sleep(50 * time.Millisecond)
	return &http.Response{StatusCode: http.StatusServiceUnavailable, Body: http.NoBody, Header: http.Header{}}, nil
}

// memory returns how much of the process is in memory, and how much of that is no file, in
// MiB.
func memory(fail func(error)) (total, anon float64) {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		fail(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var kilobytes float64
		name, value, _ := strings.Cut(lines.Text(), ":")
		if _, err := fmt.Sscan(value, &kilobytes); err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			total = kilobytes / 1024
		case "RssAnon":
			anon = kilobytes / 1024
		}
	}
	return total, anon
}

// excepted makes every delivery of a backlog one that was tried once and failed, and is due
// again one after the other from a time on.
func excepted(b *testing.B, s *Store, due time.Time) {
	b.Helper()
	now := time.Now()
	for p, err := range s.Progress(background) {
		if err != nil {
			b.Fatal(err)
		}
		p.Low, p.Open, p.NextDue = p.Head, p.Head, due
		u := relay.Update{Progress: p}
		for from := uint64(0); from < p.Head; {
			entries, err := s.Read(background, p.Subscription, from, 200, 1<<20)
			if err != nil || len(entries) == 0 {
				b.Fatalf("Read: %d, %v", len(entries), err)
			}
			for _, e := range entries {
				from = e.Pos
				u.Put = append(u.Put, relay.Exception{
					From: e.Pos, To: e.Pos, Seq: e.Event.Seq, Kind: relay.Retry, Attempts: 1, Step: 1,
					At: now, Since: now, Due: due.Add(time.Duration(e.Pos) * time.Millisecond),
				})
				u.Attempts = append(u.Attempts, relay.AttemptRecord{Seq: e.Event.Seq, Attempt: relay.Attempt{
					Number: 1, At: now, Status: 503, ErrorKind: relay.Kind5xx, Error: "answered 503 Service Unavailable", Local: "192.0.2.10:37408", Remote: "198.51.100.7:443",
				}})
			}
			if err := s.Commit(background, []relay.Update{u}); err != nil {
				b.Fatal(err)
			}
			u.Put, u.Attempts = nil, nil
		}
	}
}

// BenchmarkReopenExceptions opens, in a process of its own, a store and an engine with many
// pending deliveries over 1,000 subscriptions, all of them exceptions, as kill -9 leaves it:
// due later, or all of them due, with a plan that attempts them for a few seconds.
// RSS is all that is in memory, with pages of files; anon is what is no file.
func BenchmarkReopenExceptions(b *testing.B) {
	for name, due := range map[string]time.Duration{"due later": time.Hour, "all due": -time.Hour} {
		b.Run(name, func(b *testing.B) { reopenExceptions(b, due) })
	}
}

func reopenExceptions(b *testing.B, due time.Duration) {
	s := openAt(b, b.TempDir(), nil)
	backlog(b, s, entries(), 1000, halfCompressible(256))
	excepted(b, s, time.Now().Add(due))
	var opened, ready, total, anon, laterTotal, laterAnon, tried float64
	for b.Loop() {
		b.StopTimer()
		dir := copyDirectory(b, s.dir)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), reopenEnv+"="+dir, attachEnv+"=1")
		b.StartTimer()
		out, err := cmd.CombinedOutput()
		b.StopTimer()
		var pending int
		_, scanErr := fmt.Sscan(strings.TrimPrefix(string(out), "opened "), &opened, &ready, &total, &anon, &laterTotal, &laterAnon, &tried, &pending)
		if err != nil || scanErr != nil || pending != entries() {
			b.Fatalf("%v, %v: %s", err, scanErr, out)
		}
		b.StartTimer()
	}
	b.ReportMetric(opened, "s-to-open")
	b.ReportMetric(ready, "s-to-serve")
	b.ReportMetric(total, "MiB-RSS")
	b.ReportMetric(anon, "MiB-anon")
	b.ReportMetric(laterTotal, "MiB-RSS-later")
	b.ReportMetric(laterAnon, "MiB-anon-later")
	b.ReportMetric(tried, "attempts")
}

// backlogEnv makes the test binary fill a store in the directory that it names and drain it, and
// say how much memory that took at most.
const backlogEnv = "CADDYRELAY_TEST_BACKLOG"

func backlogChild(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(2)
		}
	}
	s, err := Open(dir, Options{})
	fail(err)
	most := func(work func()) (anon float64) {
		stop := make(chan struct{})
		var watch sync.WaitGroup
		watch.Go(func() {
			for ticker := time.Tick(20 * time.Millisecond); ; {
				select {
				case <-ticker:
					_, now := memory(fail)
					anon = max(anon, now)
				case <-stop:
					return
				}
			}
		})
		work()
		close(stop)
		watch.Wait()
		return anon
	}
	data := halfCompressible(1024)
	var left atomic.Int64
	left.Store(int64(entries()))
	filling := most(func() {
		var wait sync.WaitGroup
		for range 64 {
			wait.Go(func() {
				for left.Add(-1) >= 0 {
					_, err := s.Append(background, relay.Batch{Items: []relay.Item{{
						Event:   &relay.Event{Type: "order.paid", ContentType: "application/json", Data: slices.Clone(data)},
						Targets: storagetest.Targets("crm"),
					}}}, nil)
					fail(err)
				}
			})
		}
		wait.Wait()
	})
	draining := most(func() { fail(drainPages(s, "crm")) })
	fmt.Println("most", filling, draining)
	fail(s.Close())
}

// drainPages reads a log and commits the outcomes of each page, as a lane does.
func drainPages(s *Store, name string) error {
	for after := uint64(0); ; {
		entries, err := s.Read(background, name, after, 256, 512<<10)
		if err != nil || len(entries) == 0 {
			return err
		}
		after = entries[len(entries)-1].Pos
		u := relay.Update{Progress: relay.Progress{Subscription: name, Low: after}}
		for _, e := range entries {
			u.Attempts = append(u.Attempts, relay.AttemptRecord{Seq: e.Event.Seq, Attempt: relay.Attempt{
				Number: 1, At: time.Now(), Status: 200, Local: "192.0.2.10:37408", Remote: "198.51.100.7:443",
			}})
		}
		if err := s.Commit(background, []relay.Update{u}); err != nil {
			return err
		}
	}
}

// BenchmarkBacklogMemory fills a store and drains it, in a process of its own. The metrics are the
// most memory that was no file, in MiB.
func BenchmarkBacklogMemory(b *testing.B) {
	var filling, draining float64
	for b.Loop() {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), backlogEnv+"="+b.TempDir())
		out, err := cmd.CombinedOutput()
		if _, scanErr := fmt.Sscanf(string(out), "most %g %g", &filling, &draining); err != nil || scanErr != nil {
			b.Fatalf("%v, %v: %s", err, scanErr, out)
		}
	}
	b.ReportMetric(filling, "MiB-anon-filling")
	b.ReportMetric(draining, "MiB-anon-draining")
}
