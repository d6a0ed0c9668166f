package integration

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// long says that faults are tried in their full number.
func long() bool { return os.Getenv("RELAY_TEST_LONG") != "" }

// counted is how often a fault is tried: few by default, all in long runs.
func counted(few, all int) int {
	if long() {
		return all
	}
	return few
}

// tmpfs mounts a volume of this size.
func tmpfs(t *testing.T, dir, size string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+size); err != nil {
		t.Skipf("needs root, to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unmount(t, dir) })
}

// makeImage makes a file with an empty ext4 in it.
func makeImage(t *testing.T, image string, megabytes int64) {
	t.Helper()
	for _, tool := range []string{"mkfs.ext4", "mount", "cp"} {
		need(t, tool, "e2fsprogs, mount or coreutils")
	}
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(megabytes<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Skipf("an ext4 cannot be made here: %v: %s", err, out)
	}
}

// mountImage mounts a file through a loop device.
func mountImage(t *testing.T, image, dir, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// With a minute between commits of the journal, only a sync brings anything there.
	out, err := exec.Command("mount", "-o", "loop,commit=60"+options, image, dir).CombinedOutput()
	if err != nil {
		t.Skipf("needs root and a loop device: %v: %s", err, out)
	}
	t.Cleanup(func() { unmount(t, dir) })
}

// unmount takes a volume away if it is there, at the latest when nobody uses it.
func unmount(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Unmount(dir, 0); errors.Is(err, unix.EBUSY) {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
}

// storageWords puts lines into the block of storage, in the Caddyfile as it is.
func (c *instance) storageWords(lines string) {
	c.t.Helper()
	text, err := os.ReadFile(c.path("Caddyfile"))
	if err != nil {
		c.t.Fatal(err)
	}
	word := "storage badger " + c.store()
	c.write("Caddyfile", strings.Replace(string(text), word+"\n", word+" {\n"+lines+"\n}\n", 1))
}

// one is the configuration of one subscription, whose deliveries are tried often.
func one(r *receiver) string {
	return fmt.Sprintf(`
		region eu 127.0.0.1
		subscription crm %s {
			allow_ips 127.0.0.1
			sign standard {env.SECRET}
			retry %s
		}`, r.url(), strings.Repeat("500ms ", 200))
}

// newFaulty prepares an instance on a volume that volume mounts at its store, with one
// subscription and the oracle of it.
func newFaulty(t *testing.T, volume func(dir string)) (*instance, *receiver, *oracle) {
	t.Helper()
	r := newReceiver(t)
	o := &oracle{
		secret: newSecret(), sources: map[string]string{"crm": "127.0.0.1"},
		matching: func(string) []string { return []string{"crm"} },
	}
	c := prepare(t, withEnv("SECRET="+o.secret))
	volume(c.store())
	c.configure(one(r))
	c.storageWords("min_free 16MiB")
	return c, r, o
}

// burst posts n events with a body of this size from several applications at once. An
// event that gets no answer is not sent again. It returns how many were taken, and the
// answers of all others.
func burst(c *instance, o *oracle, name string, n, size int) (taken int, others []answer) {
	var mu sync.Mutex
	var group sync.WaitGroup
	const applications = 4
	for w := range applications {
		group.Go(func() {
			for i := w; i < n; i += applications {
				body := fmt.Sprintf(`{"name":%q,"n":%d,"text":%q}`, name, i, filler(size))
				o.sending("order.paid", body)
				a := c.post("/v1/events/order.paid", body)
				o.answered(body, a)
				mu.Lock()
				if a.status == http.StatusAccepted {
					taken++
				} else {
					others = append(others, a)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return taken, others
}

// filler is text that does not compress.
func filler(size int) string {
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(newSecret())
	}
	return b.String()
}

// problem reports whether an answer is 503 with this problem and a Retry-After.
func problemSlug(a answer, slug string) bool {
	return a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "" && strings.Contains(string(a.body), slug)
}

// wantReadiness waits until /readyz has this status; the process must live.
func (c *instance) wantReadiness(status int) {
	c.t.Helper()
	var a answer
	eventually(c.t, func() bool {
		c.alive()
		a = c.request(http.MethodGet, "/readyz", "")
		return a.status == status
	}, func() string { return fmt.Sprintf("/readyz is %s; want %d", a, status) })
}

// alive fails the test if the process has ended.
func (c *instance) alive() {
	c.t.Helper()
	select {
	case <-c.exited:
		c.t.Fatalf("Caddy has ended: %v", c.err)
	default:
	}
}

// judge waits until nothing is pending and compares the ledgers. Outcomes that a fault
// has swallowed may have been repeated.
func judge(c *instance, r *receiver, o *oracle) {
	c.t.Helper()
	c.drained()
	var breaches []string
	eventually(c.t, func() bool { // the receiver notes its answer after it has given it
		breaches = o.breaches(r.got(), c.deliveries())
		return len(breaches) == 0 || !slices.ContainsFunc(r.got(), func(a arrival) bool { return a.answered.IsZero() })
	}, func() string { return "the receiver still answers" })
	for _, breach := range breaches {
		c.t.Error(breach)
	}
}

// fault notes moments at which outcomes may be lost.
func (o *oracle) fault() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kills = append(o.kills, time.Now())
}

// injection is strace, attached to a process to make its system calls fail.
type injection struct {
	t    testing.TB
	cmd  *exec.Cmd
	once sync.Once
}

// inject lets system calls of the running process fail, as strace's options say, until
// the injection is ended.
func (c *instance) inject(options ...string) *injection {
	c.t.Helper()
	need(c.t, "strace", "the package of that name")
	args := append([]string{"-f", "-o", c.path("trace"), "-p", fmt.Sprint(c.cmd.Process.Pid)}, options...)
	i := &injection{t: c.t, cmd: exec.Command("strace", args...)}
	said, err := i.cmd.StderrPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := i.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(i.end)
	lines := bufio.NewScanner(said)
	attached := false
	var all []string
	for !attached && lines.Scan() {
		all = append(all, lines.Text())
		attached = strings.Contains(lines.Text(), " attached")
	}
	if !attached {
		c.t.Skipf("strace cannot be used here: %s", strings.Join(all, "; "))
	}
	go func() {
		for lines.Scan() { // it must not wait for a reader
		}
	}()
	return i
}

// end lets system calls succeed again.
func (i *injection) end() {
	i.once.Do(func() {
		_ = i.cmd.Process.Signal(syscall.SIGINT)
		_ = i.cmd.Wait()
	})
}

// trace is what strace has written.
func (c *instance) trace() string {
	text, _ := os.ReadFile(c.path("trace"))
	return string(text)
}

// copyStore copies the files of a store, with their holes.
func copyStore(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(from, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing to copy in %s: %v", from, err)
	}
	args := append([]string{"--sparse=always"}, append(files, to)...)
	if out, err := exec.Command("cp", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
