package integration

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// TestEventsMoveToPostgresAndBack: what a directory holds undelivered goes on from a database,
// and what that has goes on from a directory. Nothing is lost, and nothing that was delivered
// is delivered again. All is done word by word as the page says, from making the role on.
func TestEventsMoveToPostgresAndBack(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	page := readMovePage(t)
	server.Script(t, "postgres", page.setUp)
	server.RequirePasswords(t, "relay_owner")
	well, held := newReceiver(t), newReceiver(t)
	lines := subscribed("well", well) + subscribed("held", held, "topics order.*")
	old := run(t, lines)
	mustRelay := func(c *instance, args ...string) result {
		t.Helper()
		r := c.relay(args...)
		if r.code != 0 {
			t.Fatal(r)
		}
		return r
	}
	mustRelay(old, "pause", "held")
	var ids []string
	for i := range 20 {
		ids = append(ids, old.accept("order.paid", fmt.Sprintf(`{"order": %d}`, i), "Idempotency-Key", fmt.Sprint("order-", i)).ID)
	}
	well.want(20)
	old.delivered("well", ids)
	if code := old.stop(); code != 0 {
		t.Fatalf("stopped with %d", code)
	}
	file := old.path("backlog.ndjson")
	wantOutput(t, old.caddy(page.command(t, "export --offline", old, file)...))

	database := run(t, lines, func(c *instance) {
		c.storage = "\t\t" + page.storage
		dsn := strings.Replace(page.dsn, "db.example.com", fmt.Sprintf("127.0.0.1:%d", server.Port), 1)
		c.env = append(c.env, "RELAY_POSTGRES_DSN="+strings.Replace(dsn, "verify-full", "disable", 1))
	})
	wantOutput(t, database.caddy(page.command(t, "import", database, file)...), "imported 20 events and 20 idempotency keys")
	wantOutput(t, database.relay("import", file), "imported 0 events and 0 idempotency keys; 20 and 20 were here already")
	database.kill()
	database.start()
	again := database.accepted(database.post("/v1/events/order.paid", `{"order": 7}`, "Idempotency-Key", "order-7", "Content-Type", "application/json"))
	if again.ID != ids[7] || !again.Duplicate {
		t.Errorf("a repeat is answered %+v; want a duplicate of %s", again, ids[7])
	}
	if s := database.subscription("held"); s.State != "paused" || s.Pending != 20 {
		t.Errorf("%+v; want the pause, and 20 that wait", s)
	}
	mustRelay(database, "resume", "held")
	deliveredOnce(t, held, ids)
	database.drained()
	deliveredOnce(t, well, ids)

	mustRelay(database, "pause", "held")
	last := database.accept("order.paid", `{"order":"last"}`, "Idempotency-Key", "last").ID
	well.want(21)
	database.delivered("well", []string{last})
	back := database.path("backlog.ndjson")
	wantOutput(t, database.caddy(page.command(t, "export backlog", database, back)...))
	if code := database.stop(); code != 0 {
		t.Fatalf("stopped with %d", code)
	}
	third := run(t, lines)
	wantOutput(t, third.relay("import", back), "imported 1 event and 21 idempotency keys")
	mustRelay(third, "resume", "held")
	deliveredOnce(t, held, append([]string{last}, ids...))
	third.drained()
	deliveredOnce(t, well, append([]string{last}, ids...))
}

// movePage is what the page says of PostgreSQL, in the words that a reader types.
type movePage struct {
	// setUp is for psql, storage a line of the Caddyfile.
	setUp, storage, dsn string
	commands            []string
}

func readMovePage(t *testing.T) movePage {
	t.Helper()
	text, err := os.ReadFile("../docs/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	first := func(pattern string) string {
		found := regexp.MustCompile(pattern).FindSubmatch(text)
		if found == nil {
			t.Fatalf("the page has nothing like %s", pattern)
		}
		return string(found[1])
	}
	p := movePage{
		setUp:   first("(?s)```sql\n(CREATE ROLE.*?)```"),
		storage: first("(storage postgres {env.RELAY_POSTGRES_DSN})"),
		dsn:     first("\n(postgres://\\S+)"),
	}
	// The superuser of the server has the name that the page gives the role.
	p.setUp = strings.NewReplacer("ROLE relay ", "ROLE relay_owner ", "AUTHORIZATION relay;", "AUTHORIZATION relay_owner;").Replace(p.setUp)
	p.dsn = strings.Replace(p.dsn, "relay:", "relay_owner:", 1)
	moving := first("(?s)\n## Moving\n(.*?)\n## ")
	for _, found := range regexp.MustCompile("`(caddy relay [^`]+)`").FindAllStringSubmatch(moving, -1) {
		p.commands = append(p.commands, found[1])
	}
	return p
}

// command returns the arguments of the one that begins so, for an instance and a file.
func (p *movePage) command(t *testing.T, begin string, c *instance, file string) []string {
	t.Helper()
	i := slices.IndexFunc(p.commands, func(s string) bool { return strings.HasPrefix(s, "caddy relay "+begin) })
	if i < 0 {
		t.Fatalf("the page has no command that begins with %q: %q", begin, p.commands)
	}
	line := strings.NewReplacer("/var/lib/caddy/relay", c.store(), "backlog.ndjson", file).Replace(p.commands[i])
	args := strings.Fields(line)[1:]
	if !strings.Contains(line, "--offline") {
		args = append(args, "--address", c.admin())
	}
	return args
}

// delivered waits until the relay itself knows of these deliveries.
func (c *instance) delivered(subscription string, ids []string) {
	c.t.Helper()
	for _, id := range ids {
		c.wantDelivery(id, subscription, stateDelivered, "")
	}
}
