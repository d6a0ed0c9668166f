package badger

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// entries is how many finished or pending entries benchmarks put behind them: a million
// where RELAY_TEST_LONG is set, fewer where they only must not rot.
func entries() int {
	if os.Getenv("RELAY_TEST_LONG") != "" {
		return 1_000_000
	}
	return 20_000
}

// backlog stores n events for subscriptions in turn.
func backlog(b *testing.B, s *Store, n, subscriptions int, data []byte) {
	b.Helper()
	for stored := 0; stored < n; {
		var batch relay.Batch
		for range min(500, n-stored) {
			batch.Items = append(batch.Items, relay.Item{
				Event:   &relay.Event{Type: "order.paid", ContentType: "application/json", Data: data},
				Targets: storagetest.Targets(fmt.Sprintf("subscription-%d", stored%subscriptions)),
			})
			stored++
		}
		if _, err := s.Append(background, batch, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// hammer calls write n times from 64 goroutines and returns how many it were a second.
func hammer(b *testing.B, n int, write func(worker, i int) error) float64 {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var wait sync.WaitGroup
	start := time.Now()
	for w := range 64 {
		wait.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				if err := write(w, int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	return float64(n) / time.Since(start).Seconds()
}

// BenchmarkEnqueueRatio compares Append with a bare loop on Badger that gathers writes of
// the same bytes into transactions, in the same run; and with itself on a store that has
// many finished entries behind it. The metrics are shares: 1 is as fast.
func BenchmarkEnqueueRatio(b *testing.B) {
	data := halfCompressible(1024)
	appends := func(s *Store) func(worker, i int) error {
		return func(worker, _ int) error {
			_, err := s.Append(background, relay.Batch{Items: []relay.Item{{
				Event:   &relay.Event{Type: "order.paid", ContentType: "application/json", Data: data},
				Targets: storagetest.Targets(fmt.Sprintf("subscription-%d", worker)),
			}}}, nil)
			return err
		}
	}
	n := max(b.N, entries()/20, 5000)
	old := openAt(b, b.TempDir(), nil)
	backlog(b, old, entries(), 64, data)
	drainAll(b, old, 64)
	settle(old)
	writers := []func(worker, i int) error{bareGroupCommit(b, data), appends(openAt(b, b.TempDir(), nil)), appends(old)}
	const rounds = 5
	var rates [3]float64
	for range rounds { // in turn, since the machine is not always the same
		for i, write := range writers {
			rates[i] += hammer(b, n/rounds, write) / rounds
		}
	}
	bare, fresh, behind := rates[0], rates[1], rates[2]
	b.ReportMetric(fresh, "events/s")
	b.ReportMetric(fresh/bare, "of-bare-badger")
	b.ReportMetric(behind/fresh, "of-empty-store")
}

// drainAll drains so many subscriptions, from 8 goroutines, and returns how many entries it
// were, and how many a second.
func drainAll(b *testing.B, s *Store, subscriptions int) (n int64, rate float64) {
	b.Helper()
	const workers = 8
	var wait sync.WaitGroup
	var read atomic.Int64
	start := time.Now()
	for w := range workers {
		wait.Go(func() {
			for i := w; i < subscriptions; i += workers {
				read.Add(drain(b, s, fmt.Sprintf("subscription-%d", i)))
			}
		})
	}
	wait.Wait()
	return read.Load(), float64(read.Load()) / time.Since(start).Seconds()
}

// BenchmarkDrainRatio compares draining on a store that has many finished entries behind it
// with draining on one that was empty, in the same run, both at rest before. The metric is a
// share: 1 is as fast.
func BenchmarkDrainRatio(b *testing.B) {
	const subscriptions = 64
	data, n := halfCompressible(1024), max(b.N, entries()/10, 20_000)
	old := openAt(b, b.TempDir(), nil)
	backlog(b, old, entries(), subscriptions, data)
	drainAll(b, old, subscriptions)
	settle(old)
	empty := openAt(b, b.TempDir(), nil)
	var rates [2]float64
	const rounds = 4
	for range rounds { // in turn, since the machine is not always the same
		for i, s := range []*Store{empty, old} {
			backlog(b, s, n, subscriptions, data)
			settle(s)
			read, rate := drainAll(b, s, subscriptions)
			if read != int64(n) {
				b.Fatalf("%d entries were drained, want %d", read, n)
			}
			rates[i] += rate / rounds
		}
	}
	b.ReportMetric(rates[0], "entries/s")
	b.ReportMetric(rates[1]/rates[0], "of-empty-store")
}

// settle waits until tables are no longer merged.
func settle(s *Store) {
	for before := (usage{}); before != count(s.dir); time.Sleep(2 * time.Second) {
		before = count(s.dir)
	}
}

// BenchmarkRoomAfterTrim writes, drains and trims everything, and waits until the janitor has
// nothing more to give back. The metrics are what is on the disk then, as a share of the data
// that was written, and of what was on the disk before.
func BenchmarkRoomAfterTrim(b *testing.B) {
	s, err := Open(b.TempDir(), Options{hurry: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	data, n := halfCompressible(1024), max(entries(), 200_000)
	backlog(b, s, n, 64, data)
	drainAll(b, s, 64)
	before := count(s.dir).total
	later := time.Now().AddDate(1, 0, 0)
	removed := 0
	for more := true; more; {
		step, err := s.Trim(background, relay.TrimPolicy{DeliveredBefore: later, FailedBefore: later})
		if err != nil {
			b.Fatal(err)
		}
		removed += step.Events
		more = step.More
	}
	if removed != n {
		b.Fatalf("%d events were removed, want %d", removed, n)
	}
	after := count(s.dir).total
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && after > int64(n)*1024*15/100; after = count(s.dir).total {
		time.Sleep(100 * time.Millisecond)
	}
	b.ReportMetric(float64(after)/float64(n*1024), "of-data")
	b.ReportMetric(float64(after)/float64(before), "of-room-before")
}

// bareGroupCommit is the fastest durable loop on Badger: one goroutine that commits all
// that waits.
func bareGroupCommit(b *testing.B, data []byte) func(worker, i int) error {
	db, err := bdb.Open(badgerOptions(b.TempDir(), &Options{Logger: openAt(b, b.TempDir(), nil).log}))
	if err != nil {
		b.Fatal(err)
	}
	type write struct {
		key  []byte
		done chan error
	}
	writes := make(chan write, 256)
	ended := make(chan struct{})
	b.Cleanup(func() {
		close(writes)
		<-ended
		_ = db.Close()
	})
	go func() {
		defer close(ended)
		for w := range writes {
			txn := db.NewTransaction(true)
			group := []write{}
			for more := true; more; {
				_ = txn.Set(w.key, data)
				group = append(group, w)
				select {
				case w, more = <-writes:
				default:
					more = false
				}
			}
			err := txn.Commit()
			for _, w := range group {
				w.done <- err
			}
		}
	}()
	return func(_, i int) error {
		w := write{binary.BigEndian.AppendUint64([]byte{'E'}, uint64(i)), make(chan error, 1)}
		writes <- w
		return <-w.done
	}
}

// BenchmarkReopen opens a store with many pending entries as kill -9 leaves it.
func BenchmarkReopen(b *testing.B) {
	s := openAt(b, b.TempDir(), nil)
	backlog(b, s, entries(), 1000, halfCompressible(256))
	settle(s) // or else tables come and go while they are copied
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		again, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		pending := uint64(0)
		for p, err := range again.Progress(background) {
			if err != nil {
				b.Fatal(err)
			}
			pending += p.Head - p.Low
		}
		b.StopTimer()
		if pending != uint64(entries()) {
			b.Fatalf("%d pending, want %d", pending, entries())
		}
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkSentinel is what noting a commit costs.
func BenchmarkSentinel(b *testing.B) {
	m, err := makeSentinel(b.TempDir(), acked{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.close()
	for i := uint64(0); b.Loop(); i++ {
		if err := m.note(i+1, relay.Seq(i)); err != nil {
			b.Fatal(err)
		}
	}
}
