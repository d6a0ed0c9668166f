package integration

import (
	"fmt"
	"testing"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// TestEventsMoveToPostgresAndBack: what a directory holds undelivered goes on from a database,
// and what that has goes on from a directory. Nothing is lost, and nothing that was delivered
// is delivered again.
func TestEventsMoveToPostgresAndBack(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
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
	wantOutput(t, old.caddy("relay", "export", "--offline", old.store(), file))

	database := run(t, lines, withPostgres(server))
	wantOutput(t, database.relay("import", file), "imported 20 events and 20 idempotency keys")
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
	wantOutput(t, database.relay("export", back))
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

// delivered waits until the relay itself knows of these deliveries.
func (c *instance) delivered(subscription string, ids []string) {
	c.t.Helper()
	for _, id := range ids {
		c.wantDelivery(id, subscription, stateDelivered, "")
	}
}
