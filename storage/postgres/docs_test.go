package postgres

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

var (
	sqlBlock  = regexp.MustCompile("(?s)```sql\n(.*?)```")
	sqlSelect = regexp.MustCompile(`(?s)SELECT .*?;`)
)

// TestDocumentedQueries: what the documentation asks of the tables they answer.
func TestDocumentedQueries(t *testing.T) {
	page, err := os.ReadFile("../../docs/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	s := openWith(t, options(t))
	e := &relay.Event{Type: "order.paid"}
	if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: e, Targets: []relay.Target{{Subscription: "crm"}}}}}, nil); err != nil {
		t.Fatal(err)
	}
	update := relay.Update{
		Progress: relay.Progress{Subscription: "crm", Low: 1, Open: 1},
		Attempts: []relay.AttemptRecord{{Seq: e.Seq, Attempt: relay.Attempt{Number: 1, ErrorKind: relay.KindDNS, Error: "\x00"}}},
	}
	if err := s.Commit(t.Context(), []relay.Update{update}); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, block := range sqlBlock.FindAllStringSubmatch(string(page), -1) {
		for _, query := range sqlSelect.FindAllString(block[1], -1) {
			found++
			rows, err := s.pool.Load().Query(t.Context(), strings.TrimSuffix(query, ";"))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for rows.Next() {
				n++
			}
			if err := rows.Err(); err != nil || n != 1 {
				t.Errorf("%s\nanswers %d rows, %v; want 1", query, n, err)
			}
		}
	}
	if found < 2 {
		t.Errorf("only %d queries were found", found)
	}
}
