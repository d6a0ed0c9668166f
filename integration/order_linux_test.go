package integration

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// F3: what is answered 202 was synced to disk before. The kernel's own record of the
// process is read, so that no code of the relay is believed.
func TestEventIsSyncedBeforeItIsAccepted(t *testing.T) {
	t.Parallel()
	need(t, "strace", "the package of that name")
	if out, err := exec.Command("strace", "-f", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot be used here: %v: %s", err, out)
	}
	trace := t.TempDir() + "/trace"
	// The subscription is paused: otherwise outcomes would be synced, too.
	c := run(t, subscribed("crm", newReceiver(t), "paused"),
		withWrapper("strace", "-f", "-o", trace, "-s", "40", "-e", "trace=read,write,fsync,fdatasync,msync"))
	c.wrapper = nil
	const n = 20
	for i := range n {
		c.accept("order.paid", fmt.Sprint(i)) // one at a time, so that each has a sync of its own
	}
	// strace does not pass signals on: Caddy is asked to stop by its admin API.
	if a := c.adminRequest("POST", "/stop", ""); a.status != 200 {
		t.Errorf("stopping: %s", a)
	}
	if code := c.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	accepted, unsynced := syncedBeforeAccepted(string(text))
	if accepted != n || unsynced != 0 {
		t.Errorf("%d of %d answers 202 were written without a sync since the request came", unsynced, accepted)
	}
}

var (
	traceRequest = regexp.MustCompile(`read\(.*"POST /v1/events/|<\.\.\. read resumed>"POST /v1/events/`)
	traceSync    = regexp.MustCompile(`((fsync|fdatasync|msync)\(.*|<\.\.\. (fsync|fdatasync|msync) resumed>.*)\)\s+= 0$`)
	traceAnswer  = regexp.MustCompile(`write\(.*"HTTP/1\.1 202 `)
)

// syncedBeforeAccepted counts the answers in a trace of requests that come one at a time,
// and those with no successful sync between request and answer.
func syncedBeforeAccepted(trace string) (accepted, unsynced int) {
	synced := false
	for line := range strings.Lines(trace) {
		line = strings.TrimSpace(line)
		switch {
		case traceRequest.MatchString(line):
			synced = false
		case traceSync.MatchString(line):
			synced = true
		case traceAnswer.MatchString(line):
			accepted++
			if !synced {
				unsynced++
			}
		}
	}
	return accepted, unsynced
}

// The control: the test above would notice.
func TestTraceReaderNoticesAMissingSync(t *testing.T) {
	t.Parallel()
	const (
		request = `17 read(9, "POST /v1/events/order.paid HTTP/1.1\r\n"..., 4096) = 180`
		sync    = "18 msync(0x7f0000000000, 4096, MS_SYNC <unfinished ...>\n17 read(9, 0xc0, 4096) = -1 EAGAIN\n18 <... msync resumed>)             = 0"
		failed  = `18 msync(0x7f0000000000, 4096, MS_SYNC) = -1 EIO (Input/output error)`
		begun   = `18 fsync(5 <unfinished ...>`
		answer  = `17 write(9, "HTTP/1.1 202 Accepted\r\nContent-Len"..., 260) = 260`
	)
	for _, trace := range []struct {
		name     string
		lines    []string
		unsynced int
	}{
		{"in order", []string{request, sync, answer, request, sync, answer}, 0},
		{"answered first", []string{request, answer, sync}, 1},
		{"not at all", []string{request, sync, answer, request, answer}, 1},
		{"failed", []string{request, failed, answer}, 1},
		{"not finished", []string{request, begun, answer}, 1},
	} {
		if accepted, unsynced := syncedBeforeAccepted(strings.Join(trace.lines, "\n")); unsynced != trace.unsynced || accepted == 0 {
			t.Errorf("%s: %d of %d are unsynced; want %d", trace.name, unsynced, accepted, trace.unsynced)
		}
	}
}
