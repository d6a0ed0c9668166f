package integration

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// secretsOf are what a configuration takes from the environment and nobody may see.
type secretsOf map[string]string

// forms are all ways in which a secret might be written.
func forms(secret string) []string {
	all := []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret))}
	if _, key, ok := strings.Cut(secret, "_"); ok && strings.HasPrefix(secret, "whsec_") {
		all = append(all, key)
	}
	return all
}

// TestNoSecretIsShownAnywhere configures a secret in every place that takes one, lets
// everything happen that may be logged or recorded, and looks into all that anybody can read.
func TestNoSecretIsShownAnywhere(t *testing.T) {
	t.Parallel()
	well, sick, tokens := newReceiver(t), newReceiver(t), newReceiver(t)
	sick.answer(with(http.StatusInternalServerError))
	tokens.answer(func(w http.ResponseWriter, _ *arrival) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"issued-4711-token","token_type":"Bearer","expires_in":3600}`)
	})
	secrets := secretsOf{
		"SIGN": newSecret(), "SIGN_OLD": newSecret(), "TOKEN": "intake-4711-token", "HEADER": "header-4711-secret", "BASIC": "basic-4711-secret",
		"BEARER": "bearer-4711-secret", "CLIENT": "client-4711-secret", "HMAC": "hmac-4711-secret", "GITHUB": "github-4711-secret",
		"PATH": "path-4711-secret", "QUERY": "query-4711-secret", "STORE": strings.Repeat("4711cafe", 8),
	}
	secrets["URL"] = well.url() + "/" + secrets["PATH"] + "?key=" + secrets["QUERY"]
	secrets["DEAD"] = fmt.Sprintf("http://127.0.0.1:%d/%s", freePort(t), secrets["PATH"])
	var env []string
	for name, value := range secrets {
		env = append(env, name+"="+value)
	}
	c := prepare(t, withEnv(env...), withIntake("token {env.TOKEN}"))
	hidden := func(name, url string, words ...string) string {
		return fmt.Sprintf("subscription %s %s {\nallow_ips 127.0.0.1\nretry 1h\n%s\n}\n", name, url, strings.Join(words, "\n"))
	}
	c.configure(hidden("hook", "{env.URL}", "sign standard {\nsecret {env.SIGN}\nsecret {env.SIGN_OLD} until 2030-01-01T00:00:00Z\n}", "secret_header X-Api-Key {env.HEADER}") +
		hidden("dead", "{env.DEAD}", "auth bearer {env.BEARER}") +
		hidden("sick", sick.url(), "auth basic relay {env.BASIC}", "sign github {env.GITHUB}") +
		hidden("token", sick.url(), "auth oauth2 {\ntoken_url "+tokens.url()+"\nclient_id relay\nclient_secret {env.CLIENT}\n}") +
		hidden("hmac", well.url(), "sign hmac {\nsecret {env.HMAC}\nheader X-Signature\n}"))
	c.write("Caddyfile", strings.Replace(c.file("Caddyfile"), "min_free 16MiB", "min_free 16MiB\nencryption_key {env.STORE}", 1))
	c.start()
	t.Cleanup(func() {
		if code := c.stop(); code != 0 {
			t.Errorf("stopped with %d", code)
		}
	})
	authorized := []string{"Content-Type", "application/json", "Authorization", "Bearer " + secrets["TOKEN"]}
	id := c.accepted(c.post("/v1/events/order.paid", `{"order":1}`, authorized...)).ID
	if a := c.post("/v1/events/order.paid", `{"order":1}`, "Content-Type", "application/json", "Authorization", "Bearer "+secrets["TOKEN"]+"x"); a.status != http.StatusUnauthorized {
		t.Errorf("a wrong token: %s", a)
	}
	var states string
	eventually(t, func() bool {
		states = ""
		for _, d := range decode[event](t, c.get("/relay/events/"+id)).Deliveries { // intake wants its token
			states += d.Subscription + " " + d.State + " "
		}
		return states == "hook delivered dead retrying sick retrying token retrying hmac delivered "
	}, func() string { return states })
	if r := c.relay("pause", "hook"); r.code != 0 {
		t.Error(r)
	}

	sent := fmt.Sprint(well.got(), sick.got(), tokens.got())
	for _, name := range []string{"HEADER", "PATH", "CLIENT"} { // the control: they are in use
		if basic := base64.StdEncoding.EncodeToString([]byte("relay:" + secrets[name])); !strings.Contains(sent, secrets[name]) && !strings.Contains(sent, basic) {
			t.Errorf("the secret %s was not sent to those who shall have it", name)
		}
	}

	outputs := make(map[string]string)
	for _, path := range []string{
		"/config/", "/relay/status", "/relay/events", "/relay/events/" + id, "/relay/events/" + id + "/data", "/relay/deliveries", "/relay/egress",
		"/relay/egress/check", "/relay/export?select=all", "/relay/health/live", "/relay/health/ready", "/metrics", "/relay/explain?event=" + id + "&subscription=hook",
		"/relay/subscriptions/hook", "/relay/subscriptions/dead", "/relay/subscriptions/sick", "/relay/subscriptions/token", "/relay/subscriptions/hmac",
	} {
		a := c.get(path)
		if a.status != http.StatusOK {
			t.Errorf("GET %s: %s", path, a)
		}
		outputs["GET "+path] = string(a.body)
	}
	for _, args := range [][]string{
		{"list", "events"},
		{"list", "deliveries"},
		{"list", "subscriptions"},
		{"show", id},
		{"show", "hook"},
		{"show", "dead"},
		{"show", "sick"},
		{"show", "token"},
		{"show", "hmac"},
		{"show", id, "--why", "hook"},
		{"egress"},
		{"doctor", "--config", c.path("Caddyfile")},
		{"doctor", "--reach"},
		{"export"},
		{"health"},
	} {
		for _, format := range [][]string{nil, {"--json"}} {
			r := c.relay(append(args, format...)...)
			outputs[strings.Join(append(args, format...), " ")] = r.out + r.errors
		}
	}
	outputs["tail"] = tailed(t, c, "hook", "resume")
	adapted := c.caddy("adapt", "--config", c.path("Caddyfile"))
	outputs["adapt"] = adapted.out + adapted.errors
	validated := c.caddy("validate", "--config", c.path("Caddyfile"))
	outputs["validate"] = validated.out + validated.errors
	if r := c.reload("--force"); r.code != 0 {
		t.Errorf("reload: %s", r)
	}
	outputs["log"] = c.log()

	secrets["ISSUED"] = "issued-4711-token"
	for what, text := range outputs {
		if text == "" {
			t.Errorf("%s shows nothing: this test proves nothing", what)
		}
		for name, secret := range secrets {
			for _, form := range forms(secret) {
				if i := strings.Index(text, form); i >= 0 {
					t.Errorf("%s shows the secret %s: ...%.120q", what, name, text[max(0, i-60):])
				}
			}
		}
	}
}

// tailed returns what tail prints of the deliveries that a verb for a subscription leads to.
func tailed(t *testing.T, c *instance, name, verb string) string {
	t.Helper()
	var out strings.Builder
	cmd := c.command(t.Context(), "relay", "tail", "--address", c.admin(), "--limit", "1", "--json")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for deadline := time.Now().Add(patience); ; {
		// Whatever is retried settles; what is settled before tail follows is not seen.
		if r := c.relay(verb, name); r.code != 0 {
			t.Fatal(r)
		}
		if r := c.relay("resume", "sick"); r.code != 0 {
			t.Fatal(r)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("tail: %v: %s", err, out.String())
			}
			return out.String()
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Signal(os.Interrupt)
			t.Fatal("tail prints nothing")
		}
	}
}
