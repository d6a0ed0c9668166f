package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is a client of docs/clients. It posts {"order":42} as order.paid.
type program struct {
	file string
	// needs are the commands that it is made and run with.
	needs []string
	// made, if it is not empty, is run before; then run.
	made, run []string
	// endless programs go on when they have sent the event.
	endless bool
}

var programs = []program{
	{file: "send.sh", needs: []string{"sh", "curl"}, run: []string{"sh", "send.sh"}},
	{file: "outbox.sh", needs: []string{"sh", "curl", "sqlite3"}, made: []string{"sqlite3", "shop.db", outboxTable}, run: []string{"sh", "outbox.sh"}, endless: true},
	{file: "outbox.py", needs: []string{"python3", "sqlite3"}, made: []string{"sqlite3", "shop.db", outboxTable}, run: []string{"python3", "outbox.py"}, endless: true},
	{file: "send.py", needs: []string{"python3"}, run: []string{"python3", "send.py"}},
	{file: "send.mjs", needs: []string{"node"}, run: []string{"node", "send.mjs"}},
	{file: "send.go", needs: []string{"go"}, made: []string{"go", "build", "-o", "send", "send.go"}, run: []string{"./send"}},
	{file: "send.php", needs: []string{"php"}, run: []string{"php", "send.php"}},
	{file: "send.rb", needs: []string{"ruby"}, run: []string{"ruby", "send.rb"}},
	{file: "Send.java", needs: []string{"java", "javac"}, made: []string{"javac", "Send.java"}, run: []string{"java", "Send"}},
	{file: "Send.cs", needs: []string{"mcs", "mono"}, made: []string{"mcs", "-r:System.Net.Http.dll", "Send.cs"}, run: []string{"mono", "Send.exe"}},
}

// outboxTable is that of the documentation, with one row. So its number, and with it the
// key, is the same each time.
const outboxTable = `CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, data TEXT NOT NULL);
INSERT INTO outbox (type, data) VALUES ('order.paid', '{"order": 42}');`

const clientFolder = "../docs/clients"

// prepare makes the program send to this address, with this key. It returns its folder.
func (p program) prepare(t *testing.T, url, key string) string {
	t.Helper()
	for _, name := range p.needs {
		need(t, name, "the language of this file")
	}
	text, err := os.ReadFile(filepath.Join(clientFolder, p.file))
	if err != nil {
		t.Fatal(err)
	}
	source := string(text)
	for old, now := range map[string]string{"http://localhost:4665": url, "order-42-paid": key, "shop-outbox-": key + "-"} {
		source = strings.ReplaceAll(source, old, now)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, p.file), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if len(p.made) > 0 {
		if out, err := p.command(t.Context(), dir, p.made).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", p.made, err, out)
		}
	}
	return dir
}

func (p program) command(ctx context.Context, dir string, line []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second // what a shell has started may hold its output
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(strings.ToLower(variable), "="); !strings.HasSuffix(name, "_proxy") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	return cmd
}

// start runs the program until it ends, or until enough has happened if it does not. It
// returns what it printed.
func (p program) start(t *testing.T, dir string, enough func() bool) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := p.command(ctx, dir, p.run)
	if !p.endless {
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stderr, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	printed := func() string {
		text, _ := os.ReadFile(stderr.Name())
		return string(text)
	}
	eventually(t, enough, func() string { return "it did not come to an end: " + printed() })
	cancel()
	_ = cmd.Wait()
	return printed(), nil
}

// script is a server that answers one after the other.
type script struct {
	*httptest.Server
	mu   sync.Mutex
	got  []*http.Request
	body []string
	at   []time.Time
}

