package caddymodule

import (
	"cmp"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/relay/topic"
)

// newPlan makes the plan of a configuration that was checked and whose guests are
// loaded. It resolves secrets; they are kept in the plan, and nowhere else.
func (a *App) newPlan() (*relay.Plan, error) {
	a.egress = make([]*egress.Region, len(a.Regions))
	for i, r := range a.Regions {
		a.egress[i] = r.built
	}
	transports := newTransports()
	subscriptions := make([]*relay.Subscription, len(a.Subscriptions))
	for i, s := range a.Subscriptions {
		built, err := a.build(s, transports)
		if err != nil {
			return nil, err
		}
		subscriptions[i] = built
	}
	a.transports = transports.all()
	published, err := a.published()
	if err != nil {
		return nil, err
	}
	return relay.NewPlan(relay.PlanOptions{
		Subscriptions: subscriptions,
		Retention:     a.Retention.build(),
		Egress:        published,
		Regions:       a.egress,
		Notice:        time.Duration(a.Notice),
		UserAgent:     userAgent(),
		Logger:        a.logger.Named("delivery"),
		Observer:      a.observer(),
		Tracer:        a.tracing.tracer(),
	})
}

// build makes what the engine knows of a subscription.
func (a *App) build(s *Subscription, transports *transports) (*relay.Subscription, error) {
	settings := &s.effective
	region, err := a.regionOf(settings.Region)
	if err != nil {
		return nil, s.wrap(err)
	}
	rules, err := settings.rules()
	if err != nil {
		return nil, s.wrap(err)
	}
	rules.Own, rules.Regional = destination.OwnAddresses, a.regional()
	guard, err := destination.New(rules)
	if err != nil {
		return nil, s.wrap(err)
	}
	target, template, err := resolveURL(s.URL, guard, region)
	if err != nil {
		return nil, s.wrap(err)
	}
	header, err := headerRules(settings.Header, settings.SecretHeader)
	if err != nil {
		return nil, s.wrap(err)
	}
	topics, err := parseTopics(settings.Topics)
	if err != nil {
		return nil, s.wrap(err)
	}
	filters, err := settings.buildFilters()
	if err != nil {
		return nil, s.wrap(err)
	}
	maxInFlight := cmp.Or(settings.MaxInFlight, relay.DefaultMaxInFlight)
	r := route{
		region:         region,
		guard:          guard,
		rules:          rules,
		connectTimeout: cmp.Or(time.Duration(settings.ConnectTimeout), relay.DefaultConnectTimeout),
	}
	credentials, err := transports.credentials(settings, r)
	if err != nil {
		return nil, s.wrap(err)
	}
	awaited, err := settings.WaitFor.build(transports, r)
	if err != nil {
		return nil, s.wrap(err)
	}
	if err := transports.tls(a.ctx, settings, &r); err != nil {
		return nil, s.wrap(err)
	}
	if text := certificateWarning(r.tls, time.Now()); text != "" {
		s.guestWarnings = append(s.guestWarnings, text)
	}
	connector := transports.get(r)
	connector.transport.Expect(target.Host, maxInFlight)
	built := &relay.Subscription{
		Name:         s.Name,
		Description:  settings.Description,
		Contacts:     settings.Contacts,
		Topics:       topics,
		Filters:      filters,
		Expression:   settings.condition,
		Method:       settings.Method,
		URL:          target,
		URLTemplate:  template,
		Transform:    settings.transform,
		Format:       relay.Format(settings.Format),
		Auth:         credentials.Authorizer,
		Header:       header,
		Signers:      settings.signers,
		Retry:        settings.Retry.policy(),
		Timeout:      time.Duration(settings.Timeout),
		MaxInFlight:  maxInFlight,
		RateLimit:    settings.RateLimit.build(),
		WaitFor:      awaited,
		Breaker:      settings.Breaker.build(),
		DisableAfter: time.Duration(settings.DisableAfter),
		Paused:       settings.Paused,
		PausedReason: settings.PausedReason,
		Transport:    connector.transport,
	}
	if region != nil {
		built.Region, built.Egress = region.Name, connector.dialer.Region
	}
	if settings.OrderBy != "" {
		placeholder, err := relay.ParsePlaceholder(settings.OrderBy)
		if err != nil {
			return nil, s.wrap(err)
		}
		built.OrderBy = &placeholder
	}
	if built.Debounce, err = settings.Debounce.build(); err != nil {
		return nil, s.wrap(err)
	}
	a.survey.places = append(a.survey.places, surveyed{subscription: s.Name, url: target, dialer: connector.dialer, maxInFlight: maxInFlight})
	if awaited != nil {
		transports.get(r.withoutTLS()).transport.Expect(awaited.URL.Host, maxInFlight)
		a.survey.places = append(a.survey.places, surveyed{
			subscription: s.Name, word: "wait_for", url: awaited.URL, dialer: connector.dialer, maxInFlight: maxInFlight,
		})
	}
	for _, server := range credentials.servers {
		a.survey.places = append(a.survey.places, surveyed{subscription: s.Name, word: "auth", url: server, dialer: connector.dialer, maxInFlight: 1})
	}
	return built, nil
}

func parseTopics(patterns []string) ([]topic.Pattern, error) {
	topics := make([]topic.Pattern, len(patterns))
	for i, text := range patterns {
		p, err := topic.Parse(text)
		if err != nil {
			return nil, err
		}
		topics[i] = p
	}
	return topics, nil
}
