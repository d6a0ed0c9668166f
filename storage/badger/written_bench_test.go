package badger

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// BenchmarkDelivered stores events from 64 goroutines, each for one subscription or for ten,
// and commits the outcome of every delivery, as an engine does: those that have come in
// meanwhile, each time. Beside the rate it reports what was written for an event: records,
// with those that were written again, and bytes of keys and values.
func BenchmarkDelivered(b *testing.B) {
	for _, fanOut := range []int{1, 10} {
		b.Run(fmt.Sprintf("fanout=%d", fanOut), func(b *testing.B) {
			s := openAt(b, b.TempDir(), nil)
			var names []string
			for i := range fanOut {
				names = append(names, fmt.Sprintf("subscription-%d", i))
			}
			data := halfCompressible(1024)
			o := outcomes{s: s, low: make(map[string]*relay.Progress), waiting: make(map[string][]relay.AttemptRecord), wake: make(chan struct{}, 1)}
			stop, stopped := make(chan struct{}), make(chan struct{})
			go o.run(b, stop, stopped)
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wait sync.WaitGroup
			for range 64 {
				wait.Go(func() {
					for left.Add(-1) >= 0 {
						item := relay.Item{Event: &relay.Event{Type: "order.paid", ContentType: "application/json", Data: data}, Targets: storagetest.Targets(names...)}
						if _, err := s.Append(background, relay.Batch{Items: []relay.Item{item}}, o.add); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wait.Wait()
			close(stop)
			<-stopped
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			records, bytes := written(b, s)
			b.ReportMetric(float64(records)/float64(b.N), "records/event")
			b.ReportMetric(float64(bytes)/float64(b.N), "B-written/event")
		})
	}
}

// outcomes gathers the deliveries of stored events, all of which are made at once.
type outcomes struct {
	s       *Store
	mu      sync.Mutex
	low     map[string]*relay.Progress
	waiting map[string][]relay.AttemptRecord
	wake    chan struct{}
}

func (o *outcomes) add(events []*relay.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range events {
		for _, p := range e.Deliveries {
			if o.low[p.Subscription] == nil {
				o.low[p.Subscription] = &relay.Progress{Subscription: p.Subscription}
			}
			o.low[p.Subscription].Low = p.Pos
			o.low[p.Subscription].Delivered++
			o.waiting[p.Subscription] = append(o.waiting[p.Subscription], relay.AttemptRecord{Seq: e.Seq, Pos: p.Pos, Attempt: relay.Attempt{
				Number: 1, At: e.Accepted, Duration: 300 * time.Microsecond, Status: 200, Local: "192.0.2.10:40123", Remote: "198.51.100.7:443",
			}})
		}
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run commits what waits until there is nothing more.
func (o *outcomes) run(b *testing.B, stop, stopped chan struct{}) {
	defer close(stopped)
	for ended := false; ; {
		if !ended {
			select {
			case <-stop:
				ended = true
			case <-o.wake:
			}
		}
		var updates []relay.Update
		o.mu.Lock()
		for name, attempts := range o.waiting {
			updates = append(updates, relay.Update{Progress: *o.low[name], Attempts: attempts})
			delete(o.waiting, name)
		}
		o.mu.Unlock()
		if len(updates) == 0 {
			if ended {
				return
			}
			continue
		}
		if err := o.s.Commit(background, updates); err != nil {
			b.Error(err)
			return
		}
	}
}

// written counts all versions of records that lie in the database.
func written(b *testing.B, s *Store) (records, bytes int64) {
	b.Helper()
	err := s.view(func(txn *bdb.Txn) error {
		it := txn.NewIterator(bdb.IteratorOptions{AllVersions: true})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			records++
			bytes += it.Item().KeySize() + it.Item().ValueSize()
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return records, bytes
}
