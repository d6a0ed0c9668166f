package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// declare takes the arguments of "subscription <name> <url> [<topic>...]". Any of them
// may be one that stood for another which vanished.
func (s *Subscription) declare(args []string) error {
	if len(args) > 0 {
		s.Name = args[0]
	}
	if err := checkName("subscription", s.Name); err != nil {
		return err
	}
	if len(args) > 1 {
		s.URL = args[1]
	}
	err := checkURLForm(s.URL)
	if err == nil && len(args) > 2 {
		s.Topics = args[2:]
		err = eachOf(s.Topics, checkTopic)
	}
	return s.wrap(err)
}

// settingsWords are the words of a subscription, and of defaults. regionAt is told where
// the word region stands.
func settingsWords(d *caddyfile.Dispenser, s *Settings, regionAt **caddyfile.Dispenser) vocabulary {
	words := vocabulary{
		"description": {usage: "description <text>", least: 1, most: 1, blank: true, parse: func(args []string) error {
			s.Description = args[0]
			return nil
		}},
		"contact": listWord("contact <mailto: or other URL>...", &s.Contacts, checkContact),
		"topics":  listWord("topics <pattern>...", &s.Topics, checkTopic),
		"filter":  {usage: "filter [not] <path> equals|in|regexp|exists [<value>...]", least: 1, most: -1, many: true, blank: true, parse: s.parseFilter},
		"filters": {usage: "filters <JSON>", least: 1, most: 1, parse: s.parseFilters},
		"expression": {usage: "expression <CEL>", least: 1, most: -1, parse: func(args []string) error {
			if s.Expression = rawText(d, args); strings.TrimSpace(s.Expression) == "" {
				return errors.New("expression: it is empty; write e.g. expression `event.data.total > 100`")
			}
			return s.compile()
		}},
		"region": {usage: "region <name>", least: 1, most: 1, parse: func(args []string) error {
			at := *d
			*regionAt = &at
			s.Region = args[0]
			return checkName("region", s.Region)
		}},
		"method": {usage: "method POST|PUT|PATCH|GET|DELETE", least: 1, most: 1, parse: func(args []string) error {
			s.Method = args[0]
			return checkMethod(s.Method)
		}},
		"header":        {usage: "header [+|-]<field> [<value>]", least: 1, most: 2, many: true, parse: headerWord(&s.Header)},
		"secret_header": {usage: "secret_header <field> <value>", least: 2, most: 2, many: true, parse: secretHeaderWord(&s.SecretHeader)},
		"auth": {usage: "auth basic|bearer|oauth2 ...", most: -1, block: true, parse: func(args []string) error {
			raw, err := parseGuest(d, "auth", authNamespace, "scheme", args)
			s.AuthRaw = raw
			return err
		}},
		"transform": {usage: "transform template|jq <text> [<content type>]", most: -1, block: true, parse: func(args []string) error {
			raw, err := parseGuest(d, "transform", transformNamespace, "engine", args)
			s.TransformRaw = raw
			return err
		}},
		"format": {usage: "format " + formatNames("|"), least: 1, most: 1, parse: func(args []string) error {
			s.Format = args[0]
			return checkFormat(s.Format)
		}},
		"sign": {usage: "sign <scheme> <secret>", most: -1, many: true, block: true, parse: func(args []string) error {
			raw, err := parseGuest(d, "sign", signerNamespace, "scheme", args)
			if err != nil {
				return err
			}
			s.SignRaw = append(s.SignRaw, raw)
			return checkSchemes(s.SignRaw)
		}},
		"retry": {usage: "retry off, or: retry <delay>...", most: -1, block: true, parse: func(args []string) error {
			s.Retry = new(Retry)
			return s.Retry.parse(d, args)
		}},
		"timeout":         durationWord("timeout", &s.Timeout),
		"connect_timeout": durationWord("connect_timeout", &s.ConnectTimeout),
		"max_in_flight": {usage: "max_in_flight <number>", least: 1, most: 1, parse: func(args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n == 0 {
				return fmt.Errorf("max_in_flight: %q is not possible; write a number from 1 to %d", args[0], maxMaxInFlight)
			}
			s.MaxInFlight = n
			return checkMaxInFlight(n)
		}},
		"rate_limit": {usage: "rate_limit <events> <window>", least: 2, most: 2, parse: func(args []string) error {
			s.RateLimit = new(RateLimit)
			return s.RateLimit.parse(args)
		}},
		"order_by": {usage: "order_by <placeholder>", least: 1, most: 1, parse: func(args []string) error {
			s.OrderBy = args[0]
			return checkOrderBy(s.OrderBy)
		}},
		"debounce": {usage: "debounce <window> <placeholder>", least: 2, most: 2, parse: func(args []string) error {
			s.Debounce = new(Debounce)
			return s.Debounce.parse(args)
		}},
		"wait_for": {usage: "wait_for <url> { ... }", least: 1, most: 1, block: true, parse: func(args []string) error {
			s.WaitFor = new(WaitFor)
			return s.WaitFor.parse(d, args)
		}},
		"breaker": {usage: breakerUsage, least: 1, most: 4, parse: func(args []string) error {
			s.Breaker = new(Breaker)
			return s.Breaker.parse(args)
		}},
		"disable_after": durationWord("disable_after", &s.DisableAfter),

		"allow_ips":   listWord("allow_ips <address or prefix>...", &s.AllowIPs, checkAllowIP),
		"allow_hosts": listWord("allow_hosts <name or *.suffix>...", &s.AllowHosts, checkAllowHost),
		"paused": {usage: `paused ["<reason>"]`, most: 1, blank: true, parse: func(args []string) error {
			s.Paused = true
			s.PausedReason = strings.Join(args, " ")
			if slices.Contains([]string{"false", "off", "no", "0"}, strings.ToLower(s.PausedReason)) {
				return fmt.Errorf("paused: the word pauses, whatever stands behind it; leave the line out to let deliveries go")
			}
			return nil
		}},
	}
	maps.Copy(words, tlsWords(d, s))
	return words
}

