package integration

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The bodies of real webhooks, as GitHub publishes them for its clients' tests (MIT). They
// are downloaded, and kept for the next run.
const (
	corpusURL       = "https://registry.npmjs.org/@octokit/webhooks-examples/-/webhooks-examples-7.6.1.tgz"
	corpusIntegrity = "De6U3XB6O3DtCa7bKgCMzTHdeopqqZ6SNivMYJnK65ierKL1AnNIA0tkRYCRS7lwGT792d+Ps1WbfHlso6MynQ==" // SHA-512
	corpusIndex     = "package/api.github.com/index.json"
	corpusLimit     = 64 << 20
)

// corpus returns the file of examples. It skips where the registry cannot be reached.
func corpus(t *testing.T) []byte {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	path := filepath.Join(cache, "caddyrelay-tests", filepath.Base(corpusURL))
	archive, err := os.ReadFile(path)
	if err != nil || !isCorpus(archive) {
		archive = download(t)
		if err := keep(path, archive); err != nil {
			t.Log("not kept for the next run: ", err)
		}
	}
	text, err := unpack(archive, corpusIndex)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func isCorpus(archive []byte) bool {
	sum := sha512.Sum512(archive)
	return base64.StdEncoding.EncodeToString(sum[:]) == corpusIntegrity
}

func download(t *testing.T) []byte {
	t.Helper()
	client := &http.Client{Timeout: patience}
	resp, err := client.Get(corpusURL)
	if err != nil {
		t.Skip("needs registry.npmjs.org: ", err)
	}
	defer resp.Body.Close()
	archive, err := io.ReadAll(io.LimitReader(resp.Body, corpusLimit))
	if err != nil || resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests {
		t.Skipf("needs registry.npmjs.org: %s (%v)", resp.Status, err)
	}
	if !isCorpus(archive) {
		t.Fatalf("%s is not what it was: %s, %d bytes", corpusURL, resp.Status, len(archive))
	}
	return archive
}

// keep writes the archive in one step, since other tests may look for it.
func keep(path string, archive []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "*.tmp")
	if err != nil {
		return err
	}
	_, err = file.Write(archive)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	_ = os.Remove(file.Name()) // where it was not renamed
	return err
}

func unpack(archive []byte, name string) ([]byte, error) {
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	files := tar.NewReader(zip)
	for {
		header, err := files.Next()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if header.Name == name {
			return io.ReadAll(io.LimitReader(files, corpusLimit))
		}
	}
}

// example is a body with its type, as the sender names it.
type example struct {
	typ  string
	body json.RawMessage
}

func examples(t *testing.T) []example {
	t.Helper()
	var index []struct {
		Name     string
		Examples []json.RawMessage
	}
	if err := json.Unmarshal(corpus(t), &index); err != nil {
		t.Fatal(err)
	}
	var all []example
	for _, group := range index {
		for _, body := range group.Examples {
			all = append(all, example{"github." + group.Name, body})
		}
	}
	if len(all) < 300 {
		t.Fatalf("the corpus has %d bodies", len(all))
	}
	return all
}

// TestRealWebhooksArriveByteForByte posts what GitHub sends, in each of the forms in turn,
// and compares what arrives.
func TestRealWebhooksArriveByteForByte(t *testing.T) {
	t.Parallel()
	all := examples(t)
	r := newReceiver(t)
	secret := newSecret()
	c := run(t, subscribed("all", r, signed), withEnv("SECRET="+secret))
	want := make(map[string]example)
	var lines strings.Builder
	var inLines []example
	for i, e := range all {
		var sent receipt
		switch attributes := fmt.Sprintf(`"specversion":"1.0","id":"%d","source":"/github","type":%q`, i, e.typ); i % 5 {
		case 0:
			sent = c.accept(e.typ, string(e.body))
		case 1:
			sent = c.accepted(c.post(open, fmt.Sprintf(`{"data":%s,"type":%q}`, e.body, e.typ)))
		case 2:
			sent = c.accepted(c.post(open, fmt.Sprintf(`{%s,"data":%s}`, attributes, e.body), "Content-Type", ofCloudEvent))
		case 3:
			sent = c.accepted(c.post(open, string(e.body), "ce-specversion", "1.0", "ce-id", fmt.Sprint(i), "ce-source", "/github", "ce-type", e.typ))
		default:
			// One line each: line breaks between the parts of a body would end it.
			line := compact(t, e.body)
			fmt.Fprintf(&lines, `{%s,"data":%s}`+"\n", attributes, line)
			inLines = append(inLines, example{e.typ, line})
			continue
		}
		want[sent.ID] = e
	}
	for i, sent := range c.acceptedBatch(c.post(open, lines.String(), "Content-Type", ofLines)) {
		want[sent.ID] = inLines[i]
	}
	for _, a := range r.want(len(all)) {
		e := want[a.id()]
		if !bytes.Equal(a.body, e.body) {
			t.Errorf("%s: %d bytes arrived, %d were posted, or they are not the same", e.typ, len(a.body), len(e.body))
		}
		if err := verify(secret, &a); err != nil {
			t.Error(err)
		}
		if got := a.header.Get("Relay-Event"); got != e.typ {
			t.Errorf("Relay-Event is %q; want %q", got, e.typ)
		}
	}
	c.drained()
	r.wantExactly(len(all))
}

func compact(t *testing.T, body json.RawMessage) json.RawMessage {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
