package integration

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// wantNothingLeft fails if the demo left something behind.
func wantNothingLeft(t *testing.T, c *instance) {
	t.Helper()
	for _, name := range []string{"tmp", "home"} {
		left, err := os.ReadDir(c.path(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range left {
			t.Errorf("%s is left in %s", f.Name(), name)
		}
	}
}

// wantAsInReadme compares what the demo has printed with the README, but for what is
// another one each time.
func wantAsInReadme(t *testing.T, printed string) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(readme), "```\nrelay demo:")
	shown, _, ok := strings.Cut(shown, "```\n")
	if !ok {
		t.Fatal("the README does not show what the demo prints")
	}
	alike := func(text string) string {
		for pattern, name := range map[string]string{
			`\S*caddy-relay-demo-\w+`: "FOLDER", `\d\d:\d\d:\d\d`: "TIME", `evt_\w+`: "ID", `127\.0\.0\.1:\d+`: "ADDRESS", `in [\d.]+ m?s `: "in DURATION ", ` +`: " ",
		} {
			text = regexp.MustCompile(pattern).ReplaceAllString(text, name)
		}
		return text
	}
	if got, want := alike(printed), alike("relay demo:"+shown); got != want {
		t.Errorf("the demo prints\n%s\nand the README shows\n%s", got, want)
	}
}

func TestDemoShowsAFailureItsRetryAndTheDelivery(t *testing.T) {
	t.Parallel()
	c := prepare(t)
	r := c.caddy("relay", "demo", "--once")
	if r.code != 0 {
		t.Fatal(r)
	}
	rest := r.out
	for _, want := range []string{`evt_\w+ .*accepted`, `503 .*retry in 1s`, `200 .*delivered .*signature verified`} {
		at := regexp.MustCompile(want).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("the output lacks %q, in this order: %s", want, r)
		}
		rest = rest[at[1]:]
	}
	wantNothingLeft(t, c)
}

// Whoever leaves the demo running can send to it and look into it, with what it prints.
func TestDemoTakesMoreEventsUntilItIsStopped(t *testing.T) {
	t.Parallel()
	c := prepare(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := c.command(ctx, "relay", "demo")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var printed strings.Builder
	// until reads on to a line with a match, and returns its first group.
	until := func(pattern string) string {
		t.Helper()
		for lines.Scan() {
			printed.WriteString(lines.Text() + "\n")
			if m := regexp.MustCompile(pattern).FindStringSubmatch(lines.Text()); m != nil {
				return m[len(m)-1]
			}
		}
		t.Fatalf("the output lacks %q:\n%s", pattern, &printed)
		return ""
	}
	address := until(`--address (\S+)`)
	until("signature verified")
	url := until(`curl --json '\{"order":43\}' (http://\S+)`)
	wantAsInReadme(t, printed.String())

	resp, err := http.Post(url, "application/json", strings.NewReader(`{"order":43}`))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("the line that is printed is answered %d: %s", resp.StatusCode, body)
	}
	id := until(`(evt_\w+) .*accepted`)
	until("signature verified")
	if shown := c.caddy("relay", "show", id, "--address", address); shown.code != 0 || !strings.Contains(shown.out, "delivered") {
		t.Errorf("relay show: %s", shown)
	}

	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	wantNothingLeft(t, c)
}
