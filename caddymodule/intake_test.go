package caddymodule

import (
	"fmt"
	"strings"
	"testing"
)

// A content type of Contentful has a "name", which is where Phraseanet's documentation
// has the type of its events.
func TestAcceptedSystemsDoNotTakeEachOthersEvents(t *testing.T) {
	for _, accept := range [][]string{{"phraseanet", "contentful"}, {"contentful", "phraseanet"}} {
		o, err := (&Intake{Accept: accept}).options()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(o.TypeFrom), "[the header X-Contentful-Topic the path event of the body the path name of the body]"; got != want {
			t.Errorf("accept %s: the type is looked for at %s; want %s", accept, got, want)
		}
		if got, want := fmt.Sprint(o.KeyFrom), "[the header X-Contentful-Idempotency-Key the path webhookId of the body]"; got != want {
			t.Errorf("accept %s: the key is looked for at %s; want %s", accept, got, want)
		}
	}
}

func TestWarningsAboutTokens(t *testing.T) {
	const good = "correct horse battery staple"
	t.Setenv("LONG", good)
	t.Setenv("SHORT", "hunter2")
	h := Intake{Tokens: []string{"{env.LONG}", "{env.SHORT}", "another, written in clear"}}
	tokens, warnings, err := h.resolveTokens()
	if err != nil || len(tokens) != 3 || tokens[0] != good {
		t.Fatal(tokens, err)
	}
	if len(warnings) != 2 || !strings.HasPrefix(warnings[0], "token: it has 7 characters") || warnings[1] != "token: "+literalWarning {
		t.Errorf("%q", warnings)
	}
	for _, w := range warnings {
		if strings.Contains(w, "hunter2") || strings.Contains(w, "another") {
			t.Errorf("shows a secret: %s", w)
		}
	}
	if _, _, err := (&Intake{Tokens: []string{"{env.RELAY_NOT_SET}"}}).resolveTokens(); err == nil {
		t.Error("an empty token is taken")
	}
}
