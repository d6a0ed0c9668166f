package console

import (
	"net/http"
	"strconv"

	"github.com/caddyrelay/caddyrelay/relay"
)

// eventPage is one event.
type eventPage struct {
	Event   *relay.Event
	Payload shownPayload
	Raw     bool
	// Deliveries are some of them, from First on.
	Deliveries         []relay.Delivery
	First, Total       int
	Earlier, Following string
	// Others are subscriptions that did not get it; MoreOthers says that there are more.
	Others     []string
	MoreOthers bool
	// Explained is why one subscription got it, or did not.
	Explained *relay.Explanation
}

// othersShown is how many names of subscriptions a page lists.
const othersShown = 100

func (v *visit) event() error {
	e, err := v.engine.Event(v.context(), v.param("id"))
	if err != nil {
		return err
	}
	p := eventPage{Event: e, Total: len(e.Deliveries), Raw: len(v.redact) == 0 && e.Erased.IsZero() && e.Size > 0}
	var hidden []string
	p.Payload, hidden = v.eventPayload(e)
	if from := v.query("from"); from != "" {
		if p.First, err = strconv.Atoi(from); err != nil || p.First < 0 || p.First > p.Total {
			return &pageError{http.StatusBadRequest, "There is no such page of the event's deliveries."}
		}
	}
	last := min(p.First+pageSize, p.Total)
	if p.Deliveries, err = v.engine.DeliveriesOf(v.context(), e, e.Deliveries[p.First:last]); err != nil {
		return err
	}
	if last < p.Total {
		p.Following = v.with("from", strconv.Itoa(last))
	}
	if p.First > 0 {
		p.Earlier = v.with("from", strconv.Itoa(max(0, p.First-pageSize)))
	}
	v.others(&p)
	if name := v.query("explain"); name != "" {
		if p.Explained, err = v.engine.Explain(v.context(), e.ID, name); err != nil {
			return err
		}
		v.hideFound(p.Explained, hidden)
	}
	return v.show("event", e.Type, &p)
}

// others finds subscriptions that the event was not meant for.
func (v *visit) others(p *eventPage) {
	has := make(map[string]bool, len(p.Event.Deliveries))
	for _, d := range p.Event.Deliveries {
		has[d.Subscription] = true
	}
	for _, name := range v.options.Setup.Names() {
		switch {
		case has[name]:
		case len(p.Others) == othersShown:
			p.MoreOthers = true
			return
		default:
			p.Others = append(p.Others, name)
		}
	}
}

// hideFound takes what is not to be shown out of an explanation, which quotes the data.
func (v *visit) hideFound(x *relay.Explanation, hidden []string) {
	for i := range x.Clauses {
		c := &x.Clauses[i]
		switch {
		case c.Word == "topics" || c.Word == "Relay-Subscriptions": // not from the data
		case !v.payloads, v.redact.quotedBy(c.Text):
			c.Found = "(not shown)"
		default:
			c.Found = veil(c.Found, hidden)
		}
	}
}
