package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddyrelay/caddyrelay/relay/catalogue"
)

func init() { httpcaddyfile.RegisterGlobalOption("relay", parseOption) }

func parseOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("relay: the option stands twice; put everything into one block (import works inside it)")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "relay", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile reads the global option:
//
//	relay {
//		storage badger [<directory>] {
//			min_free <size>
//			max_size <size>
//			encryption_key <secret>
//			accept_loss <token>
//		}
//		retention {
//			delivered <duration>
//			failed <duration>
//			idempotency_keys <duration>
//		}
//		region <name> [<ip>...] {
//			egress <ip>... [as <public ip>] [from <time>] [until <time>]
//			egress auto as <public ip or prefix> [from <time>] [until <time>]
//			prefer ipv4|ipv6
//			resolvers <address[:port]>...
//			network_proxy none|url <url>
//		}
//		notice <duration>
//		event <type> {
//			description <text>
//			schema <file>
//		}
//		defaults {
//			<any word of a subscription>
//		}
//		subscription <name> <url> [<topic>...] {
//			description <text>
//			contact <url>...
//			topics <pattern>...
//			filter [not] <path> equals|in|regexp|exists [<value>...]
//			filters <JSON>
//			expression <CEL>
//			region <name>
//			method POST|PUT|PATCH|GET|DELETE
//			header [+|-]<field> [<value>]
//			secret_header <field> <value>
//			auth basic <user> <password>
//			auth bearer <token>
//			auth oauth2 {
//				token_url <url>
//				client_id <id>
//				client_secret <secret>
//				scopes <scope>...
//				audience <audience>
//			}
//			tls_client_auth <certificate file> <key file>
//			tls_trust_pool <module> ...
//			tls_server_name <name>
//			transform template|jq <text> [<content type>]
//			format data|binary|structured|contentful|phraseanet
//			sign <scheme> [<secret>] {
//				secret <secret> [from <time>] [until <time>]
//			}
//			retry off|[<delay>...] {
//				jitter <share>
//				on_status <status>...
//				give_up_after <duration>
//			}
//			timeout <duration>
//			connect_timeout <duration>
//			max_in_flight <number>
//			rate_limit <events> <window>
//			order_by <placeholder>
//			debounce <window> <placeholder>
//			wait_for <url> {
//				until <CEL>
//				interval <first> [<longest>]
//				timeout <duration>
//				on_timeout deliver|retry|fail
//				header [+|-]<field> [<value>]
//				secret_header <field> <value>
//			}
//			breaker off|<failure ratio> <least attempts> <window> [<pause>]
//			disable_after <duration>
//			allow_ips <prefix>...
//			allow_hosts <name>...
//			paused [<reason>]
//		}
//	}
//
// What the text tells is judged here, with file and line, by the functions that
// Provision calls for JSON.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	p := &optionParser{app: a, d: d, regions: make(map[string]spot), names: make(map[string]spot), events: make(catalogue.Seen)}
	if err := bareBlock(d, p.words()); err != nil {
		return p.explain(err)
	}
	return p.finish()
}

// optionParser is what is known of the option while it is read.
type optionParser struct {
	app *App
	d   *caddyfile.Dispenser
	// regions and names have the places of the regions and the subscriptions.
	regions, names map[string]spot
	events         catalogue.Seen
	// declared are the subscriptions, in their order, and the defaults.
	declared []*declaration
	defaults *declaration
	// open is the line of the last subscription, if it had no block.
	open string
}

// declaration is a set of settings with where it stands.
type declaration struct {
	subscription *Subscription // nil: the defaults
	at           caddyfile.Dispenser
	// region is where the word region stands, nil if it does not.
	region *caddyfile.Dispenser
}

func (p *optionParser) words() vocabulary {
	return vocabulary{
		"storage":      {usage: "storage <engine> ...", most: -1, block: true, parse: p.storage},
		"retention":    {usage: "retention { ... }", block: true, parse: p.retention},
		"region":       {usage: "region <name> [<ip>...]", most: -1, many: true, block: true, parse: p.region},
		"notice":       {usage: "notice <duration>", least: 1, most: 1, parse: p.notice},
		"event":        {usage: "event <type> { ... }", least: 1, most: 1, many: true, block: true, parse: p.eventType},
		"defaults":     {usage: "defaults { ... }", block: true, parse: p.defaultSettings},
		"subscription": {usage: "subscription <name> <url> [<topic>...]", most: -1, many: true, block: true, parse: p.subscription},
	}
}

