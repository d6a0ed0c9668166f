package caddymodule

import (
	"fmt"
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
