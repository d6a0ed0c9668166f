package postgres

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// BenchmarkAppend is the way of an event through the store: accepted by one of many senders,
// and its outcome committed with those of others.
func BenchmarkAppend(b *testing.B) {
	s := openWith(b, options(b))
	data := bytes.Repeat([]byte("0123456789abcdef"), 64)
	type done struct {
		seq relay.Seq
		pos uint64
	}
	outcomes := make(chan done, 1<<20)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		low := uint64(0)
		for o := range outcomes {
			u := relay.Update{Attempts: []relay.AttemptRecord{outcome(o.seq)}}
			for more := true; more && len(u.Attempts) < 1000; {
				select {
				case next, ok := <-outcomes:
					if more = ok; ok {
						u.Attempts = append(u.Attempts, outcome(next.seq))
						low = max(low, next.pos)
					}
				default:
					more = false
				}
			}
			u.Progress = relay.Progress{Subscription: "crm", Low: low, Delivered: low}
			if err := s.Commit(b.Context(), []relay.Update{u}); err != nil {
				b.Error(err)
				return
			}
			time.Sleep(10 * time.Millisecond) // as the engine does
		}
	}()
	var count atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e := &relay.Event{Type: "order.paid", ContentType: "application/json", Data: data}
			batch := relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm")}}}
			if _, err := s.Append(b.Context(), batch, nil); err != nil {
				b.Error(err)
				return
			}
			count.Add(1)
			outcomes <- done{e.Seq, e.Deliveries[0].Pos}
		}
	})
	close(outcomes)
	<-ended
	b.ReportMetric(float64(count.Load())/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkAppendOfSeveral is the same number of senders at one relay, two, and three.
func BenchmarkAppendOfSeveral(b *testing.B) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 64)
	for _, n := range []int{1, 2, 3} {
		b.Run(fmt.Sprintf("relays=%d", n), func(b *testing.B) {
			o := options(b)
			o.Shared, o.times = true, defaultTimes
			var stores []*Store
			for range n {
				stores = append(stores, openWith(b, o))
			}
			var next atomic.Int64
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				i := int(next.Add(1))
				s := stores[i%n]
				for pb.Next() {
					e := &relay.Event{Type: "order.paid", ContentType: "application/json", Data: data}
					batch := relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets(fmt.Sprint("crm", i%8))}}}
					if _, err := s.Append(b.Context(), batch, nil); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func outcome(s relay.Seq) relay.AttemptRecord {
	return relay.AttemptRecord{Seq: s, Attempt: relay.Attempt{
		Number: 1, At: s.Time(), Duration: time.Millisecond, Status: 200, Local: "192.0.2.1:40000", Remote: "198.51.100.7:443",
	}}
}
