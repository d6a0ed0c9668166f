package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/expression"
)

// WaitFor holds each delivery until another URL shows what it is about. That is asked with
// GET, from the subscription's region, to where its destination guard allows; its header
// fields, credentials and client certificate are not sent there.
type WaitFor struct {
	// What is asked, by http or https. `{env.*}` and `{file.*}` are replaced when the
	// configuration is loaded. Placeholders of the event may stand in the path and in the
	// query; they are escaped.
	URL string `json:"url"`

	// The condition in CEL that an answer has to meet, over response.status, .header (names
	// in lower case) and .json, and over the event as in expression.
	Until string `json:"until"`

	// The time from the first poll of a delivery to the second. The longer it waits, the
	// rarer are its polls. At least 100ms. Default: 1s
	Interval Duration `json:"interval,omitempty"`

	// The longest time between polls. Default: 15s, or interval if that is longer
	LongestInterval Duration `json:"longest_interval,omitempty"`

	// How long a delivery waits. Default: 5m
	Timeout Duration `json:"timeout,omitempty"`

	// What becomes of a delivery that has waited in vain: it is made all the same (deliver),
	// counts as a failed attempt and is retried (retry), or is given up (fail). Default: deliver
	OnTimeout string `json:"on_timeout,omitempty"`

	// The header fields of each poll, beside User-Agent.
	Header []HeaderChange `json:"header,omitempty"`

	// Header fields of each poll whose values are secret.
	SecretHeader []SecretHeader `json:"secret_header,omitempty"`

	condition *expression.Expression
}

// leastInterval is that of polls: what is asked belongs to somebody else.
const leastInterval = 100 * time.Millisecond

func (w *WaitFor) check() error {
	if w == nil {
		return nil
	}
	err := checkURLForm(w.URL)
	for _, check := range []func() error{w.checkUntil, w.checkIntervals, w.checkTimeout, w.checkHeader} {
		if err == nil {
			err = check()
		}
	}
	if err != nil {
		return fmt.Errorf("wait_for: %w", err)
	}
	return nil
}

func (w *WaitFor) checkUntil() error {
	if strings.TrimSpace(w.Until) == "" {
		return errors.New("until is missing, which says what answer is waited for; write e.g. until `response.json.sys.revision >= event.data.sys.revision`")
	}
	compiled, err := expression.CompileUntil(w.Until)
	if err != nil {
		return fmt.Errorf("until: %w", err)
	}
	w.condition = compiled
	return nil
}

func (w *WaitFor) checkIntervals() error {
	first, longest := time.Duration(w.Interval), time.Duration(w.LongestInterval)
	switch {
	case first != 0 && first < leastInterval:
		return fmt.Errorf("interval: %s is too short; write at least %s", first, leastInterval)
	case longest < 0 || longest != 0 && longest < max(first, leastInterval):
		return fmt.Errorf("interval: the longest one, %s, is shorter than the first; write the shorter one first, e.g. interval 1s 15s", longest)
	}
	return nil
}

func (w *WaitFor) checkTimeout() error {
	if err := checkOptional("timeout", w.Timeout); err != nil {
		return err
	}
	var known []string
	for _, o := range relay.OnTimeouts {
		known = append(known, string(o))
	}
	if w.OnTimeout == "" || slices.Contains(known, w.OnTimeout) {
		return nil
	}
	return fmt.Errorf("on_timeout: %q is not possible%s", w.OnTimeout, didYouMean(w.OnTimeout, known))
}

func (w *WaitFor) checkHeader() error {
	if err := eachOf(w.Header, HeaderChange.check); err != nil {
		return err
	}
	return eachOf(w.SecretHeader, SecretHeader.check)
}

// parse reads the line and block of the word. The cursor is at its argument.
func (w *WaitFor) parse(d *caddyfile.Dispenser, args []string) error {
	at := *d
	w.URL = args[0]
	if err := checkURLForm(w.URL); err != nil {
		return fmt.Errorf("wait_for: %w", err)
	}
	err := nestedBlock(d, "wait_for", vocabulary{
		"until": {usage: "until <CEL>", least: 1, most: -1, parse: func(args []string) error {
			w.Until = rawText(d, args)
			return w.checkUntil()
		}},
		"interval": {usage: "interval <first> [<longest>]", least: 1, most: 2, parse: func(args []string) (err error) {
			if w.Interval, err = parseDuration("interval", args[0]); err != nil {
				return err
			}
			if len(args) > 1 {
				if w.LongestInterval, err = parseDuration("interval", args[1]); err != nil {
					return err
				}
			}
			return w.checkIntervals()
		}},
		"timeout": durationWord("timeout", &w.Timeout),
		"on_timeout": {usage: "on_timeout deliver|retry|fail", least: 1, most: 1, parse: func(args []string) error {
			w.OnTimeout = args[0]
			return w.checkTimeout()
		}},
		"header":        {usage: "header [+|-]<field> [<value>]", least: 1, most: 2, many: true, parse: headerWord(&w.Header)},
		"secret_header": {usage: "secret_header <field> <value>", least: 2, most: 2, many: true, parse: secretHeaderWord(&w.SecretHeader)},
	})
	if err != nil {
		return err
	}
	return place(&at, w.check())
}

// build makes what the engine knows of it. The route is that of the subscription, whose
// client certificate is not shown to others.
func (w *WaitFor) build(t *transports, r route) (*relay.WaitFor, error) {
	if w == nil {
		return nil, nil //nolint:nilnil // none is a valid choice
	}
	target, template, err := resolveURL(w.URL, r.guard, r.region)
	if err != nil {
		return nil, fmt.Errorf("wait_for: %w", err)
	}
	header, err := headerRules(w.Header, w.SecretHeader)
	if err != nil {
		return nil, fmt.Errorf("wait_for: %w", err)
	}
	return &relay.WaitFor{
		URL:         target,
		URLTemplate: template,
		Header:      header,
		Until:       w.condition,
		Interval:    time.Duration(w.Interval),
		Longest:     time.Duration(w.LongestInterval),
		Timeout:     time.Duration(w.Timeout),
		OnTimeout:   relay.OnTimeout(w.OnTimeout),
		Transport:   t.get(r.withoutTLS()).transport,
	}, nil
}

// show returns it line by line, without secrets.
func (w *WaitFor) show() []string {
	if w == nil {
		return nil
	}
	built := relay.WaitFor{
		Interval: time.Duration(w.Interval), Longest: time.Duration(w.LongestInterval), Timeout: time.Duration(w.Timeout),
		OnTimeout: relay.OnTimeout(w.OnTimeout),
	}.WithDefaults()
	all := append([]string{w.URL}, prefixed("until ", lines(w.Until))...)
	all = append(all,
		"interval "+spell(built.Interval)+" "+spell(built.Longest), "timeout "+spell(built.Timeout), "on_timeout "+string(built.OnTimeout))
	all = append(all, prefixed("header ", showHeader(w.Header))...)
	return append(all, prefixed("secret_header ", showSecretHeader(w.SecretHeader))...)
}

func prefixed(prefix string, texts []string) []string {
	for i := range texts {
		texts[i] = prefix + texts[i]
	}
	return texts
}
