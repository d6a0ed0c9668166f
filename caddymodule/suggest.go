package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyrelay/caddyrelay/relay/spelling"
)

// unknownWordError is about a word that does not belong where it stands.
type unknownWordError struct {
	within, word string
	known        []string
}

func (e *unknownWordError) Error() string {
	return fmt.Sprintf("%s: unknown option %q%s", e.within, e.word, e.wayOut())
}

func (e *unknownWordError) wayOut() string {
	if meant, ok := wordsOfReverseProxy[e.word]; ok {
		return "; " + meant
	}
	out := didYouMean(e.word, e.known)
	if places := placesOf(e.word); len(places) > 0 && strings.HasPrefix(out, ";") {
		out = fmt.Sprintf("; it is a word of %s%s", strings.Join(places, " and "), out)
	}
	return out
}

// wordsOfReverseProxy are those that users of Caddy may look for in a subscription.
var wordsOfReverseProxy = map[string]string{
	"tls":                      "write the URL with https://",
	"tls_insecure_skip_verify": "servers are always verified; to trust an authority of your own write: tls_trust_pool file <pem>",
	"tls_trusted_ca_certs":     "write: tls_trust_pool file <pem>",
}

// placesOf says where a word may stand.
func placesOf(word string) []string {
	var found []string
	for _, place := range []struct {
		name  string
		words vocabulary
	}{
		{"the option relay", new(optionParser).words()},
		{"storage badger", new(BadgerStorage).words()},
		{"storage postgres", new(PostgresStorage).words()},
		{"region", new(Region).words(nil)},
		{"subscription", settingsWords(nil, new(Settings), nil)},
		{"relay_intake", new(Intake).words()},
		{"relay_console", new(Console).words()},
		{"relay_egress", new(EgressList).words()},
	} {
		if _, ok := place.words[word]; ok {
			found = append(found, place.name)
		}
	}
	return found
}

// didYouMean ends the sentence about an unknown word with the way out.
func didYouMean(word string, known []string) string {
	if n := spelling.Nearest(word, slices.Sorted(slices.Values(known))); n != "" {
		return fmt.Sprintf(" — did you mean %q?", n)
	}
	if len(known) == 0 {
		return ""
	}
	return "; known here: " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}

func unknownWord(within, word string, words vocabulary) error {
	return &unknownWordError{within: within, word: word, known: slices.Collect(maps.Keys(words))}
}
