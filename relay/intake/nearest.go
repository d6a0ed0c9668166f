package intake

import "strings"

// nearest returns the candidate that a word was probably meant to be, or "".
func nearest(word string, candidates []string) string {
	const longest = 32 // longer ones are no misspelling, and the cost is quadratic
	if len(word) > longest {
		return ""
	}
	word = strings.ToLower(word)
	best, least := "", 3
	for _, c := range candidates {
		// At most a third of the letters may differ, so that "to" is not "id".
		if d := distance(word, c); d < least && d <= max(len(c), len(word))/3 {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of bytes to be inserted, deleted or changed (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
