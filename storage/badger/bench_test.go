package badger

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// halfCompressible is a body like JSON: half of it repeats.
func halfCompressible(n int) []byte {
	data := make([]byte, n)
	for i := range n / 2 {
		data[i] = byte(rand.Uint32())
	}
	return data
}

func BenchmarkAppend(b *testing.B) {
	data := halfCompressible(1024)
	for _, writers := range []int{1, 64} {
		for _, keys := range []bool{false, true} {
			b.Run(fmt.Sprintf("writers=%d/keys=%v", writers, keys), func(b *testing.B) {
				s := openAt(b, b.TempDir(), nil)
				syncs := 0
				withCommit(s, func(txn *bdb.Txn) error { syncs++; return txn.Commit() })
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				var left atomic.Int64
				left.Store(int64(b.N))
				var wait sync.WaitGroup
				b.ResetTimer()
				for w := range writers {
					wait.Go(func() {
						names := []string{fmt.Sprintf("subscription-%d", w)}
						for n := left.Add(-1); n >= 0; n = left.Add(-1) {
							item := relay.Item{Event: &relay.Event{Type: "order.paid", ContentType: "application/json", Data: data}, Targets: storagetest.Targets(names...)}
							if keys {
								item.Key = &relay.Key{Kind: relay.KeyHeader, Text: fmt.Sprint(n)}
							}
							if _, err := s.Append(background, relay.Batch{Items: []relay.Item{item}}, nil); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wait.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric(float64(b.N)/float64(max(syncs, 1)), "events/sync")
			})
		}
	}
}

// BenchmarkReadDrain reads a backlog in pages and commits each page's outcome, with
// one attempt for each delivery.
func BenchmarkReadDrain(b *testing.B) {
	for _, subscriptions := range []int{1, 100} {
		b.Run(fmt.Sprintf("subscriptions=%d", subscriptions), func(b *testing.B) {
			s := openAt(b, b.TempDir(), nil)
			data := halfCompressible(1024)
			for n := 0; n < b.N; {
				var batch relay.Batch
				for range min(500, b.N-n) {
					batch.Items = append(batch.Items, relay.Item{
						Event:   &relay.Event{Type: "order.paid", ContentType: "application/json", Data: data},
						Targets: storagetest.Targets(fmt.Sprint(n % subscriptions)),
					})
					n++
				}
				if _, err := s.Append(background, batch, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			var read atomic.Int64
			var wait sync.WaitGroup
			workers := min(8, subscriptions)
			for w := range workers {
				wait.Go(func() {
					for i := w; i < subscriptions; i += workers {
						read.Add(drain(b, s, fmt.Sprint(i)))
					}
				})
			}
			wait.Wait()
			if read.Load() != int64(b.N) {
				b.Fatalf("read %d of %d", read.Load(), b.N)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// drain reads what a log has above its low-water mark, and commits the outcomes.
func drain(b *testing.B, s *Store, name string) (n int64) {
	_, st := s.subs.state(name)
	for after := st.progress.Low; ; {
		entries, err := s.Read(background, name, after, 128, 1<<20)
		if err != nil {
			b.Error(err)
			return n
		}
		if len(entries) == 0 {
			return n
		}
		n += int64(len(entries))
		after = entries[len(entries)-1].Pos
		u := relay.Update{Progress: relay.Progress{Subscription: name, Low: after}}
		for _, e := range entries {
			u.Attempts = append(u.Attempts, relay.AttemptRecord{Seq: e.Event.Seq, Pos: e.Pos, Attempt: relay.Attempt{Number: 1, Status: 200}})
		}
		if err := s.Commit(background, []relay.Update{u}); err != nil {
			b.Error(err)
			return n
		}
	}
}
