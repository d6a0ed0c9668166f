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
	return fmt.Sprintf("%s: unknown option %q%s", e.within, e.word, didYouMean(e.word, e.known))
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
