package integration

import (
	"fmt"
	"strings"
	"testing"
)

// mistake is a line that is wrong, and what the user is told of it.
type mistake struct {
	name, line string
	// want are parts of the message.
	want []string
	// unplaced is for what only shows when the configuration is loaded: the message
	// names subscription and word in the place of a line.
	unplaced bool
}

const aSubscription = "subscription crm https://crm.example.com/hooks "

var mistakes = []mistake{
	{"unknown word", "subscriptions crm https://crm.example.com/", []string{`did you mean "subscription"`}, false},
	{"unknown word inside", aSubscription + "{\ntimeouts 5s\n}", []string{`did you mean "timeout"`}, false},
	{"no URL", "subscription crm", []string{"URL missing"}, false},
	{"no name", "subscription https://crm.example.com/", []string{"name missing"}, false},
	{"bad name", "subscription CRM https://crm.example.com/", []string{`"CRM" is no name`}, false},
	{"twice", aSubscription + "\n" + aSubscription, []string{"declared twice"}, false},
	{"not a URL", "subscription crm crm.example.com", []string{"https://"}, false},
	{"scheme", "subscription crm ftp://crm.example.com/", []string{"http"}, false},
	{"user in URL", "subscription crm https://anna:sesame@crm.example.com/", []string{"secret_header"}, false},
	{"port", "subscription crm https://crm.example.com:22/", []string{"port 22"}, false},
	{"single label", "subscription crm https://crm/", []string{"allow_hosts"}, false},
	{"localhost", "subscription crm http://localhost:8080/", []string{"allow_hosts localhost"}, false},
	{"special name", "subscription crm https://crm.internal/", []string{"allow_hosts"}, false},
	{"loopback", "subscription crm http://127.0.0.1:8080/", []string{"127.0.0.1 is refused", "allow_ips 127.0.0.1"}, false},
	{"loopback 6", "subscription crm http://[::1]:8080/", []string{"is refused", "allow_ips ::1"}, false},
	{"private", "subscription crm https://10.1.2.3/", []string{"10.1.2.3 is refused", "allow_ips 10.1.2.3"}, false},
	{"private 192", "subscription crm https://192.168.7.7/", []string{"192.168.7.7 is refused"}, false},
	{"link-local", "subscription crm https://[fe80::1]/", []string{"is refused"}, false},
	{"shared", "subscription crm https://100.64.0.9/", []string{"100.64.0.9 is refused"}, false},
	{"metadata", "subscription crm http://169.254.169.254/latest/", []string{"169.254.169.254 is refused"}, false},
	{"metadata of Azure", "subscription crm http://168.63.129.16/", []string{"168.63.129.16 is refused"}, false},
	{"mapped", "subscription crm http://[::ffff:10.1.2.3]/", []string{"is refused"}, false},
	{"translated", "subscription crm http://[64:ff9b::a01:203]/", []string{"is refused"}, false},
	{"multicast", "subscription crm http://224.0.0.1/", []string{"is refused"}, false},
	{"unspecified", "subscription crm http://0.0.0.0/", []string{"is refused"}, false},
	{"number as host", "subscription crm http://2130706433:8080/", nil, false},
	{"hexadecimal host", "subscription crm http://0x7f.1:8080/", nil, false},
	{"allowed is another", "subscription crm http://10.1.2.3/ {\nallow_ips 10.1.2.4\n}", []string{"10.1.2.3 is refused"}, false},
	{"family", "region eu 192.0.2.10\nsubscription crm http://[2a00:1450::1]/", []string{"IPv6"}, false},
	{"unknown region", "region eu 192.0.2.10\nsubscription crm https://crm.example.com/ {\nregion eo\n}", []string{`did you mean "eu"`}, false},
	{"no region", "region eu 192.0.2.10\nregion us 192.0.2.11\n" + aSubscription, []string{"region missing"}, false},
	{"bad address", "region eu 192.0.2.300", []string{"192.0.2.300"}, false},
	{"bad topic", aSubscription + "order..paid", []string{"order..paid"}, false},
	{"bad operator", aSubscription + "{\nfilter currency equal EUR\n}", []string{`did you mean "equals"`}, false},
	{"bad pattern", aSubscription + "{\nfilter id regexp (\n}", []string{"missing closing )"}, false},
	{"bad filters", aSubscription + "{\nfilters `[{\"equals\":[{\"doc\":7},\"x\"]}]`\n}", []string{"at /0/equals/0/doc", "dotted path"}, false},
	{"bad expression", aSubscription + "{\nexpression `event.typ == \"a\"`\n}", []string{"there is no event.typ", "event.type", "     ^ here"}, false},
	{"bad duration", aSubscription + "{\ntimeout 15\n}", []string{"timeout", "15s"}, false},
	{"bad retry", aSubscription + "{\nretry soon\n}", []string{"soon"}, false},
	{"bad number", aSubscription + "{\nmax_in_flight many\n}", []string{"many"}, false},
	{"unknown signer", aSubscription + "{\nsign standart {env.SECRET}\n}", []string{`did you mean "standard"`}, false},
	{"no secret", aSubscription + "{\nsign standard\n}", []string{"secret missing"}, false},
	{"header of ours", aSubscription + "{\nheader webhook-id mine\n}", []string{"Webhook-Id cannot be changed"}, false},
	{
		"missing secret file", aSubscription + "{\nsign standard {file./nowhere/secret}\n}",
		[]string{`subscription "crm"`, "sign standard", "/nowhere/secret", "no such file"},
		true,
	},
	{
		"unset variable", aSubscription + "{\nsign standard {env.NOT_SET}\n}",
		[]string{`subscription "crm"`, "sign standard", "{env.NOT_SET} is not set"},
		true,
	},
	{
		"empty variable", aSubscription + "{\nsign standard {env.EMPTY}\n}",
		[]string{`subscription "crm"`, "sign standard", "{env.EMPTY} is set, but empty"},
		true,
	},
	{
		"no secret in the variable", aSubscription + "{\nsign standard {env.NOT_BASE64}\n}",
		[]string{`subscription "crm"`, "sign standard"},
		true,
	},
	{
		"unset header", aSubscription + "{\nsecret_header X-Api-Key {env.NOT_SET}\n}",
		[]string{`subscription "crm"`, "X-Api-Key", "{env.NOT_SET} is not set"},
		true,
	},
	{"unset URL", "subscription crm {env.NOT_SET}", []string{`subscription "crm"`, "{env.NOT_SET} is not set"}, true},
	{"private URL in a variable", "subscription crm {env.PRIVATE_URL}", []string{`subscription "crm"`, "10.9.8.7 is refused"}, true},
}

