package caddymodule

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

// When the storage fails, status and doctor are what an operator turns to: they answer, and
// say what has happened. Here the directory is taken away from under it.
func TestDoctorTellsOfAStorageThatIsAway(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.running.load(config{admin: c.socket, subscriptions: "[" + r.subscription("crm") + "]"})
	c.running.publish("order.paid")
	r.want(t, 1)
	if err := os.Rename(c.dir, c.dir+".away"); err != nil {
		t.Fatal(err)
	}
	back := func() {
		if err := os.Rename(c.dir+".away", c.dir); err != nil {
			t.Error(err)
		}
	}
	var s status
	eventually(t, func() bool {
		c.want(http.StatusOK, "GET /relay/status", "", &s)
		return s.Storage.Error != ""
	}, func() string { return "the status has no error" })
	if s.Storage.Location != c.dir || s.Storage.Events != 1 || len(s.Subscriptions) != 1 {
		t.Errorf("the status is %+v", s)
	}
	out, err := c.run("doctor")
	if err == nil {
		t.Error("doctor finds nothing wrong")
	}
	for _, want := range []string{" ok    running instance", " FAIL  storage ", "the store is gone from " + c.dir, "put it back or mount it again", "subscription crm"} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor lacks %q:\n%s", want, out)
		}
	}
	back()
	eventually(t, func() bool {
		c.want(http.StatusOK, "GET /relay/status", "", &s)
		return s.Storage.Error == ""
	}, func() string { return "it does not go on: " + s.Storage.Error })
}
