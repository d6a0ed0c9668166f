package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// nearest returns the candidate that a mistyped word probably stands for, or "".
func nearest(word string, candidates []string) string {
	best, at := "", max(1, len(word)/3)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := distance(strings.ToLower(word), c); d < at {
			best, at = c, d
		}
	}
	return best
}

// distance is that of Damerau and Levenshtein, in the form that edits no part
// twice: insertions, deletions, replacements and swaps of neighbours count one.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

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
	if n := nearest(word, known); n != "" {
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
