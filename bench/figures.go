//go:build linux

package bench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// figures are those of one system in one round.
type figures struct {
	System string `json:"system"`
	Round  int    `json:"round"`

	// Events were accepted and Deliveries came, in and outside of the window.
	Events     int64 `json:"events"`
	Deliveries int64 `json:"deliveries"`
	Refused    int64 `json:"refused"`
	Lost       int64 `json:"lost"`
	Duplicates int64 `json:"duplicates"`
	// Signed deliveries have a signature; Verified is how many of those were checked.
	Signed   int64 `json:"signed"`
	Verified int   `json:"verified"`

	// Accepted and Delivered are per second of the window.
	Accepted  float64 `json:"accepted_per_second"`
	Delivered float64 `json:"delivered_per_second"`
	// DeliveredBySecond has the whole seconds of the window one by one: a rate that
	// sags does not show in the mean.
	DeliveredBySecond []int `json:"delivered_by_second"`
	// LoadCPUFirst and LoadCPULast are microseconds that the load took for each delivery in the
	// first minute of the window and in the last one. Its work is the same all the time: if it
	// takes longer, the machine has become slower, whatever the system under test does.
	LoadCPUFirst float64 `json:"load_cpu_us_first_minute"`
	LoadCPULast  float64 `json:"load_cpu_us_last_minute"`
	// Of what was posted in the window: from the request's begin to its answer,
	Accept latency `json:"accept"`
	// to when the sink has read it,
	EndToEnd latency `json:"end_to_end"`
	// from the answer to when the sink has read it (below zero: it came before),
	AfterAnswer latency `json:"after_answer"`
	// and, with -rate, from when it was due to when it was begun.
	Late latency `json:"late"`

	// CPU of the system under test, of sink and load, in µs for each accepted event,
	// from the first post until everything was delivered and noted.
	CPU     float64 `json:"cpu_us_per_event"`
	SinkCPU float64 `json:"sink_cpu_us_per_event"`
	LoadCPU float64 `json:"load_cpu_us_per_event"`
	// CPUPerDelivery is CPU for each delivery.
	CPUPerDelivery float64 `json:"cpu_us_per_delivery"`
	// Of the database server: its CPU and its log for each event, and how many transactions it
	// has written in a second. 0 where there is none; its CPU too, where it runs elsewhere.
	ServerCPU    float64 `json:"server_cpu_us_per_event,omitempty"`
	ServerLog    float64 `json:"server_log_bytes_per_event,omitempty"`
	Transactions float64 `json:"server_transactions_per_second,omitempty"`
	// With -relays: which share of all deliveries each relay has made, and the least that a
	// subscription got within the window of what was accepted for it there.
	Shares      []float64 `json:"shares,omitempty"`
	LeastServed float64   `json:"least_served,omitempty"`
	// OthersCPU is the share of all cores that went to anybody else.
	OthersCPU float64 `json:"others_cpu_percent"`
	StolenCPU float64 `json:"stolen_cpu_percent"`

	// In bytes, of the system under test.
	PeakMemory    int64   `json:"peak_rss_bytes"`
	PeakAnonymous int64   `json:"peak_anonymous_bytes"`
	Written       float64 `json:"disk_bytes_per_event"`

	// Connections were opened to the sink.
	Connections int64 `json:"sink_connections"`
	// Profiled runs are somewhat slower than others.
	Profiled bool `json:"profiled,omitempty"`
	// LoggedErrors counts the errors in what is kept of Caddy's log.
	LoggedErrors int    `json:"logged_errors,omitempty"`
	LoggedError  string `json:"logged_error,omitempty"`
	// Problems are why these figures do not count.
	Problems []string `json:"problems,omitempty"`

	cores int
}

func (f *figures) problem(format string, args ...any) {
	f.Problems = append(f.Problems, fmt.Sprintf("%s, round %d: ", f.System, f.Round)+fmt.Sprintf(format, args...))
}

// window is the time in which things are counted.
type window struct {
	from   int64
	length time.Duration
}

// count fills in what load and sink have seen.
func (f *figures) count(m *measurement, w window, posted *Posted, arrivals []int64, seen *Counts) {
	from := w.from
	to := from + int64(w.length)
	in := func(t int64) bool { return from <= t && t < to }

	var accept, endToEnd, afterAnswer, late []int64
	accepted, delivered := 0, 0
	f.DeliveredBySecond = make([]int, int(w.length/time.Second))
	for event, begin := range posted.Begins {
		end := posted.Ends[event]
		if end == 0 {
			continue // refused, or never posted
		}
		f.Events++
		if in(end) {
			accepted++
		}
		if in(begin) {
			accept = append(accept, end-begin)
			if m.o.rate > 0 {
				late = append(late, begin-posted.Start-dueAfter(uint64(event), m.o.rate))
			}
		}
		if !m.s.delivers() {
			continue
		}
		for _, arrival := range arrivals[event*m.o.fanout : (event+1)*m.o.fanout] {
			if arrival == 0 {
				f.Lost++
				continue
			}
			f.Deliveries++
			if in(arrival) {
				delivered++
				if second := int((arrival - from) / int64(time.Second)); second < len(f.DeliveredBySecond) {
					f.DeliveredBySecond[second]++
				}
			}
			if in(begin) {
				endToEnd = append(endToEnd, arrival-begin)
				afterAnswer = append(afterAnswer, arrival-end)
			}
		}
	}
	f.Accepted = float64(accepted) / w.length.Seconds()
	f.Delivered = float64(delivered) / w.length.Seconds()
	if m.counted() > 0 { // by the time that this took, and not by the window
		f.Accepted = float64(f.Events) / time.Duration(slices.Max(append(posted.Ends, posted.Start+1))-posted.Start).Seconds()
	}
	f.Accept, f.EndToEnd, f.AfterAnswer, f.Late = newLatency(accept), newLatency(endToEnd), newLatency(afterAnswer), newLatency(late)
	f.Refused, f.Duplicates = posted.Refused, seen.Duplicates
	f.judge(m, posted, seen)
}

