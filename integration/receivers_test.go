package integration

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// library is a server made of the libraries of others, in testdata/receivers, with the
// secrets that it knows.
type library struct{ port, standard, contentful, text string }

// subscription declares one for a path of the server.
func (l *library) subscription(name, path string, words ...string) string {
	return fmt.Sprintf("subscription %s http://127.0.0.1:%s/%s {\nallow_ips 127.0.0.1\nretry off\n%s\n}\n", name, l.port, path, strings.Join(words, "\n"))
}

// Deliveries to receivers that are made of the libraries which the owners of each scheme and
// format publish. These know nothing of the relay.
func TestLibrariesOfOthersTakeDeliveries(t *testing.T) {
	t.Parallel()
	l := &library{standard: newSecret(), contentful: strings.Repeat("Ab+/=_-0", 8), text: "a secret of enough characters"}
	l.port = startNode(t, "receiver.mjs", "STANDARD="+l.standard, "CONTENTFUL="+l.contentful, "TEXT="+l.text)
	t.Run("signatures", l.takeSignatures)
	t.Run("formats", l.takeFormats)
}

func (l *library) takeSignatures(t *testing.T) {
	to := l.subscription
	rotation := func(scheme, name string) string {
		return fmt.Sprintf("sign %s {\nsecret {env.OTHER} until 2026-01-02T00:00:00Z\nsecret {env.%s}\n}", scheme, name)
	}
	c := run(t, ""+
		to("standard", "standard", "sign standard {env.STANDARD}")+
		to("github", "github", rotation("github", "TEXT"), "header X-GitHub-Event push", "header X-GitHub-Delivery 1")+
		to("stripe", "stripe", "sign stripe {\nsecret {env.OTHER}\nsecret {env.TEXT}\n}")+
		to("contentful", "contentful", "sign contentful {env.CONTENTFUL}", "header X-Contentful-Topic ContentManagement.Entry.publish")+
		to("contentful-put", "contentful/a%20b?q=1&w=%2F2", "sign contentful {env.CONTENTFUL}", "method PUT")+
		to("contentful-get", "contentful/x?y", "sign contentful {env.CONTENTFUL}", "method GET")+
		to("all", "contentful", "sign contentful {env.CONTENTFUL}", "sign github {env.TEXT}", "sign stripe {env.TEXT}", "sign standard {env.STANDARD}")+
		// The controls: each library refuses another secret.
		to("not-standard", "standard", "sign standard {env.SECRET}")+
		to("not-github", "github", "sign github {env.OTHER}", "header X-GitHub-Event push", "header X-GitHub-Delivery 1")+
		to("not-stripe", "stripe", "sign stripe {env.OTHER}")+
		to("not-contentful", "contentful", "sign contentful {env.OTHER_CONTENTFUL}"),
		withEnv("STANDARD="+l.standard, "CONTENTFUL="+l.contentful, "OTHER_CONTENTFUL="+strings.Repeat("b", 64), "TEXT="+l.text, "OTHER=another secret of some length", "SECRET="+newSecret()))
	for _, body := range []string{`{"ref": "main", "name": "Zoë"}`, "{}"} {
		id := c.accept("push", body).ID
		for _, d := range c.event(id).Deliveries {
			want := stateDelivered
			if strings.HasPrefix(d.Subscription, "not-") {
				want = stateFailed
			}
			got := c.wantDelivery(id, d.Subscription, want, anyReason)
			if last := got.Attempts[len(got.Attempts)-1]; want == stateFailed && last.Status != 401 {
				t.Errorf("%s: %+v; want a 401", d.Subscription, last)
			}
		}
	}
}

func (l *library) takeFormats(t *testing.T) {
	to := l.subscription
	c := run(t, ""+
		to("binary", "cloudevents", "format binary")+
		to("structured", "cloudevents", "format structured")+
		to("contentful", "contentfulparser", "format contentful")+
		to("verified", "contentful?id={event.data.sys.id}", "format contentful", "sign contentful {env.CONTENTFUL}", "method PUT")+
		to("not-contentful", "contentfulparser"),
		withEnv("CONTENTFUL="+l.contentful))
	const data = `{"sys":{"type":"Entry","id":"e1","space":{"sys":{"id":"s1"}},"environment":{"sys":{"id":"master"}}},"fields":{"title":{"de":"Zoë"}}}`
	got := c.accepted(c.request("POST", "/v1/events", data, "Content-Type", "application/json", "ce-specversion", "1.0", "ce-id", "A-1", "ce-source", "/shop",
		"ce-type", "Entry.publish", "ce-subject", "Zo%C3%AB", "ce-time", "2026-06-22T18:42:22.587Z", "ce-sequence", "17"))
	for _, name := range []string{"binary", "structured", "contentful", "verified"} {
		c.wantDelivery(got.ID, name, stateDelivered, "")
	}
	c.wantDelivery(got.ID, "not-contentful", stateFailed, anyReason)
}

// startNode installs the locked packages of testdata/receivers and runs one of its files,
// which prints its port. It skips where there is no Node.js, or no registry to ask; in CI
// both are required.
func startNode(t *testing.T, file string, env ...string) (port string) {
	t.Helper()
	lacks := lacks(t)
	for _, tool := range []string{"node", "npm"} {
		need(t, tool, "Node.js")
	}
	if out, err := exec.CommandContext(t.Context(), "node", "-p", "process.versions.node.split('.')[0]").Output(); err != nil {
		lacks("needs node: %v", err)
	} else if major, err := strconv.Atoi(strings.TrimSpace(string(out))); err != nil || major < 20 {
		lacks("needs Node.js 20 or later, and has %s", out)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "receivers"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		lacks("needs the npm registry: npm ci: %v\n%s", err, out)
	}
	cmd := exec.Command("node", file)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%s did not say its port: %v", file, err)
	}
	return strings.TrimSpace(line)
}
