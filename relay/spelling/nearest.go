// Package spelling finds the word that a mistyped one was meant to be.
package spelling

import "strings"

// Nearest returns the candidate that a word was probably meant to be, or "". Candidates are
// in lower case.
func Nearest(word string, candidates []string) string {
	const longest = 32 // longer ones are no misspelling, and the cost is quadratic
	if len(word) > longest {
		return ""
	}
	word = strings.ToLower(word)
	best, least := "", 3
	for _, c := range candidates {
		// At most a third of the letters may differ, one of a short word: "ue" is "eu", and
		// "to" is not "id".
		if d := distance(word, c); d < least && d <= max(1, max(len(c), len(word))/3) {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of bytes to be inserted, deleted, changed or swapped with their
// neighbour (optimal string alignment).
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
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			least := min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				least = min(least, rows[i-2][j-2]+1)
			}
			rows[i][j] = least
		}
	}
	return rows[len(a)][len(b)]
}