// end is how many seconds are compared at the window's beginning and at its end.
func (f *figures) end() int { return min(len(f.DeliveredBySecond)/3, 60) }

// pace fills in what the load took at the window's beginning and at its end.
func (f *figures) pace(w window, seen []cpuSample) {
	// used is the CPU up to a moment.
	used := func(t int64) int64 {
		i, _ := slices.BinarySearchFunc(seen, t, func(s cpuSample, t int64) int { return cmp.Compare(s.at, t) })
		return seen[min(i, len(seen)-1)].cpu
	}
	first, last := f.ends()
	if len(seen) == 0 || first == 0 || last == 0 {
		return
	}
	length := int64(f.end()) * int64(time.Second)
	to := w.from + int64(len(f.DeliveredBySecond))*int64(time.Second)
	each := func(from int64, rate float64) float64 {
		return float64(used(from+length)-used(from)) / float64(time.Microsecond) / (rate * float64(f.end()))
	}
	f.LoadCPUFirst, f.LoadCPULast = each(w.from, first), each(to-length, last)
}

// ends returns the deliveries a second in the first minute of the window and in the last
// one, or in its first and last third if it is shorter.
func (f *figures) ends() (first, last float64) {
	n := f.end()
	if n == 0 {
		return 0, 0
	}
	for i := range n {
		first += float64(f.DeliveredBySecond[i])
		last += float64(f.DeliveredBySecond[len(f.DeliveredBySecond)-1-i])
	}
	return first / float64(n), last / float64(n)
}

// judge says what makes the figures worthless.
func (f *figures) judge(m *measurement, posted *Posted, seen *Counts) {
	if f.Accepted == 0 {
		f.problem("nothing was accepted within the window")
	}
	if f.Refused > 0 {
		f.problem("%d events were refused, the first: %s", f.Refused, posted.FirstRefusal)
	}
	if f.Lost > 0 {
		f.problem("%d deliveries of accepted events have not come within %s", f.Lost, drainPatience)
	}
	if f.Duplicates > 0 {
		f.problem("%d deliveries came more than once", f.Duplicates)
	}
	if seen.Foreign > 0 {
		f.problem("%d deliveries are none of this run's, the first: %s", seen.Foreign, seen.FirstForeign)
	}
	if all := seen.Delivered + seen.Duplicates; m.s.signs() && seen.Signed != all {
		f.problem("%d of %d deliveries have no signature", all-seen.Signed, all)
	}
}

// spend fills in what was used between two moments.
func (f *figures) spend(before, after spent) {
	each := func(total int64, n int64, unit float64) float64 {
		if n == 0 {
			return 0
		}
		return float64(total) / float64(n) / unit
	}
	const microsecond = float64(time.Microsecond)
	subject, sink, load := after.subject-before.subject, after.sink-before.sink, after.load-before.load
	f.CPU = each(subject, f.Events, microsecond)
	f.CPUPerDelivery = each(subject, f.Deliveries, microsecond)
	f.SinkCPU = each(sink, f.Events, microsecond)
	f.LoadCPU = each(load, f.Events, microsecond)
	f.Written = each(after.written-before.written, f.Events, 1)

	f.ServerCPU = each(after.server.cpu-before.server.cpu, f.Events, microsecond)
	f.ServerLog = each(after.server.wal-before.server.wal, f.Events, 1)
	f.Transactions = float64(after.server.transactions-before.server.transactions) / time.Duration(after.at-before.at).Seconds()

	capacity := float64(after.at-before.at) * float64(f.cores)
	ours := sink + load + after.self - before.self + after.server.cpu - before.server.cpu
	if f.isCaddy() {
		ours += subject
	}
	others := float64(int64(after.busy-before.busy) - ours)
	f.OthersCPU = 100 * math.Max(0, others) / capacity
	f.StolenCPU = 100 * float64(after.stolen-before.stolen) / capacity
}

// isCaddy reports whether the system under test is a process beside load and sink.
func (f *figures) isCaddy() bool {
	s, _ := systemNamed(f.System)
	return s.isCaddy()
}