// answers is a script with these answers; the last one is repeated.
func answers(t *testing.T, all ...http.HandlerFunc) *script {
	t.Helper()
	s := &script{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		n := len(s.got)
		s.got, s.body, s.at = append(s.got, r), append(s.body, string(body)), append(s.at, time.Now())
		s.mu.Unlock()
		all[min(n, len(all)-1)](w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

func dropped(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

func answering(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Every program of docs/clients sends the same again after all that a repeat can mend,
// and only after that.
func TestDocumentedClientsRepeat(t *testing.T) {
	t.Parallel()
	const receipt = `{"id":"evt_1","type":"order.paid","matched":[],"duplicate":false}`
	for _, p := range programs {
		t.Run(p.file, func(t *testing.T) {
			t.Parallel()
			s := answers(t, dropped, answering(500, "{}"), answering(503, "{}", "Retry-After", "1"), answering(429, "{}", "Retry-After", "2"),
				answering(202, receipt))
			dir := p.prepare(t, s.URL, "k-1")
			out, err := p.start(t, dir, func() bool { return s.count() >= 5 && p.emptied(t, dir) })
			if err != nil || !p.endless && !strings.Contains(out, "evt_1") {
				t.Errorf("%v: %s", err, out)
			}
			if n := s.count(); n != 5 {
				t.Fatalf("%d requests; want 5: %s", n, out)
			}
			for i, r := range s.got {
				var data struct{ Order int }
				if err := json.Unmarshal([]byte(s.body[i]), &data); err != nil || data.Order != 42 {
					t.Errorf("request %d: %q (%v)", i+1, s.body[i], err)
				}
				if key := r.Header.Get("Idempotency-Key"); !strings.HasPrefix(key, "k-1") || key != s.got[0].Header.Get("Idempotency-Key") || s.body[i] != s.body[0] {
					t.Errorf("request %d: key %q, body %q; want what was sent first", i+1, key, s.body[i])
				}
				if r.Method != http.MethodPost || r.URL.Path != ofType || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
					t.Errorf("request %d: %s %s %v", i+1, r.Method, r.URL, r.Header)
				}
			}
			for i, after := range map[int]time.Duration{3: time.Second, 4: 2 * time.Second} {
				if waited := s.at[i].Sub(s.at[i-1]); waited < after-50*time.Millisecond {
					t.Errorf("request %d came after %s, although Retry-After was %s", i+1, waited, after)
				}
			}
		})
		t.Run(p.file+", refused", func(t *testing.T) {
			t.Parallel()
			s := answers(t, answering(422, `{"detail":"not like this"}`))
			dir := p.prepare(t, s.URL, "k-1")
			out, err := p.start(t, dir, func() bool {
				printed, _ := os.ReadFile(filepath.Join(dir, "stderr"))
				return strings.Contains(string(printed), "not like this")
			})
			if !p.endless {
				if _, failed := errors.AsType[*exec.ExitError](err); !failed {
					t.Errorf("it succeeded (%v): %s", err, out)
				}
				if n := s.count(); n != 1 {
					t.Errorf("%d requests; want 1", n)
				}
			} else if p.emptied(t, dir) {
				t.Error("the row is gone")
			}
			if !strings.Contains(out, "not like this") {
				t.Errorf("it does not say why: %s", out)
			}
		})
	}
}

// emptied reports whether the outbox is empty, for the program that has one.
func (p program) emptied(t *testing.T, dir string) bool {
	if !p.endless {
		return true
	}
	out, err := p.command(t.Context(), dir, []string{"sqlite3", "-cmd", ".timeout 5000", "shop.db", "SELECT count(*) FROM outbox"}).Output()
	return err == nil && strings.TrimSpace(string(out)) == "0"
}

// What they send to a relay arrives, once, although they send it twice.
func TestDocumentedClientsDeliverOnce(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r))
	sent := 0
	for i, p := range programs {
		t.Run(p.file, func(t *testing.T) {
			key := fmt.Sprintf("client-%d", i)
			sent++
			dir := p.prepare(t, c.url(""), key)
			for range 2 {
				if p.endless {
					dir = p.prepare(t, c.url(""), key) // with its table as it was
				}
				if out, err := p.start(t, dir, func() bool { return p.emptied(t, dir) }); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			}
		})
	}
	c.drained()
	for _, a := range r.wantExactly(sent) {
		var data struct{ Order int }
		if err := json.Unmarshal(a.body, &data); err != nil || data.Order != 42 {
			t.Errorf("%q was delivered (%v)", a.body, err)
		}
	}
}

// Each file of docs/clients is run here, and named in its README.
func TestEveryDocumentedClientIsRun(t *testing.T) {
	files, err := os.ReadDir(clientFolder)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(clientFolder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, p := range programs {
		known[p.file] = true
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".md") {
			continue
		}
		if !known[f.Name()] {
			t.Errorf("nothing runs %s", f.Name())
		}
		if !strings.Contains(string(readme), "]("+f.Name()+")") {
			t.Errorf("README.md does not name %s", f.Name())
		}
	}
}
