package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// echoMark stands in what credulous endpoints answer, beside the secrets that they got.
const echoMark = "answer-4711-mark"

// credulous answers with the credentials of the request.
func credulous(status int) reply {
	return func(w http.ResponseWriter, a *arrival) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "%s %s %s", echoMark, a.header.Get("Authorization"), a.header.Get("X-Api-Key"))
	}
}

// found returns the files of a directory that have some text in them.
func found(t *testing.T, dir string, text []byte) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, text) {
			files = append(files, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestNoSecretIsStored delivers with a secret in every place that takes one, to endpoints that
// send back what they got, until each delivery has succeeded, waits for a retry or is given up.
// Then no file of the store has any of them, in clear or encrypted as a whole.
func TestNoSecretIsStored(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{"plain": "", "encrypted": "encryption_key {env.STORE}"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testNoSecretIsStored(t, words)
		})
	}
}

func testNoSecretIsStored(t *testing.T, storageWords string) {
	well, sick, tokens := newReceiver(t), newReceiver(t), newReceiver(t)
	well.answer(credulous(http.StatusOK))
	sick.answer(credulous(http.StatusInternalServerError))
	tokens.answer(func(w http.ResponseWriter, _ *arrival) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"issued-4711-token","token_type":"Bearer","expires_in":3600}`)
	})
	key := []byte("store-4711-secret-of-32-bytes-ok")
	secrets := secretsOf{
		"SIGN": newSecret(), "SIGN_OLD": newSecret(), "TOKEN": "intake-4711-token", "HEADER": "header-4711-secret", "BASIC": "basic-4711-secret",
		"BEARER": "bearer-4711-secret", "CLIENT": "client-4711-secret", "HMAC": "hmac-4711-secret", "GITHUB": "github-4711-secret",
		"PATH": "path-4711-secret", "QUERY": "query-4711-secret", "STORE": hex.EncodeToString(key),
	}
	secrets["URL"] = well.url() + "/" + secrets["PATH"] + "?key=" + secrets["QUERY"]
	secrets["DEAD"] = fmt.Sprintf("http://127.0.0.1:%d/%s", freePort(t), secrets["PATH"])
	var env []string
	for name, value := range secrets {
		env = append(env, name+"="+value)
	}
	c := prepare(t, withEnv(env...), withIntake("token {env.TOKEN}"))
	hidden := func(name, url string, words ...string) string {
		return fmt.Sprintf("subscription %s %s {\nallow_ips 127.0.0.1\nbreaker off\nretry 10ms 10ms\n%s\n}\n", name, url, strings.Join(words, "\n"))
	}
	oauth := "auth oauth2 {\ntoken_url " + tokens.url() + "\nclient_id relay\nclient_secret {env.CLIENT}\n}"
	c.configure(hidden("hook", "{env.URL}", "sign standard {\nsecret {env.SIGN}\nsecret {env.SIGN_OLD} until 2030-01-01T00:00:00Z\n}", "secret_header X-Api-Key {env.HEADER}") +
		hidden("dead", "{env.DEAD}", "auth bearer {env.BEARER}") +
		hidden("sick", sick.url(), "auth basic relay {env.BASIC}", "sign github {env.GITHUB}") +
		strings.Replace(hidden("late", sick.url(), "auth bearer {env.BEARER}"), "retry 10ms 10ms", "retry 1h", 1) +
		hidden("token", sick.url(), oauth) + hidden("issued", well.url(), oauth) +
		hidden("hmac", well.url(), "auth bearer {env.BEARER}", "sign hmac {\nsecret {env.HMAC}\nheader X-Signature\n}"))
	c.write("Caddyfile", strings.Replace(c.file("Caddyfile"), "min_free 16MiB", "min_free 16MiB\n"+storageWords, 1))
	c.start()
	id := c.accepted(c.post("/v1/events/order.paid", `{"order":"body-4711-mark"}`, "Authorization", "Bearer "+secrets["TOKEN"])).ID
	const want = "hook delivered 1, dead failed 3, sick failed 3, late retrying 1, token failed 3, issued delivered 1, hmac delivered 1, "
	var e event
	eventually(t, func() bool {
		e = decode[event](t, c.get("/relay/events/"+id))
		var states string
		for _, d := range e.Deliveries {
			states += fmt.Sprint(d.Subscription, " ", d.State, " ", len(d.Attempts), ", ")
		}
		return states == want
	}, func() string { return fmt.Sprintf("want %s: %+v", want, e.Deliveries) })
	if code := c.stop(); code != 0 {
		t.Errorf("stopped with %d", code)
	}

	// The control: secrets were sent and answered, and the search would find them.
	sent := fmt.Sprint(well.got(), sick.got(), tokens.got())
	for _, name := range []string{"HEADER", "BEARER", "PATH", "CLIENT"} {
		if basic := base64.StdEncoding.EncodeToString([]byte("relay:" + secrets[name])); !strings.Contains(sent, secrets[name]) && !strings.Contains(sent, basic) {
			t.Errorf("the secret %s was not sent to those who shall have it", name)
		}
	}
	for _, d := range e.Deliveries {
		for _, a := range d.Attempts {
			if kept := strings.HasPrefix(a.ResponseExcerpt, echoMark); kept != (d.Subscription != "dead") {
				t.Errorf("of the answer to %s %q is kept", d.Subscription, a.ResponseExcerpt)
			}
		}
	}
	for _, mark := range []string{echoMark, "body-4711-mark"} {
		if inClear := len(found(t, c.store(), []byte(mark))) > 0; inClear != (storageWords == "") {
			t.Errorf("%s stands in clear in the store: %v", mark, inClear)
		}
	}

	secrets["ISSUED"] = "issued-4711-token"
	secrets["KEY"] = string(key)
	for name, secret := range secrets {
		for _, form := range append(forms(secret), base64.StdEncoding.EncodeToString([]byte("relay:"+secret)), hex.EncodeToString([]byte(secret))) {
			if files := found(t, c.store(), []byte(form)); len(files) > 0 {
				t.Errorf("the secret %s stands in %v", name, files)
			}
		}
	}
	// What is encrypted shows when it is read.
	out := c.relay("export", "--all", "--offline", c.store(), "--config", c.path("Caddyfile"))
	if out.code != 0 {
		t.Fatal(out)
	}
	excerpts := 0
	for line := range strings.Lines(out.out) {
		var record struct {
			Event struct {
				Deliveries []struct {
					Attempts []struct {
						Excerpt []byte `json:"response_excerpt"`
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, d := range record.Event.Deliveries {
			for _, a := range d.Attempts {
				if len(a.Excerpt) > 0 {
					excerpts++
				}
				for name, secret := range secrets {
					if bytes.Contains(a.Excerpt, []byte(secret)) {
						t.Errorf("an excerpt has the secret %s: %s", name, a.Excerpt)
					}
				}
			}
		}
	}
	if excerpts != 10 {
		t.Errorf("%d excerpts are exported, want 10: %s", excerpts, out.out)
	}
}

// TestRedactionIsOfWhatIsShown: the console shows no byte of what redact hides, and every byte
// is stored, signed and delivered.
func TestRedactionIsOfWhatIsShown(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	o := &oracle{secret: newSecret(), matching: func(string) []string { return []string{"crm"} }}
	c := prepare(t, withEnv("SECRET="+o.secret))
	c.sites = fmt.Sprintf("http://:%d {\nbind 127.0.0.1\nrelay_console {\nredact card.number\n}\n}\n", freePort(t))
	site := strings.Fields(c.sites)[0]
	c.configure(subscribed("crm", r, signed))
	c.start()
	const hiddenMark, shownMark = "4711-0815-hidden", "shown-mark"
	body := fmt.Sprintf("{\"card\" : {\"number\":%q},\t\"name\":%q }\n", hiddenMark, shownMark)
	o.sending("order.paid", body)
	a := c.post("/v1/events/order.paid", body)
	if !o.answered(body, a) {
		t.Fatal(a)
	}
	id := c.accepted(a).ID
	c.wantDelivery(id, "crm", stateDelivered, "")
	for _, breach := range o.breaches(r.wantExactly(1), c.deliveries()) { // the bytes, and the signature
		t.Error(breach)
	}
	if data := c.get("/relay/events/" + id + "/data"); string(data.body) != body {
		t.Errorf("stored are %q, want %q", data.body, body)
	}
	var shown string
	for _, path := range []string{"/", "/deliveries", "/events", "/events/" + id, "/events/" + id + "/data", "/events/" + id + "/deliveries/crm"} {
		resp, err := http.Get("http://127.0.0.1:" + site[len("http://:"):] + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		page := string(text)
		if strings.Contains(page, hiddenMark) {
			t.Errorf("%s shows what redact hides", path)
		}
		shown += page
	}
	if !strings.Contains(shown, shownMark) || !strings.Contains(shown, "[redacted]") {
		t.Error("nothing of the data is shown, so that nothing is proven")
	}
	if code := c.stop(); code != 0 {
		t.Errorf("stopped with %d", code)
	}
	if len(found(t, c.store(), []byte(body))) == 0 {
		t.Error("the store does not hold the bytes as they came")
	}
}