// explain tells of a brace that is missing, where a word of a subscription stands
// outside of one.
func (p *optionParser) explain(err error) error {
	unknown, ok := errors.AsType[*unknownWordError](err)
	if !ok || unknown.within != "relay" {
		return err
	}
	words := slices.Collect(maps.Keys(settingsWords(p.d, new(Settings), nil)))
	if !slices.Contains(words, unknown.word) {
		return err
	}
	return place(p.d, fmt.Errorf("relay: %q belongs inside a subscription%s", unknown.word, p.braceHint()))
}

func (p *optionParser) braceHint() string {
	if p.open == "" {
		return " (or inside defaults)"
	}
	return fmt.Sprintf("; is a \"{\" missing after %s?", p.open)
}

// finish judges what only the whole option tells.
func (p *optionParser) finish() error {
	if p.defaults != nil {
		if err := p.app.checkDefaults(); err != nil {
			return p.defaults.place(err)
		}
	}
	for _, decl := range p.declared {
		s := decl.subscription
		// Which addresses are this machine's is nothing that the text tells.
		if err := p.app.checkWithin(s, nil); err != nil {
			return decl.place(err)
		}
	}
	return nil
}

// place gives an error about a region the line of that word, and any other the line on
// which the declaration begins.
func (decl *declaration) place(err error) error {
	if _, ok := errors.AsType[regionError](err); ok && decl.region != nil {
		return place(decl.region, err)
	}
	return place(&decl.at, err)
}

func (p *optionParser) storage(args []string) error {
	if len(args) > 0 && strings.Contains(args[0], "/") {
		if strings.Contains(args[0], "://") {
			return errors.New("storage: the name of the engine is missing; write: storage postgres {env.RELAY_POSTGRES_DSN}")
		}
		return fmt.Errorf("storage: the name of the engine is missing; for a directory write: storage badger %s", args[0])
	}
	raw, err := parseGuest(p.d, "storage", storageNamespace, "engine", args)
	p.app.StorageRaw = raw
	return err
}

func (p *optionParser) retention([]string) error {
	r := new(Retention)
	p.app.Retention = r
	return nestedBlock(p.d, "retention", vocabulary{
		"delivered":        durationWord("delivered", &r.Delivered),
		"failed":           durationWord("failed", &r.Failed),
		"idempotency_keys": durationWord("idempotency_keys", &r.IdempotencyKeys),
	})
}

func (p *optionParser) notice(args []string) (err error) {
	p.app.Notice, err = parseDuration("notice", args[0])
	return err
}

func (p *optionParser) region(args []string) error {
	r := new(Region)
	at := *p.d
	if len(args) > 0 {
		r.Name = args[0]
		args = args[1:]
	}
	if err := checkName("region", r.Name); err != nil {
		return err
	}
	if first, again := p.regions[r.Name]; again {
		return fmt.Errorf("region %q is declared twice (first %s); put its addresses into one", r.Name, first.seenFrom(p.d))
	}
	p.regions[r.Name] = here(p.d)
	if err := r.parse(p.d, args); err != nil {
		return err
	}
	if len(r.Egress) == 0 && p.open != "" {
		// The word also belongs into subscriptions.
		return place(&at, fmt.Errorf("region %q has no address%s", r.Name, p.braceHint()))
	}
	if err := r.check(); err != nil {
		return place(&at, err)
	}
	earlier := p.app.Regions
	p.app.Regions = append(p.app.Regions, r)
	return place(&at, r.checkApart(earlier))
}

func (p *optionParser) defaultSettings([]string) error {
	p.defaults = &declaration{at: *p.d}
	p.app.Defaults = new(Settings)
	return nestedBlock(p.d, "defaults", settingsWords(p.d, p.app.Defaults, &p.defaults.region))
}

func (p *optionParser) subscription(args []string) error {
	s := new(Subscription)
	decl := &declaration{subscription: s, at: *p.d}
	if err := s.declare(args); err != nil {
		return err
	}
	if first, again := p.names[s.Name]; again {
		return fmt.Errorf("subscription %q is declared twice (first %s); names are unique", s.Name, first.seenFrom(p.d))
	}
	p.names[s.Name] = here(p.d)
	p.open = ""
	if !opensBlock(p.d) {
		p.open = fmt.Sprintf("%q on line %d", "subscription "+s.Name+" ...", p.d.Line())
	}
	p.app.Subscriptions = append(p.app.Subscriptions, s)
	p.declared = append(p.declared, decl)
	return nestedBlock(p.d, fmt.Sprintf("subscription %q", s.Name), settingsWords(p.d, &s.Settings, &decl.region))
}
