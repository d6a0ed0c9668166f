package badger

import (
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// BenchmarkSteady appends from 64 goroutines, commits the outcomes, and trims what is older
// than a sixth of the time that it takes: as many seconds as RELAY_BENCH_SECONDS says, or
// two. It is what a store costs that neither grows nor rests. The metrics are what an event
// takes in all, of the processor and of the disk, and what the slowest second brought, as a
// share of the average one.
func BenchmarkSteady(b *testing.B) {
	seconds := 2
	if text := os.Getenv("RELAY_BENCH_SECONDS"); text != "" {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	length := time.Duration(seconds) * time.Second
	s := openAt(b, b.TempDir(), nil)
	data := halfCompressible(1024)
	o := outcomes{s: s, low: make(map[string]*relay.Progress), waiting: make(map[string][]relay.AttemptRecord), wake: make(chan struct{}, 1)}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go o.run(b, stop, stopped)
	before, start := spent(b), time.Now()
	rates := make([]atomic.Int64, seconds)
	var posters, trimmer sync.WaitGroup
	for range 64 {
		posters.Go(func() {
			for {
				item := relay.Item{Event: &relay.Event{Type: "order.paid", ContentType: "application/json", Data: data}, Targets: storagetest.Targets("crm")}
				if _, err := s.Append(background, relay.Batch{Items: []relay.Item{item}}, o.add); err != nil {
					b.Error(err)
					return
				}
				second := int(time.Since(start) / time.Second)
				if second >= seconds {
					return
				}
				rates[second].Add(1)
			}
		})
	}
	trimmed := 0
	trimmer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(length / 30):
			}
			for more := true; more; {
				step, err := s.Trim(background, relay.TrimPolicy{DeliveredBefore: time.Now().Add(-length / 6)})
				if err != nil {
					b.Error(err)
					return
				}
				trimmed += step.Events
				more = step.More
			}
		}
	})
	posters.Wait()
	close(stop)
	<-stopped
	trimmer.Wait()
	after := spent(b)
	total, slowest := int64(0), rates[0].Load()
	for i := range rates {
		total += rates[i].Load()
		slowest = min(slowest, rates[i].Load())
	}
	b.ReportMetric(float64(total)/float64(seconds), "events/s")
	b.ReportMetric(float64(after.cpu-before.cpu)/float64(time.Microsecond)/float64(total), "cpu-µs/event")
	b.ReportMetric(float64(after.written-before.written)/float64(total), "disk-B/event")
	b.ReportMetric(float64(slowest)*float64(seconds)/float64(total), "slowest-second")
	b.ReportMetric(float64(trimmed)/float64(total), "trimmed")
}

// expense is what this process has taken.
type expense struct {
	cpu     time.Duration
	written int64 // bytes, to disks
}

func spent(b *testing.B) expense {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return expense{time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Oublock * 512}
}
