package console

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyrelay/caddyrelay/relay"
)

// subscriptionList is the page of subscriptions.
type subscriptionList struct {
	Name, Show string
	Rows       []relay.SubscriptionStatus
	// Total is the number of those that the filter leaves, First that of the first row.
	Total, First       int
	Earlier, Following string
}

// Choices are the values of Show.
func (*subscriptionList) Choices() []choice {
	return []choice{
		{"", "all"},
		{"trouble", "in trouble"},
		{"pending", "with a backlog"},
		{"failed", "with failed deliveries"},
		{"active", "active"},
		{"paused", "paused"},
		{"disabled", "disabled"},
		{"gone", "gone"},
	}
}

// choice is an option of a form.
type choice struct{ Value, Label string }

// subscriptionsShown is the number of rows of the page.
const subscriptionsShown = 100

func (v *visit) subscriptions() error {
	all, err := v.engine.Status(v.context())
	if err != nil {
		return err
	}
	list := subscriptionList{Name: strings.ToLower(v.query("name")), Show: v.query("show")}
	if !slices.ContainsFunc(list.Choices(), func(c choice) bool { return c.Value == list.Show }) {
		return &pageError{http.StatusBadRequest, fmt.Sprintf("There is no choice %.40q.", list.Show)}
	}
	all = slices.DeleteFunc(all, func(s relay.SubscriptionStatus) bool {
		return !strings.Contains(s.Name, list.Name) || !shownAs(&s, list.Show)
	})
	list.Total = len(all)
	if from := v.query("from"); from != "" {
		if list.First, err = strconv.Atoi(from); err != nil || list.First < 0 {
			return &pageError{http.StatusBadRequest, "There is no such page of the list."}
		}
	}
	list.First = min(list.First, list.Total)
	last := min(list.First+subscriptionsShown, list.Total)
	list.Rows = all[list.First:last]
	if last < list.Total {
		list.Following = v.with("from", strconv.Itoa(last))
	}
	if list.First > 0 {
		list.Earlier = v.with("from", strconv.Itoa(max(0, list.First-subscriptionsShown)))
	}
	return v.show("subscriptions", "Subscriptions", &list)
}

func shownAs(s *relay.SubscriptionStatus, show string) bool {
	switch show {
	case "":
		return true
	case "trouble":
		return troubled(s)
	case "pending":
		return s.Pending > 0
	case "failed":
		return s.Failed > 0
	}
	return string(s.State) == show
}

// troubled reports whether somebody should look at a subscription: it is held, though not
// by the wish of an operator, or its attempts fail.
func troubled(s *relay.SubscriptionStatus) bool {
	return s.Reason != relay.ReasonNone && s.Reason != relay.ReasonPaused || !s.FailingSince.IsZero()
}

// subscriptionPage is one subscription.
type subscriptionPage struct {
	Status relay.SubscriptionStatus
	// Setup is nil if the configuration has it no more.
	Setup *Subscription
	// Rates and Backlog are charts; nil: no history.
	Rates   *rateChart
	Backlog *backlogChart
}

// Detail is what the reason does not say yet.
func (p *subscriptionPage) Detail() string {
	if p.Status.Reason == relay.ReasonBreaker || p.Status.Reason == relay.ReasonGone {
		return ""
	}
	return p.Status.Detail
}

func (v *visit) subscription() error {
	name := v.param("name")
	status, err := v.engine.SubscriptionStatus(v.context(), name)
	if err != nil {
		return err
	}
	p := subscriptionPage{Status: status, Rates: v.spark(name), Backlog: v.backlog(name, status.Pending)}
	if s, ok := v.options.Setup.Subscription(name); ok {
		p.Setup = &s
	}
	return v.show("subscription", name, &p)
}
