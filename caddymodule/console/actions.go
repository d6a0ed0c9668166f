package console

import (
	"net/url"

	"github.com/caddyrelay/caddyrelay/relay"
)

// question is a page that asks before something is done.
type question struct {
	// Text says what would happen, Do is what the button says. Grave: it cannot be undone.
	Text, Do string
	Grave    bool
	// Back is the page that asked, relative to the mount.
	Back string
	// Reason asks for one.
	Reason bool
}

func subscriptionPath(name string) string { return "subscriptions/" + url.PathEscape(name) }

// askReplay asks before something is sent that has arrived already.
func (v *visit) askReplay() error {
	id, subscription := v.param("id"), v.param("subscription")
	return v.show("question", "Replay "+id, &question{
		Text: "The event " + id + " is delivered to " + subscription + " once more. The receiver sees the same webhook-id, and may take it for what it has.",
		Do:   "Replay", Back: deliveryPath(id, subscription),
	})
}

func (v *visit) replay() error {
	id, subscription := v.param("id"), v.param("subscription")
	if err := v.engine.Replay(v.context(), id, subscription); err != nil {
		return err
	}
	return v.goOn(deliveryPath(id, subscription) + "?done=replayed")
}

func (v *visit) askPause() error {
	return v.show("question", "Pause "+v.param("name"), &question{
		Text: "Deliveries to " + v.param("name") + " are held until it is resumed. Nothing is lost, and events are still taken.",
		Do:   "Pause", Back: subscriptionPath(v.param("name")), Reason: true,
	})
}

func (v *visit) pause() error {
	return v.steer("paused", func(name string) error {
		_, err := v.engine.Pause(v.context(), name, v.form("reason"))
		return err
	})
}

func (v *visit) resume() error {
	return v.steer("resumed", func(name string) error {
		_, err := v.engine.Resume(v.context(), name)
		return err
	})
}

func (v *visit) askDrop() error {
	status, err := v.engine.SubscriptionStatus(v.context(), v.param("name"))
	if err != nil {
		return err
	}
	name := v.param("name")
	return v.show("question", "Drop what waits for "+name, &question{
		Text: "All that waits for " + name + " is given up: " + number(status.Pending) + " at present. It is recorded as failed, reason dropped, and is not attempted again by itself. Single deliveries can be replayed as long as they are kept.",
		Do:   "Give it up", Grave: true, Back: subscriptionPath(name),
	})
}

func (v *visit) drop() error {
	return v.steer("dropped", func(name string) error {
		_, err := v.engine.Drop(v.context(), name)
		return err
	})
}

// steer changes a subscription, and goes back to its page.
func (v *visit) steer(done string, change func(name string) error) error {
	name := v.param("name")
	if err := change(name); err != nil {
		return err
	}
	return v.goOn(subscriptionPath(name) + "?done=" + done)
}

// test sends a test event, and goes to its delivery.
func (v *visit) test() error {
	receipt, err := v.engine.Test(v.context(), v.param("name"))
	if err != nil {
		return err
	}
	return v.goOn(deliveryPath(receipt.ID, v.param("name")) + "?done=tested")
}

// doneTexts say what was just done, by the parameter done.
var doneTexts = map[string]string{
	"replayed":  "The delivery was reopened: its schedule begins anew.",
	"paused":    "The subscription is paused.",
	"resumed":   "The subscription is resumed: everything held or retrying is due at once.",
	"dropped":   "What waited was given up.",
	"tested":    "A test event was sent. This is its delivery.",
	"cancelled": "The job is cancelled. What it has reopened until then stays so.",
	"sent":      "The event is stored.",
}

// Done says what was just done.
func (f *frame) Done() string { return doneTexts[f.query("done")] }

// recoverPage is the form of a replay of many.
type recoverPage struct {
	Status              relay.SubscriptionStatus
	Select              string
	Since, Until, Error string
	Choices             []choice
}

// recoverChoices are what a replay can be of.
var recoverChoices = []choice{
	{string(relay.SelectFailed), "Failed: deliveries that were given up"},
	{string(relay.SelectMissing), "Missing: events that match today and were never meant for it, also from before it existed"},
	{string(relay.SelectAll), "All: every finished delivery, delivered ones too"},
}

func (v *visit) askRecover() error {
	return v.recoverForm(&recoverPage{Select: v.query("select"), Since: v.query("since"), Until: v.query("until")})
}

func (v *visit) recoverForm(p *recoverPage) error {
	var err error
	if p.Status, err = v.engine.SubscriptionStatus(v.context(), v.param("name")); err != nil {
		return err
	}
	if p.Choices = recoverChoices; p.Select == "" {
		p.Select = string(relay.SelectFailed)
	}
	return v.show("recover", "Replay many to "+v.param("name"), p)
}
