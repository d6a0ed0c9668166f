package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// verifiers are the files of docs/verify: how each is made ready in a folder, and what runs
// it.
var verifiers = map[string]struct{ needs, make, run []string }{
	"verify.sh":   {needs: []string{"openssl", "od", "base64"}, run: []string{"sh", "verify.sh"}},
	"verify.py":   {needs: []string{"python3"}, run: []string{"python3", "verify.py"}},
	"verify.mjs":  {needs: []string{"node"}, run: []string{"node", "verify.mjs"}},
	"verify.go":   {needs: []string{"go"}, make: []string{"go", "build", "-o", "verify", "verify.go"}, run: []string{"./verify"}},
	"verify.php":  {needs: []string{"php"}, run: []string{"php", "verify.php"}},
	"verify.rb":   {needs: []string{"ruby"}, run: []string{"ruby", "verify.rb"}},
	"Verify.java": {needs: []string{"javac", "java"}, make: []string{"javac", "Verify.java"}, run: []string{"java", "-cp", ".", "Verify"}},
	"Verify.cs":   {needs: []string{"mcs", "mono"}, make: []string{"mcs", "-out:Verify.exe", "Verify.cs"}, run: []string{"mono", "Verify.exe"}},
	"verify.pl":   {needs: []string{"perl"}, run: []string{"perl", "verify.pl"}},
}

// TestDocumentedVerifiers runs each of them on what the library of Standard Webhooks has
// signed.
func TestDocumentedVerifiers(t *testing.T) {
	t.Parallel()
	const folder = "../docs/verify"
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := verifiers[f.Name()]; !ok && f.Name() != "README.md" {
			t.Errorf("nothing runs %s", f.Name())
		}
	}
	for name, v := range verifiers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, program := range v.needs {
				need(t, program, "the language of this file")
			}
			text, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
			if v.make != nil {
				cmd := exec.CommandContext(t.Context(), v.make[0], v.make[1:]...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", v.make, err, out)
				}
			}
			for _, request := range signedRequests(t) {
				cmd := exec.CommandContext(t.Context(), v.run[0], append(v.run[1:len(v.run):len(v.run)], request.secret, request.id, request.time, request.signatures)...)
				cmd.Dir = dir
				cmd.Stdin = bytes.NewReader(request.body)
				out, err := cmd.CombinedOutput()
				if got := err == nil; got != request.genuine {
					t.Errorf("%s: genuine is %t: %v\n%s", request.what, got, err, out)
				}
			}
		})
	}
}

type signedRequest struct {
	what                         string
	secret, id, time, signatures string
	body                         []byte
	genuine                      bool
}

func signedRequests(t *testing.T) []signedRequest {
	t.Helper()
	secret, other := newSecret(), newSecret()
	sign := func(secret, id string, at time.Time, body []byte) string {
		t.Helper()
		webhook, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := webhook.Sign(id, at, body)
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	const id = "evt_38g0k5zz60000z5h"
	now, long := time.Now(), time.Now().Add(-10*time.Minute)
	at := func(moment time.Time) string { return strconv.FormatInt(moment.Unix(), 10) }
	body := []byte("{\"name\":\"Zoë\", \"of\": 1.0}\r\n\xff\x00")
	right := sign(secret, id, now, body)
	return []signedRequest{
		{"as it was sent", secret, id, at(now), right, body, true},
		{"a secret without its prefix", strings.TrimPrefix(secret, "whsec_"), id, at(now), right, body, true},
		{"an empty body", secret, id, at(now), sign(secret, id, now, nil), nil, true},
		{"two secrets, the new one first", secret, id, at(now), sign(other, id, now, body) + " " + right, body, true},
		{"two secrets, ours first, and one of another version", secret, id, at(now), right + " v1a,AAAA " + sign(other, id, now, body), body, true},
		{"another body", secret, id, at(now), right, append([]byte(" "), body...), false},
		{"a body without its end", secret, id, at(now), right, body[:len(body)-1], false},
		{"another secret", other, id, at(now), right, body, false},
		{"another id", secret, id + "x", at(now), right, body, false},
		{"another time", secret, id, at(now.Add(time.Second)), right, body, false},
		{"recorded", secret, id, at(long), sign(secret, id, long, body), body, false},
		{"from the future", secret, id, at(now.Add(time.Hour)), sign(secret, id, now.Add(time.Hour), body), body, false},
		{"no signature", secret, id, at(now), "", body, false},
		{"no time", secret, id, "", right, body, false},
		{"a time that is none", secret, id, at(now) + "x", right, body, false},
		{"another version", secret, id, at(now), strings.Replace(right, "v1,", "v2,", 1), body, false},
	}
}
