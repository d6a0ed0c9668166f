package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/topic"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// What many subscriptions cost, and what sick endpoints cost the others. The store is in
// memory and endpoints are functions, so that the figures are those of the engine alone.

// transport is an endpoint without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hanging never answers.
var hanging = transport(func(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
})

// refusing is an endpoint on whose port nobody listens.
var refusing = transport(func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED })

func benched(name string, to http.RoundTripper, topics ...string) *relay.Subscription {
	s := &relay.Subscription{
		Name: name, URL: &url.URL{Scheme: "https", Host: name + ".example.com", Path: "/hook"},
		Transport: to, Timeout: time.Second,
	}
	for _, text := range topics {
		p, err := topic.Parse(text)
		if err != nil {
			panic(err)
		}
		s.Topics = append(s.Topics, p)
	}
	return s
}

// engineWith opens an engine in memory with these subscriptions. It is closed at the end.
func engineWith(b *testing.B, subscriptions ...*relay.Subscription) *relay.Relay {
	b.Helper()
	engine, err := relay.Open(context.Background(), storagetest.NewMemory(time.Now), relay.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = engine.Close() })
	attach(b, engine, subscriptions)
	return engine
}

func attach(b *testing.B, engine *relay.Relay, subscriptions []*relay.Subscription) {
	b.Helper()
	plan, err := relay.NewPlan(relay.PlanOptions{Subscriptions: subscriptions, UserAgent: "caddy-relay/bench"})
	if err != nil {
		b.Fatal(err)
	}
	engine.Attach(plan)
}

