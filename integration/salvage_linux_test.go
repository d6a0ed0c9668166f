package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A byte of a table is wrong. The operator is told so, and what going on would cost, by
// the refusal and the doctor; goes on; and gets all deliveries but those that were listed.
func TestDamagedStoreGoesOnWithWhatCanBeRead(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := prepare(t)
	configure := func(words, subscription string) {
		c.configure("region eu 127.0.0.1\n" + subscribed("crm", r, subscription))
		text := c.file("Caddyfile")
		c.write("Caddyfile", strings.Replace(text, "min_free 16MiB\n", "min_free 16MiB\n"+words+"\n", 1))
	}
	configure("", "paused")
	c.start()
	bodies := make(map[string]string)
	for n := range 100 {
		body := fmt.Sprintf(`{"n":%d,"text":%q}`, n, filler(300))
		bodies[c.accept("order.paid", body).ID] = body
	}
	if code := c.stop(); code != 0 {
		t.Fatalf("stopped with exit code %d", code)
	}
	tables, err := filepath.Glob(filepath.Join(c.store(), "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	raw, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/3] ^= 1
	if err := os.WriteFile(tables[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}

	c.spawn()
	if code := c.wait(); code == 0 {
		t.Fatal("it starts on a damaged store and ends with 0")
	}
	token := regexp.MustCompile(`accept_loss ([0-9a-f]{12})`).FindStringSubmatch(c.log())
	if token == nil || !strings.Contains(c.log(), filepath.Base(tables[0])) {
		t.Fatalf("the refusal names no token or no file: %s", c.log())
	}
	doctor := c.caddy("relay", "doctor", "--storage", c.store())
	for _, want := range []string{filepath.Base(tables[0]), "accept_loss " + token[1], "with accept_loss", "not delivered"} {
		if doctor.code == 0 || !strings.Contains(doctor.out, want) {
			t.Errorf("the doctor does not say %q: %s", want, doctor)
		}
	}

	configure("accept_loss "+token[1], "paused")
	c.start()
	configure("", "")
	if result := c.reload(); result.code != 0 {
		t.Fatalf("reload: %s", result)
	}
	list, err := os.ReadFile(filepath.Join(c.store(), "damaged-"+token[1], "LOST.txt"))
	if err != nil {
		t.Fatal(err)
	}
	c.drained()
	got := make(map[string]string)
	for _, a := range r.got() {
		got[a.id()] = string(a.body)
	}
	lost := 0
	for id, body := range bodies {
		switch delivered, ok := got[id]; {
		case ok && delivered != body:
			t.Errorf("%s was delivered with another body", id)
		case !ok && !strings.Contains(string(list), id):
			t.Errorf("%s was not delivered, and is not listed:\n%s", id, list)
		case !ok:
			lost++
			if !strings.Contains(doctor.out, id) {
				t.Errorf("the doctor did not say that %s would be gone", id)
			}
			if a := c.request(http.MethodGet, "/v1/events/"+id, ""); a.status != http.StatusNotFound {
				t.Errorf("%s is gone, and GET answers %s", id, a)
			}
		}
	}
	if lost == 0 || lost > 40 {
		t.Errorf("%d of %d events are lost", lost, len(bodies))
	}
	t.Logf("%d of %d events are lost", lost, len(bodies))
	if code := c.stop(); code != 0 {
		t.Errorf("stopped with exit code %d", code)
	}
	if doctor := c.caddy("relay", "doctor", "--storage", c.store()); doctor.code != 0 {
		t.Errorf("afterwards: %s", doctor)
	}
}
