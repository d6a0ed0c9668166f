package caddymodule

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Where a setting comes from.
const (
	fromSubscription = "subscription" // its own line
	fromDefaults     = "defaults"
	fromNobody       = "built-in"
)

// effectiveSetting is a word of a subscription with what it comes to.
type effectiveSetting struct {
	Word string `json:"word"`
	// Values are what stands behind the word, line by line; empty for none.
	Values []string `json:"values"`
	From   string   `json:"from"`
}

// subscriptionDetails is what GET /relay/subscriptions/{name} answers.
type subscriptionDetails struct {
	subscriptionStatus
	// URL is as configured: placeholders stay placeholders. It is empty, and so are
	// Settings, if the subscription is gone from the configuration.
	URL      string             `json:"url"`
	Settings []effectiveSetting `json:"settings"`
}

// adminSubscription answers GET /relay/subscriptions/{name}.
func adminSubscription(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	name := r.PathValue("id")
	all, err := engine.Status(r.Context())
	if err != nil {
		return engineError(err)
	}
	i := slices.IndexFunc(all, func(s relay.SubscriptionStatus) bool { return s.Name == name })
	if i < 0 {
		return unknownSubscription(name, all)
	}
	details := subscriptionDetails{subscriptionStatus: a.showSubscription(&all[i]), Settings: []effectiveSetting{}}
	if i := slices.IndexFunc(a.Subscriptions, func(s *Subscription) bool { return s.Name == name }); i >= 0 {
		details.URL, details.Settings = a.Subscriptions[i].URL, a.effective(a.Subscriptions[i])
	}
	return writeJSON(w, http.StatusOK, details)
}

// unknownSubscription is the error for a name that none of them has.
func unknownSubscription(name string, all []relay.SubscriptionStatus) error {
	known := make([]string, len(all))
	for i := range all {
		known[i] = all[i].Name
	}
	return adminError(http.StatusNotFound, fmt.Errorf("there is no subscription named %q%s", name, didYouMean(name, known)))
}

// effective returns every word of a subscription with where it comes from.
func (a *App) effective(s *Subscription) []effectiveSetting {
	all := make([]effectiveSetting, len(allSettings))
	for i := range allSettings {
		row := &allSettings[i]
		e := effectiveSetting{Word: row.word, Values: row.show(&s.configured), From: fromSubscription}
		if len(e.Values) == 0 {
			e.Values, e.From = row.show(&a.configured), fromDefaults
		}
		if len(e.Values) == 0 {
			e.Values, e.From = a.otherwise(row), fromNobody
		}
		all[i] = e
	}
	return all
}

// otherwise returns what holds where nobody says anything.
func (a *App) otherwise(row *setting) []string {
	switch row.otherwise {
	case otherwiseNone:
		return []string{}
	case otherwiseRegion:
		if r, err := a.regionOf(""); err == nil && r != nil {
			return []string{r.Name}
		}
		return []string{}
	}
	return []string{row.otherwise}
}
