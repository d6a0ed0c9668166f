package integration

import (
	"fmt"
	"net/http"
	"testing"
)

// F16, head to head. A POST is answered 302 to a login page, as by an endpoint that was
// moved behind a login. A client that follows it, as Go's does by default, asks for the
// page with a GET without the body, and gets 200: Convoy and Outpost, whose clients follow
// redirects (read in their code of August 2026), count that as delivered, though nobody
// has taken the event. Here it is one failed attempt of one request, and the page hears
// nothing.
func TestHeadToHeadA302ToAPageThatAnswers200IsOneFailedAttemptOfOneRequest(t *testing.T) {
	t.Parallel()
	r, page := newReceiver(t), newReceiver(t)
	page.answer(func(w http.ResponseWriter, _ *arrival) { fmt.Fprint(w, "<form>Please log in</form>") })
	r.answer(with(http.StatusFound, "Location", page.url()+"/login"))
	// The control: Go's client follows it and sees a success.
	a := answer{}
	if req, err := http.NewRequest(http.MethodPost, r.url(), http.NoBody); err == nil {
		a = do(clientOf, req)
	}
	if a.status != http.StatusOK || len(page.wantExactly(1)) != 1 {
		t.Fatalf("a client that follows redirects got %s; want the page", a)
	}

	c := run(t, subscribed("crm", r, "retry off"))
	id := c.accept("order.paid", `{"order":1}`).ID
	d := c.wantDelivery(id, "crm", stateFailed, "schedule")
	if d.AttemptCount != 1 || len(d.Attempts) != 1 || d.Attempts[0].Status != http.StatusFound || d.Attempts[0].ErrorKind != "3xx" {
		t.Errorf("%+v; want one failed attempt of a 302", d)
	}
	if s := c.subscription("crm"); s.Failed != 1 || s.LastSuccess != nil {
		t.Errorf("%+v; want one failed, and no success", s)
	}
	if got := r.wantExactly(2); got[1].id() != id {
		t.Errorf("%s came", got[1].id())
	}
	page.wantExactly(1) // of the control
}
