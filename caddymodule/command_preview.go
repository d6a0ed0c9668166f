package caddymodule

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// printPreview shows what would become of an event: of each subscription the clauses, and of
// those that match the request.
func printPreview(w io.Writer, body []byte) error {
	var all page[preview]
	if err := decode(body, &all); err != nil {
		return err
	}
	for _, p := range all.Items {
		fmt.Fprintf(w, "%s  %d bytes; nothing is stored or sent\n", p.Type, p.Size)
		for i := range p.Subscriptions {
			s := &p.Subscriptions[i]
			verdict := "does not match"
			if s.Matches {
				verdict = "matches"
			}
			fmt.Fprintf(w, "\n%s: %s\n", s.Subscription, verdict)
			printClauses(w, s.Clauses)
			if s.Error != "" {
				fmt.Fprintf(w, "  no request can be made: %s\n", s.Error)
			}
			if s.Request != nil {
				printRequest(w, s.Request)
			}
		}
	}
	return nil
}

func printRequest(w io.Writer, r *requestPreview) {
	fmt.Fprintf(w, "  %s\n", r.Method)
	for _, field := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[field] {
			fmt.Fprintf(w, "  %s: %s\n", field, value)
		}
	}
	for _, word := range r.Added {
		for _, value := range word.Values {
			fmt.Fprintf(w, "  and by the word %s: %s\n", word.Word, value)
		}
	}
	switch {
	case len(r.Base64) > 0:
		fmt.Fprintf(w, "\n  %d bytes that are no text\n", len(r.Base64))
	case r.Body != "":
		fmt.Fprintf(w, "\n  %s\n", strings.ReplaceAll(strings.TrimRight(r.Body, "\n"), "\n", "\n  "))
	}
}
