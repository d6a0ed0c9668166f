//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// checkReport checks that everything is there. What the figures are is another matter:
// the machine may be busy.
func checkReport(t *testing.T, r *report) {
	t.Helper()
	for _, p := range r.Problems {
		t.Error(p)
	}
	for _, s := range r.Medians {
		for name, f := range s.Figures {
			switch name {
			case "disk_bytes_per_event", "others_cpu_percent", "late_p99_ms", "after_answer_p50_ms", "after_answer_p99_ms":
				continue // may be zero, some even below
			}
			if f.Median <= 0 {
				t.Errorf("%s: %s is %g", s.System, name, f.Median)
			}
		}
	}
	var table bytes.Buffer
	r.print(&table)
	for _, s := range r.Options.Systems {
		if !strings.Contains(table.String(), s) {
			t.Errorf("the table has no %s", s)
		}
	}
	path := filepath.Join(t.TempDir(), "report.json")
	if err := writeJSON(path, r); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !json.Valid(text) {
		t.Errorf("the JSON is none: %v", err)
	}
	t.Log("\n" + table.String())
}

func TestRelayAndProxyLoseAndDoubleNothing(t *testing.T) {
	r, err := measure(t.Context(), choose(t, shortOptions(t), ""), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r)
	if len(r.Runs) != 4 || len(r.Ratios) != 4 {
		t.Errorf("%d runs and %d ratios; want 4 of each", len(r.Runs), len(r.Ratios))
	}
	for _, f := range r.Runs {
		if s, _ := systemNamed(f.System); s.signs() && f.Verified == 0 {
			t.Errorf("%s: no signature was verified", f.System)
		}
	}
	if written := r.of("relay")[0].Written; written < float64(r.Options.Size) && r.Machine.warning() == "" {
		t.Errorf("the relay wrote %.0f bytes for an event of %d: it cannot have kept it", written, r.Options.Size)
	}
}

func TestEventsArePostedByTheClock(t *testing.T) {
	o := shortOptions(t)
	o.rate = 50
	r, err := measure(t.Context(), choose(t, o, ""), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r)
	const want = 60 // 50/s for 1.2 s
	for _, f := range r.Runs {
		if f.Events != want {
			t.Errorf("%s took %d events; want %d", f.System, f.Events, want)
		}
	}
}

func TestFanOutReachesEverySubscription(t *testing.T) {
	o := shortOptions(t)
	o.fanout = 3
	r, err := measure(t.Context(), choose(t, o, "relay,client"), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r)
	for _, f := range r.Runs {
		if f.Deliveries != 3*f.Events {
			t.Errorf("%s made %d deliveries of %d events", f.System, f.Deliveries, f.Events)
		}
	}
}

func TestOtherSubscriptionsGetNothing(t *testing.T) {
	o := shortOptions(t)
	o.others = 50
	r, err := measure(t.Context(), choose(t, o, ""), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r)
	if len(r.Runs) != 2 || len(r.Ratios) != 2 {
		t.Errorf("%d runs and %d ratios; want 2 of each", len(r.Runs), len(r.Ratios))
	}
}

func TestBacklogIsDeliveredOnceItIsWhole(t *testing.T) {
	o := shortOptions(t)
	o.backlog = 500
	r, err := measure(t.Context(), choose(t, o, ""), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r)
	f := r.of("relay-backlog")[0]
	if f.Events != 500 || f.Deliveries != 500 {
		t.Errorf("%d events and %d deliveries; want 500 of each", f.Events, f.Deliveries)
	}
}

// What a long run is for: records are removed while others come, and the rate at its end is
// compared with that at its beginning.
func TestTheEndOfARunIsComparedWithItsBeginning(t *testing.T) {
	o := shortOptions(t)
	o.steady, o.duration = true, 3*time.Second
	r, err := measure(t.Context(), choose(t, o, ""), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r)
	if f := r.of("relay")[0]; first(f) == 0 || last(f) == 0 {
		t.Errorf("by second: %v", f.DeliveredBySecond)
	}
	if len(r.Ratios) != 2 || r.Ratios[0].Median == 0 || r.Ratios[1].Median == 0 {
		t.Errorf("%+v", r.Ratios)
	}
}

