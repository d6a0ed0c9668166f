package caddyrelay_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOneVersionOfCaddy: what go test runs, what xcaddy.sh and release.sh build, and what
// the README tells people to build are one Caddy.
func TestOneVersionOfCaddy(t *testing.T) {
	want := found(t, "go.mod", `github\.com/caddyserver/caddy/v2 (v\S+)`)
	for file, pattern := range map[string]string{
		"xcaddy.sh":                `(?m)^caddy_version=(v\S+)$`,
		"README.md":                `xcaddy build (v\S+)`,
		"deploy/docker/Dockerfile": `(?m)^ARG CADDY_VERSION=(\S+)$`,
	} {
		if got := found(t, file, pattern); strings.TrimPrefix(got, "v") != strings.TrimPrefix(want, "v") {
			t.Errorf("%s has Caddy %s, and go.mod %s", file, got, want)
		}
	}
}

func found(t *testing.T, file, pattern string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(pattern).FindStringSubmatch(string(raw))
	if match == nil {
		t.Fatalf("%s has nothing like %s", file, pattern)
	}
	return match[1]
}

// TestReleaseIsRefusedBeforeAnythingIsBuilt runs release.sh on commits that must not be
// released. A go that would build something ends it.
func TestReleaseIsRefusedBeforeAnythingIsBuilt(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs the command git")
	}
	repository := t.TempDir()
	for _, file := range []string{"release.sh", "xcaddy.sh"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(repository, file), string(text), 0o700)
	}
	tools := t.TempDir()
	write(t, filepath.Join(tools, "go"), "#!/bin/sh\necho it builds >&2\nexit 1\n", 0o700)
	run := func(name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir = repository
		cmd.Env = append(os.Environ(), "PATH="+tools+string(os.PathListSeparator)+os.Getenv("PATH"),
			"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	git := func(args ...string) string {
		t.Helper()
		out, err := run("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(out)
	}
	git("init", "-q")
	commit := func(changelog string) {
		t.Helper()
		write(t, filepath.Join(repository, "CHANGELOG.md"), changelog, 0o600)
		git("add", "-A")
		git("commit", "-q", "-m", "a commit")
	}
	pass := func() {
		t.Helper()
		write(t, filepath.Join(repository, ".git", "ci-passed"), git("rev-parse", "HEAD")+"\n", 0o600)
	}
	refused := func(version, want string) {
		t.Helper()
		out, err := run("./release.sh", version)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("release.sh %s: %v, %s; want it refused with %q", version, err, out, want)
		}
	}

	commit("## [Unreleased]\n")
	refused("", "usage")
	refused("v2.0.0", "/v2")
	refused("v1.2", "three numbers")
	refused("v1.2.3-rc..1", "three numbers")
	if out, err := run("./release.sh", "v1.2.3", "v1.2.4"); err == nil || !strings.Contains(out, "2 arguments") {
		t.Errorf("two versions: %v, %s", err, out)
	}
	refused("v1.2.3", "has not passed")
	pass()
	refused("v1.2.3", "no section")
	commit("## [1.2.3] - 2027-01-31\n")
	refused("v1.2.3", "has not passed")
	pass()
	write(t, filepath.Join(repository, "left"), "over", 0o600)
	refused("v1.2.3", "not committed")
	if err := os.Remove(filepath.Join(repository, "left")); err != nil {
		t.Fatal(err)
	}
	git("tag", "v1.2.3")
	refused("v1.2.3", "there already")
	git("tag", "-d", "v1.2.3")
	refused("v1.2.3", "it builds") // the control: nothing else was in the way
	if tags := git("tag"); tags != "" {
		t.Errorf("what failed was tagged: %s", tags)
	}
}

func write(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
