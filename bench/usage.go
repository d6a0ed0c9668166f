//go:build linux

package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// cpuTime returns how long a process has run on the cores, in nanoseconds, with all its
// threads, those that have ended too. It is the clock that clock_getcpuclockid(3)
// returns, which counts what the scheduler counts; /proc/PID/stat has ticks of 10 ms.
func cpuTime(pid int) (int64, error) {
	const processClock = 2 // CPUCLOCK_SCHED, for the whole process
	return readClock(int32(^pid<<3 | processClock))
}

// memory is what a process holds, in bytes.
type memory struct {
	// Peak is the largest resident size ever: VmHWM.
	Peak int64
	// Anonymous is RssAnon and RssShmem: what cannot be dropped, as mapped files can.
	Anonymous int64
}

func memoryOf(pid int) (memory, error) {
	text, err := os.ReadFile(procPath(pid, "status"))
	if err != nil {
		return memory{}, err
	}
	return memory{
		Peak:      field(text, "VmHWM:") << 10,
		Anonymous: (field(text, "RssAnon:") + field(text, "RssShmem:")) << 10,
	}, nil
}

// written returns the bytes that a process has caused to be written to disks.
func written(pid int) (int64, error) {
	text, err := os.ReadFile(procPath(pid, "io"))
	if err != nil {
		return 0, err
	}
	return field(text, "\nwrite_bytes:"), nil // not cancelled_write_bytes
}

func procPath(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// field returns the number that follows a name; 0 if it is not there.
func field(text []byte, name string) int64 {
	_, rest, ok := bytes.Cut(text, []byte(name))
	if !ok {
		return 0
	}
	fields := bytes.Fields(rest[:min(len(rest), 64)])
	if len(fields) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// userTick is USER_HZ, the unit of /proc/stat: 100 on every Linux.
const userTick = 10 * time.Millisecond

// machineBusy returns the time that all cores together have worked, for anybody: what
// the processes measured did not use of it, others did.
func machineBusy() (busy, stolen time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	const user, nice, system, irq, softirq, steal = 1, 2, 3, 6, 7, 8
	if len(fields) <= steal {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	sum := func(columns ...int) time.Duration {
		total := int64(0)
		for _, c := range columns {
			n, _ := strconv.ParseInt(string(fields[c]), 10, 64)
			total += n
		}
		return time.Duration(total) * userTick
	}
	return sum(user, nice, system, irq, softirq), sum(steal), nil
}

// every calls look at intervals, and once more when it is stopped.
func every(ctx context.Context, interval time.Duration, look func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for done := false; !done; {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				done = true
			}
			look()
		}
	})
	return func() {
		cancel()
		wait.Wait()
	}
}

// memoryWatch takes the largest of what a process holds. The kernel keeps the peak of
// the whole, but not of its anonymous part.
type memoryWatch struct {
	end  func()
	most memory
}

const memoryInterval = 50 * time.Millisecond

func watchMemory(ctx context.Context, pid int) *memoryWatch {
	w := new(memoryWatch)
	w.end = every(ctx, memoryInterval, func() {
		// A process that has ended is found by others.
		if m, err := memoryOf(pid); err == nil {
			w.most.Peak = max(w.most.Peak, m.Peak)
			w.most.Anonymous = max(w.most.Anonymous, m.Anonymous)
		}
	})
	return w
}

// stop ends the watch and returns what it saw.
func (w *memoryWatch) stop() memory {
	w.end()
	return w.most
}

// cpuWatch notes how long a process has run, each second.
type cpuWatch struct {
	end  func()
	seen []cpuSample
}

// cpuSample is the CPU of a process up to a moment, both in nanoseconds.
type cpuSample struct{ at, cpu int64 }

func watchCPU(ctx context.Context, pid int) *cpuWatch {
	w := new(cpuWatch)
	w.end = every(ctx, time.Second, func() {
		if cpu, err := cpuTime(pid); err == nil {
			w.seen = append(w.seen, cpuSample{now(), cpu})
		}
	})
	return w
}

// stop ends the watch and returns what it saw, in order.
func (w *cpuWatch) stop() []cpuSample {
	w.end()
	return w.seen
}