// No 202 comes before the sync of its event has ended, however long that takes.
func TestASlowDiskIsWaitedFor(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CI") != "" { // .ci/run installs it
			t.Fatal(err)
		}
		t.Skip("needs strace, which makes syncs slow: ", err)
	}
	o := shortOptions(t)
	o.syncDelay = 20 * time.Millisecond
	r, err := measure(t.Context(), choose(t, o, "relay"), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r)
	if p50 := r.of("relay")[0].Accept.P50; p50 < 20 {
		t.Errorf("half of the events were answered within %g ms", p50)
	}
}

func TestDeliveriesOverTLS(t *testing.T) {
	for _, w := range []wire{wireHTTP1, wireHTTP2} { // of which the sink speaks no other
		o := shortOptions(t)
		o.tls = w
		r, err := measure(t.Context(), choose(t, o, ""), t.Logf)
		if err != nil {
			t.Fatal(w, err)
		}
		checkReport(t, r)
	}
}

func TestProfilesAreWritten(t *testing.T) {
	o := shortOptions(t)
	o.profile = filepath.Join(t.TempDir(), "p")
	if _, err := measure(t.Context(), choose(t, o, "relay"), t.Logf); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"cpu", "allocs", "mutex", "block"} {
		info, err := os.Stat(o.profile + "-relay." + kind + ".pprof")
		if err != nil || info.Size() == 0 {
			t.Errorf("the %s profile is missing or empty: %v", kind, err)
		}
	}
}

func TestNothingIsLeftWhenInterrupted(t *testing.T) {
	o := choose(t, shortOptions(t), "relay")
	o.duration = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, cancel)
	began := time.Now()
	if _, err := measure(ctx, o, t.Logf); err == nil {
		t.Error("it did not fail")
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s to end", took)
	}
	checkNoChildren(t)
}

func TestCaddyThatEndsIsNamed(t *testing.T) {
	o := choose(t, shortOptions(t), "proxy")
	o.caddy = filepath.Join(t.TempDir(), "caddy")
	if err := os.WriteFile(o.caddy, []byte("#!/bin/sh\necho 'no such option' >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := measure(t.Context(), o, t.Logf)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("%v; want what Caddy said, and its status", err)
	}
	checkNoChildren(t)
}

func TestCaddyThatIsKilledEndsTheRun(t *testing.T) {
	o := choose(t, shortOptions(t), "relay")
	o.duration = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		for {
			for _, pid := range children(t) {
				if command, err := os.ReadFile(procPath(pid, "cmdline")); err == nil && strings.Contains(string(command), "Caddyfile") {
					time.Sleep(time.Second) // while it starts it ends the run, too
					_ = syscall.Kill(pid, syscall.SIGKILL)
					return
				}
			}
			if pause(ctx, 20*time.Millisecond) != nil {
				return
			}
		}
	}()
	defer func() {
		cancel()
		<-killed
	}()
	_, err := measure(t.Context(), o, t.Logf)
	if err == nil || !strings.Contains(err.Error(), "ended on its own (signal: killed)") {
		t.Errorf("%v; want that Caddy was killed", err)
	}
	checkNoChildren(t)
}

func TestFoldersOfTheKilledAreRemoved(t *testing.T) {
	dir := t.TempDir()
	const noProcess = 1 << 30 // beyond any pid_max
	for _, pid := range []int{noProcess, os.Getpid()} {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprintf("%s%d-1", workdirPrefix, pid)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := makeWorkdir(dir); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, workdirPrefix+"*"))
	if err != nil || len(left) != 2 {
		t.Errorf("there are %v (%v); want that of the living, and the new one", left, err)
	}
}

// checkNoChildren checks that this process has none, not even ended ones.
func checkNoChildren(t *testing.T) {
	t.Helper()
	if left := children(t); len(left) > 0 {
		t.Errorf("children are left: %v", left)
	}
}

// children are the processes that this one has started and not waited for.
func children(t *testing.T) []int {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Error(err)
	}
	var pids []int
	for _, path := range lists {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// BenchmarkEndToEnd reports what the relay does in proportion to reverse_proxy. One
// operation is one short run of both: for figures that count, use the command.
func BenchmarkEndToEnd(b *testing.B) {
	var delivered, cpu []float64
	for b.Loop() {
		o := choose(b, shortOptions(b), "relay,proxy")
		o.posters = 64
		r, err := measure(b.Context(), o, b.Logf)
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range r.Problems {
			b.Error(p)
		}
		delivered = append(delivered, r.Ratios[0].Median)
		cpu = append(cpu, r.Ratios[1].Median)
	}
	b.ReportMetric(spreadOf(delivered).Median, "delivered/proxy")
	b.ReportMetric(spreadOf(cpu).Median, "cpu/proxy")
}
