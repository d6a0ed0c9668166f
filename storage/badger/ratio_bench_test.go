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
	n := max(b.N, 5000)
	bare := hammer(b, n, bareGroupCommit(b, data))
	fresh := hammer(b, n, appends(openAt(b, b.TempDir(), nil)))

	old := openAt(b, b.TempDir(), nil)
	backlog(b, old, entries(), 64, data)
	for i := range 64 {
		name := fmt.Sprintf("subscription-%d", i)
		_, st := old.subs.state(name)
		head := st.progress.Head
		if err := old.Commit(background, []relay.Update{{Progress: relay.Progress{Subscription: name, Low: head, Delivered: head}}}); err != nil {
			b.Fatal(err)
		}
	}
	behind := hammer(b, n, appends(old))
	b.ReportMetric(fresh, "events/s")
	b.ReportMetric(fresh/bare, "of-bare-badger")
	b.ReportMetric(behind/fresh, "of-empty-store")
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