// Whoever writes a wrong line is told where it is, what is wrong, and what to do; before
// anything runs.
func TestWrongCaddyfileIsRefusedWithFileAndLine(t *testing.T) {
	t.Parallel()
	env := withEnv("EMPTY=", "NOT_BASE64=sesame!open", "PRIVATE_URL=https://10.9.8.7/secret-path")
	for i, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			c := prepare(t, env)
			c.configure("# a comment above\n" + m.line)
			args := []string{"validate"}
			if i%8 == 0 || m.unplaced { // it says the same when it is run
				args = []string{"run"}
			}
			r := c.caddy(append(args, "--config", c.path("Caddyfile"))...)
			if r.code == 0 {
				t.Fatalf("%s was taken: %s", m.line, r)
			}
			for _, want := range m.want {
				if !strings.Contains(unquoted(r.errors), want) {
					t.Errorf("the message lacks %q: %s", want, r)
				}
			}
			first, last := optionLine+1, optionLine+1+strings.Count(m.line, "\n")
			if !m.unplaced && !namesLine(r.errors, c.path("Caddyfile"), first, last) {
				t.Errorf("the message names no line from %d to %d of the Caddyfile: %s", first, last, r)
			}
			for _, secret := range []string{"sesame", "secret-path"} {
				if strings.Contains(r.errors+r.out, secret) {
					t.Errorf("the message shows %q: %s", secret, r)
				}
			}
		})
	}
}

// unquoted takes out the escapes of a message that stands in JSON.
func unquoted(text string) string { return strings.ReplaceAll(text, `\"`, `"`) }

func namesLine(text, file string, first, last int) bool {
	for line := first; line <= last; line++ {
		if strings.Contains(text+"\n", fmt.Sprintf("%s:%d\n", file, line)) || strings.Contains(text, fmt.Sprintf("%s:%d\"", file, line)) {
			return true
		}
	}
	return false
}

// What stands elsewhere in the Caddyfile than inside one relay option.
func TestDirectivesAndOptionsThatDoNotBelongAreRefused(t *testing.T) {
	t.Parallel()
	for _, m := range []struct{ name, caddyfile, want string }{
		{"intake without the option", "http://:%d {\nbind 127.0.0.1\nrelay_intake\n}", "relay_intake needs the relay itself"},
		{"option twice", "{\nrelay {\n}\nrelay {\n}\n}", "stands twice"},
		{"word of intake", "{\nrelay\n}\nhttp://:%d {\nrelay_intake {\naccept wordpress\n}\n}", "contentful and phraseanet"},
		{"size of intake", "{\nrelay\n}\nhttp://:%d {\nrelay_intake {\nmax_event_size 2MiB\n}\n}", "1000KiB"},
		{"empty token", "{\nrelay\n}\nhttp://:%d {\nrelay_intake {\ntoken {env.NOT_SET}\n}\n}", "{env.NOT_SET} is not set"},
		{"sink", "http://:%d {\nrelay_sink {\nfail 2\n}\n}", "share"},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			c := prepare(t)
			c.write("Caddyfile", strings.Replace(m.caddyfile, "%d", fmt.Sprint(c.port), 1)+"\n")
			r := c.caddy("validate", "--config", c.path("Caddyfile"))
			if r.code == 0 || !strings.Contains(unquoted(r.errors), m.want) {
				t.Errorf("%s; want an error with %q", r, m.want)
			}
		})
	}
}

// The control of the two tests above: the smallest configuration is right, and loading it
// needs no network.
func TestSmallestCaddyfileIsTaken(t *testing.T) {
	t.Parallel()
	c := prepare(t, withEnv("CRM_WEBHOOK_SECRET="+newSecret()))
	c.configure("subscription crm https://crm.example.com/hooks order.* {\nsign standard {env.CRM_WEBHOOK_SECRET}\n}")
	if r := c.caddy("validate", "--config", c.path("Caddyfile")); r.code != 0 {
		t.Error(r)
	}
	adapted := c.caddy("adapt", "--config", c.path("Caddyfile"))
	if adapted.code != 0 || !strings.Contains(adapted.out, "{env.CRM_WEBHOOK_SECRET}") {
		t.Errorf("the secret is no placeholder in caddy adapt: %s", adapted)
	}
}