func publish(b *testing.B, engine *relay.Relay, typ, data string) {
	b.Helper()
	_, err := engine.Publish(context.Background(), []relay.Publication{
		{Event: &relay.Event{Type: typ, ContentType: "application/json", Data: []byte(data)}},
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkOneOfAHundredHangs compares the deliveries per second of 99 endpoints with and
// without a hundredth that hangs. The two alternate, since machines are not even.
func BenchmarkOneOfAHundredHangs(b *testing.B) {
	const (
		others = 99
		events = 400
		rounds = 5
	)
	run := func(hangs bool) (perSecond float64) {
		var delivered atomic.Int64
		done := make(chan struct{})
		to := transport(func(*http.Request) (*http.Response, error) {
			if delivered.Add(1) == others*events {
				close(done)
			}
			return answer(200), nil
		})
		var all []*relay.Subscription
		for i := range others {
			all = append(all, benched("s"+strconv.Itoa(i), to))
		}
		if hangs {
			all = append(all, benched("hangs", hanging))
		}
		engine := engineWith(b, all...)
		start := time.Now()
		for range events {
			publish(b, engine, "order.paid", `{"order":1}`)
		}
		<-done
		took := time.Since(start)
		_ = engine.Close()
		return others * events / took.Seconds()
	}
	var ratios, healthy []float64
	for b.Loop() {
		for range rounds {
			without := run(false)
			healthy = append(healthy, without)
			ratios = append(ratios, run(true)/without)
		}
	}
	b.ReportMetric(median(healthy), "delivered/s")
	b.ReportMetric(median(ratios), "ratio")
}

// BenchmarkIdleSubscription tells the memory of a subscription of which nothing is heard:
// before its first event, and after one was delivered.
func BenchmarkIdleSubscription(b *testing.B) {
	const n = 10_000
	heap := func() uint64 {
		for range 3 { // what finalizers and pools hold goes with later ones
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	for _, used := range []bool{false, true} {
		b.Run(fmt.Sprintf("used=%v", used), func(b *testing.B) {
			for b.Loop() {
				var delivered atomic.Int64
				to := transport(func(*http.Request) (*http.Response, error) {
					delivered.Add(1)
					return answer(200), nil
				})
				before := heap()
				store := storagetest.NewMemory(time.Now)
				engine, err := relay.Open(context.Background(), store, relay.Options{})
				if err != nil {
					b.Fatal(err)
				}
				all := make([]*relay.Subscription, n)
				for i := range all {
					all[i] = benched("subscription-"+strconv.Itoa(i), to, "order.*", "invoice.paid")
				}
				attach(b, engine, all)
				clear(all)
				if used {
					publish(b, engine, "order.paid", `{"order":1}`)
					for delivered.Load() < n || engine.Unfinished() > 0 {
						time.Sleep(time.Millisecond)
					}
					if err := engine.Flush(context.Background()); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(heap()-before)/n, "B/subscription")
				runtime.KeepAlive(store)
				_ = engine.Close()
			}
		})
	}
}

// BenchmarkLoadSubscriptions makes a plan of 10,000 subscriptions and attaches it: to a new
// engine, and in the place of another plan of as many.
func BenchmarkLoadSubscriptions(b *testing.B) {
	const n = 10_000
	load := func(engine *relay.Relay) {
		all := make([]*relay.Subscription, n)
		for i := range all {
			all[i] = benched("subscription-"+strconv.Itoa(i), refusing, fmt.Sprintf("shop-%d.order.*", i), "invoice.paid")
		}
		attach(b, engine, all)
	}
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			engine := engineWith(b)
			load(engine)
			_ = engine.Close()
		}
	})
	b.Run("reload", func(b *testing.B) {
		engine := engineWith(b)
		load(engine)
		for b.Loop() {
			load(engine)
		}
	})
}

// BenchmarkHealthyBesideDead compares the 99th percentile of the time from acceptance to
// the endpoint, of 5,000 healthy subscriptions, beside 5,000 others: well ones, and dead ones,
// of which half refuse connections and half hang. The two alternate; -benchtime 5x makes
// five pairs, of which the medians are told. Both are far below a millisecond: beside other
// load on the machine only several pairs say something.
func BenchmarkHealthyBesideDead(b *testing.B) {
	well := transport(func(*http.Request) (*http.Response, error) { return answer(200), nil })
	b.Run("each_gets_as_much", func(b *testing.B) { // one event for one of the healthy and one other
		besideDead(b, well, 0)
	})
	b.Run("the_dead_are_probed_each_second", func(b *testing.B) {
		besideDead(b, well, 12)
	})
}

// besideDead tells of one pair for each loop. With a backlog the others have as many
// deliveries from before, so that the dead ones' breakers are open, and get no more.
func besideDead(b *testing.B, well http.RoundTripper, backlog int) {
	const (
		half   = 5_000
		events = 3_000
		every  = time.Millisecond
	)
	run := func(others ...http.RoundTripper) (p99 time.Duration) {
		var posted, took [events]atomic.Int64
		var delivered atomic.Int64
		begin, done := time.Now(), make(chan struct{})
		to := transport(func(r *http.Request) (*http.Response, error) {
			_, text, _ := strings.Cut(r.Header.Get("Relay-Event"), ".e")
			if i, err := strconv.Atoi(text); err == nil {
				took[i].Store(int64(time.Since(begin)) - posted[i].Load())
				if delivered.Add(1) == events {
					close(done)
				}
			}
			return answer(200), nil
		})
		var all []*relay.Subscription
		for i := range half {
			topics := fmt.Sprintf("t%d.*", i)
			other := benched("other-"+strconv.Itoa(i), others[i%len(others)], "others")
			if backlog == 0 {
				other = benched(other.Name, other.Transport, topics)
			}
			other.Retry.Delays = slices.Repeat([]time.Duration{time.Second}, 1000)
			other.Breaker = relay.BreakerPolicy{Ratio: 0.7, Least: 10, Window: time.Minute, Pause: time.Second}
			all = append(all, benched("healthy-"+strconv.Itoa(i), to, topics), other)
		}
		engine := engineWith(b, all...)
		for range backlog {
			publish(b, engine, "others", `{"order":1}`)
		}
		if backlog > 0 {
			time.Sleep(5 * time.Second)
		}
		start := time.Now()
		for i := range events {
			time.Sleep(time.Until(start.Add(time.Duration(i) * every)))
			posted[i].Store(int64(time.Since(begin)))
			publish(b, engine, fmt.Sprintf("t%d.e%d", i*7%half, i), `{"order":1}`)
		}
		<-done
		_ = engine.Close()
		sorted := make([]int64, events)
		for i := range took {
			sorted[i] = took[i].Load()
		}
		slices.Sort(sorted)
		return time.Duration(sorted[events*99/100])
	}
	run(well) // to warm up
	var ratios, p99s []float64
	for b.Loop() {
		without := run(well)
		with := run(refusing, hanging)
		p99s = append(p99s, float64(with)/float64(time.Millisecond))
		ratios = append(ratios, float64(with)/float64(without))
	}
	b.ReportMetric(median(p99s), "p99-ms")
	b.ReportMetric(median(ratios), "ratio")
}
