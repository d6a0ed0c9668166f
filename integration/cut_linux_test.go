package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// F31: a client is cut before it has its 202. With the same Idempotency-Key it gets one id,
// however often it asks, and the event is there once.
func TestClientCutBeforeItsAnswerGetsTheSameIDAgain(t *testing.T) {
	t.Parallel()
	c, r, o := newFaulty(t, func(dir string) { tmpfs(t, dir, "256m") })
	c.start()
	known := 0
	n := counted(20, 200)
	for i := range n {
		body := fmt.Sprintf(`{"n":%d}`, i)
		key := fmt.Sprint("cut-", i)
		o.sending("order.paid", body)
		conn, err := net.Dial("tcp", net.JoinHostPort(c.bind, strconv.Itoa(c.port)))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /v1/events/order.paid HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s",
			c.bind, c.port, key, len(body), body)
		answered := i%2 == 0
		if answered { // one byte of the answer: the event is stored, and the client does not know
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
		for again := range 3 {
			a := c.post("/v1/events/order.paid", body, "Idempotency-Key", key)
			o.answered(body, a) // notices two ids
			got := c.accepted(a)
			if got.Duplicate && again == 0 {
				known++
			}
			if !got.Duplicate && (answered || again > 0) {
				t.Errorf("%s: %s is not known as a repeat", key, got.ID)
			}
		}
	}
	if events := c.events(); len(events) != n {
		t.Errorf("%d events of %d keys", len(events), n)
	}
	t.Logf("%d of %d were stored by the request that was cut", known, n)
	judge(c, r, o)
	r.wantExactly(n)
}

// The control of F31: without a key the relay cannot know the event again, and the oracle sees
// two of it.
func TestClientCutControl(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	o := &oracle{secret: newSecret(), matching: func(string) []string { return []string{"crm"} }}
	c := run(t, subscribed("crm", r, signed), withEnv("SECRET="+o.secret))
	const body = `{"n":1}`
	o.sending("order.paid", body)
	for range 2 {
		o.answered(body, c.post("/v1/events/order.paid", body))
	}
	c.drained()
	found := strings.Join(o.breaches(r.wantExactly(2), c.deliveries()), "\n")
	for _, want := range []string{"one event has the ids", "one event was delivered as"} {
		if !strings.Contains(found, want) {
			t.Errorf("found %q; want %q", found, want)
		}
	}
}

// memoryGroup makes a memory cgroup and returns its directory and the file of its limit.
func memoryGroup(t *testing.T) (dir, limit string) {
	t.Helper()
	for _, version := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, // 1
		{"/sys/fs/cgroup", "memory.max"},                   // 2
	} {
		dir := filepath.Join(version.root, fmt.Sprintf("caddyrelay-test-%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			eventually(t, func() bool { return os.Remove(dir) == nil }, func() string { return "cannot remove " + dir })
		})
		// Where the root is a plain directory, as the parent of those of version 1, nothing is in it.
		limit := filepath.Join(dir, version.limit)
		if _, err := os.Stat(limit); err == nil && os.WriteFile(limit, []byte("4294967296"), 0o600) == nil {
			return dir, limit
		}
	}
	t.Skip("needs root, and a memory cgroup that can be made")
	return "", ""
}

// F33: the kernel ends the process for want of memory. It is as after kill -9.
func TestAcceptedEventsSurviveAnOOMKill(t *testing.T) {
	t.Parallel()
	group, limit := memoryGroup(t)
	need(t, "sh", "any system")
	c, r, o := newFaulty(t, func(string) {})
	c.storageWords("min_free 16MiB")
	c.wrapper = []string{"sh", "-c", `echo $$ >"$0"/cgroup.procs && exec "$@"`, group}
	c.start()
	c.wrapper = nil
	if taken, others := burst(c, o, "before", 40, 1000); taken != 40 {
		t.Fatalf("%v", others)
	}
	// What it has now, and no more.
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(statm))
	resident, _ := strconv.ParseInt(fields[1], 10, 64)
	shared, _ := strconv.ParseInt(fields[2], 10, 64)
	allowed := (resident-shared)*int64(os.Getpagesize()) + 4<<20
	allow := func() error { return os.WriteFile(limit, []byte(strconv.FormatInt(allowed, 10)), 0o600) }
	if err := allow(); err != nil {
		t.Skipf("the memory cannot be limited: %v", err)
	}
	ended := func() bool {
		select {
		case <-c.exited:
			return true
		default:
			return false
		}
	}
	for round := 0; !ended(); round++ {
		if round == 200 {
			t.Fatal("the kernel does not end it")
		}
		burst(c, o, fmt.Sprint("flood, ", round), 8, 900_000)
		// Intake keeps to a bound of its own, so that the limit has to come down to it. An
		// old kernel refuses that while it finds nothing to take back: then the same is tried
		// again, since a lower one would be refused all the more.
		allowed -= 1 << 20
		if allow() != nil {
			allowed += 1 << 20
		}
	}
	o.fault()
	if status := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("it ended by %v, not by the kernel", c.cmd.ProcessState)
	}
	c.start()
	o.fault()
	c.wantReadiness(http.StatusOK)
	judge(c, r, o)
	accepted, unknown := o.counts()
	t.Logf("%d events accepted, %d unknown", accepted, unknown)
}