// listWord is a word whose lines add up.
func listWord(usage string, list *[]string, check func(string) error) word {
	return word{usage: usage, least: 1, most: -1, many: true, parse: func(args []string) error {
		*list = append(*list, args...)
		return eachOf(args, check)
	}}
}

func headerWord(list *[]HeaderChange) func(args []string) error {
	return func(args []string) error {
		h := HeaderChange{Field: args[0]}
		for sign, op := range map[string]string{"+": "add", "-": "remove"} {
			if field, ok := strings.CutPrefix(h.Field, sign); ok {
				h.Op, h.Field = op, field
				break
			}
		}
		if len(args) > 1 {
			h.Value = args[1]
		}
		*list = append(*list, h)
		return h.check()
	}
}

func secretHeaderWord(list *[]SecretHeader) func(args []string) error {
	return func(args []string) error {
		h := SecretHeader{Field: args[0], Value: args[1]}
		*list = append(*list, h)
		return h.check()
	}
}

// parse reads the line and block of retry.
func (r *Retry) parse(d *caddyfile.Dispenser, args []string) error {
	block := opensBlock(d)
	switch {
	case len(args) == 0 && !block:
		return fmt.Errorf("retry: the delays are missing; write e.g. retry 10s 1m 10m 1h, or: retry off (%s)", unsetHint)
	case len(args) == 1 && args[0] == "off":
		r.Off = true
		if block {
			return errors.New("retry off: one attempt needs no options; leave out the block")
		}
		return nil
	}
	for _, text := range args {
		delay, err := caddy.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("retry: %q is no delay; write a number with its unit, e.g. 10s, 5m or 2h, or: retry off", text)
		}
		if err := checkDelay(delay); err != nil {
			return err
		}
		r.Delays = append(r.Delays, Duration(delay))
	}
	return nestedBlock(d, "retry", vocabulary{
		"jitter": {usage: "jitter <share from 0 to 1>", least: 1, most: 1, parse: func(args []string) error {
			share, err := strconv.ParseFloat(args[0], 64)
			if err != nil {
				return fmt.Errorf("jitter: %q is no number; write a share from 0 to 1, e.g. 0.2", args[0])
			}
			r.Jitter = &share
			return checkJitter(share)
		}},
		"on_status": {usage: "on_status <status or class>...", least: 1, most: -1, many: true, parse: func(args []string) error {
			for _, text := range args {
				status, err := parseStatus(text)
				if err != nil {
					return err
				}
				r.OnStatus = append(r.OnStatus, status)
			}
			return nil
		}},
		"give_up_after": durationWord("give_up_after", &r.GiveUpAfter),
	})
}
