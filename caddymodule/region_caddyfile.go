package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// egressUsage is the line as it should be.
const egressUsage = "egress <ip> [as <public ip>] [from <time>] [until <time>], or: egress auto as <public ip or prefix>"

// parse reads the line and block of region.
func (r *Region) parse(d *caddyfile.Dispenser, args []string) error {
	for _, text := range args {
		if text == autoAddress || isEgressOption(text) {
			return fmt.Errorf("region %q: %q belongs into a block of the region, on a line of its own; write: %s", r.Name, text, egressUsage)
		}
		r.Egress = append(r.Egress, Egress{Address: text})
	}
	if len(args) > 0 {
		if err := r.check(); err != nil {
			return err
		}
	}
	return nestedBlock(d, fmt.Sprintf("region %q", r.Name), r.words(d))
}

func (r *Region) words(d *caddyfile.Dispenser) vocabulary {
	return vocabulary{
		"egress": {usage: egressUsage, least: 1, most: -1, many: true, parse: r.parseEgress},
		"prefer": {usage: "prefer ipv4|ipv6", least: 1, most: 1, parse: func(args []string) error {
			r.Prefer = args[0]
			return checkPrefer(r.Prefer)
		}},
		"resolvers": listWord("resolvers <address[:port]>...", &r.Resolvers, func(text string) error {
			_, err := parseResolver(text)
			return err
		}),
		"network_proxy": {usage: "network_proxy <module> ...", most: -1, block: true, parse: func(args []string) error {
			return r.parseProxy(d, args)
		}},
	}
}

// parseEgress reads one line of addresses, and what may follow them.
func (r *Region) parseEgress(args []string) error {
	n := slices.IndexFunc(args, isEgressOption)
	if n < 0 {
		n = len(args)
	}
	if n == 0 {
		return fmt.Errorf("the address is missing before %q; write: %s", args[0], egressUsage)
	}
	var common Egress
	for rest := args[n:]; len(rest) > 0; rest = rest[2:] {
		word := rest[0]
		switch {
		case !isEgressOption(word):
			return fmt.Errorf("egress: only as, from and until may follow the address, and not %q; write: %s", word, egressUsage)
		case slices.Contains(args[n:len(args)-len(rest)], word):
			return fmt.Errorf("egress: %q stands twice", word)
		case len(rest) == 1:
			return fmt.Errorf("egress: %q lacks its value; write: %s", word, egressUsage)
		}
		if err := common.set(word, rest[1]); err != nil {
			return err
		}
	}
	if common.As != "" && n > 1 {
		return errors.New("egress: as says how one address is seen; give each address a line of its own")
	}
	for _, text := range args[:n] {
		e := common
		e.Address = text
		r.Egress = append(r.Egress, e)
	}
	return r.check()
}

// egressOptions may follow an address.
var egressOptions = []string{"as", "from", "until"}

func isEgressOption(text string) bool { return slices.Contains(egressOptions, text) }

func (e *Egress) set(word, value string) error {
	if word == "as" {
		e.As = value
		return nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return fmt.Errorf("egress: %q is no time after %q; write it as RFC 3339 does, e.g. 2027-01-01T00:00:00Z", value, word)
	}
	if word == "from" {
		e.From = t
	} else {
		e.Until = t
	}
	return nil
}
