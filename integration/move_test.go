package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// deliveredOnce checks that each of these came once and no more.
func deliveredOnce(t *testing.T, r *receiver, ids []string) {
	t.Helper()
	came := make(map[string]int)
	for _, a := range r.want(len(ids)) {
		came[a.id()]++
	}
	for _, id := range ids {
		if came[id] != 1 {
			t.Errorf("%s came %d times; want once", id, came[id])
		}
		delete(came, id)
	}
	for id, n := range came {
		t.Errorf("%s came %d times, and was not expected", id, n)
	}
}

// What a host leaves undelivered goes on at another one: nothing is lost, and nothing that was
// delivered is delivered again.
func TestEventsMoveToAnotherHost(t *testing.T) {
	t.Parallel()
	well, held, sick := newReceiver(t), newReceiver(t), newReceiver(t)
	sick.answer(with(http.StatusInternalServerError))
	subscriptions := func(sick *receiver) string {
		return subscribed("well", well) + subscribed("held", held, "topics order.*") + subscribed("sick", sick, "topics order.*", "retry 1h 1h", "breaker off")
	}
	old := run(t, subscriptions(sick))
	if r := old.relay("pause", "held", "--reason", "we move"); r.code != 0 {
		t.Fatal(r)
	}
	var ids []string
	for i := range 30 {
		ids = append(ids, old.accept("order.paid", fmt.Sprintf(`{"order": %d}`, i), "Idempotency-Key", fmt.Sprint("order-", i)).ID)
	}
	done := old.accept("invoice.sent", `1`).ID
	well.want(31)
	eventually(t, func() bool { return len(sick.got()) >= 30 && old.subscription("sick").InFlight == 0 }, func() string { return "sick was not tried" })

	if r := old.relay("export", "--offline", old.store()); r.code == 0 || !strings.Contains(r.errors, "stop that Caddy first") {
		t.Errorf("an export of a store that is open: %s", r)
	}
	if code := old.stop(); code != 0 {
		t.Fatalf("stopped with %d", code)
	}
	file := old.path("backlog.ndjson")
	wantOutput(t, old.caddy("relay", "export", "--offline", old.store(), file))
	if r := old.caddy("relay", "export", "--offline", old.store(), file); r.code == 0 {
		t.Errorf("a file was overwritten: %s", r)
	}
	attempts := len(sick.got())

	// The other host is in use already.
	healed := newReceiver(t)
	other := run(t, subscriptions(healed))
	own := other.accept("invoice.sent", `2`).ID
	whole := old.file("backlog.ndjson")
	for name, bad := range map[string]string{
		"cut":     whole[:len(whole)*2/3],
		"short":   whole[:strings.LastIndex(whole[:len(whole)-1], "\n")+1],
		"changed": strings.Replace(whole, `"attempt_count":`, `"attempt_count":1`, 1),
		"empty":   "",
		"foreign": "{\"hello\":1}\n",
	} {
		r := other.relay("import", other.write(name, bad))
		if r.code == 0 || !strings.Contains(r.errors, "nothing was imported") {
			t.Errorf("%s: %s", name, r)
		}
	}
	if n := len(other.events()); n != 1 {
		t.Errorf("%d events after imports that were refused; want 1", n)
	}

	wantOutput(t, other.relay("import", file), "imported 30 events and 30 idempotency keys")
	wantOutput(t, other.relay("import", file), "imported 0 events and 0 idempotency keys; 30 and 30 were here already")
	if s := other.subscription("held"); s.State != "paused" || s.Pending != 30 {
		t.Errorf("%+v; want the pause, and 30 that wait", s)
	}
	if r := other.relay("resume", "held"); r.code != 0 {
		t.Fatal(r)
	}
	if r := other.relay("resume", "sick"); r.code != 0 {
		t.Fatal(r)
	}
	deliveredOnce(t, held, ids)
	deliveredOnce(t, healed, ids)
	deliveredOnce(t, well, append([]string{done, own}, ids...))
	if n := len(sick.got()); n != attempts {
		t.Errorf("the old endpoint got %d more", n-attempts)
	}
	for _, a := range healed.got() {
		if a.header.Get("Relay-Attempt") == "1" {
			t.Errorf("%s comes as the first attempt; it was tried before", a.id())
		}
	}
	d := other.wantDelivery(ids[7], "sick", stateDelivered, "")
	if len(d.Attempts) < 2 || d.Attempts[0].Status != 500 || d.Attempts[len(d.Attempts)-1].Status != 200 {
		t.Errorf("its attempts are %+v; want those of both hosts", d.Attempts)
	}
	// A sender that repeats itself is answered as before.
	again := other.accepted(other.post("/v1/events/order.paid", `{"order": 7}`, "Idempotency-Key", "order-7", "Content-Type", "application/json"))
	if again.ID != ids[7] || !again.Duplicate {
		t.Errorf("a repeat is answered %+v; want a duplicate of %s", again, ids[7])
	}

	// All of it survives a crash, and what is there can be moved on, over HTTP.
	other.kill()
	other.start()
	other.wantDelivery(ids[7], "held", stateDelivered, "")
	wantOutput(t, other.caddy("relay", "doctor", "--address", other.admin()), "0 failures")
	var exported, kept strings.Builder
	for line := range strings.Lines(string(other.get("/relay/export?select=all").body)) {
		var l struct {
			Event *struct{ ID string }
			End   *struct{ Events int }
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Event != nil {
			fmt.Fprintln(&exported, l.Event.ID)
		}
		if l.End != nil && l.End.Events != 31 {
			t.Errorf("%d events were exported; want 31", l.End.Events)
		}
	}
	fmt.Fprintln(&kept, own)
	for _, id := range ids {
		fmt.Fprintln(&kept, id)
	}
	if exported.String() != kept.String() {
		t.Errorf("exported are\n%s\nwant\n%s", &exported, &kept)
	}
	if code := other.stop(); code != 0 {
		t.Fatalf("stopped with %d", code)
	}
	wantOutput(t, other.caddy("relay", "doctor", "--storage", other.store()), "31 events read", "nothing is missing")
	other.start()
}

// An export holds what the admin API shows and nothing of a body that was erased.
func TestExportHoldsNothingErased(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r, "paused"))
	id := c.accept("order.paid", `{"customer":"jane.doe.4711"}`).ID
	c.accept("order.paid", `{"customer":"nobody"}`)
	if a := c.adminRequest(http.MethodDelete, "/relay/events/"+id, ""); a.status != http.StatusOK {
		t.Fatal(a)
	}
	wantOutput(t, c.relay("export", "--all", c.path("all")))
	raw, err := os.ReadFile(c.path("all"))
	if err != nil {
		t.Fatal(err)
	}
	// "jane.doe.4711" in base64, at each of the three offsets.
	for _, private := range []string{"jane.doe.4711", "amFuZS5kb2UuNDcxM", "phbmUuZG9lLjQ3MT", "qYW5lLmRvZS40NzEx"} {
		if strings.Contains(string(raw), private) {
			t.Errorf("the export holds %q", private)
		}
	}
	if !strings.Contains(string(raw), id) {
		t.Error("the erased event is not in it at all")
	}
}
