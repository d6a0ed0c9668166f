package caddymodule

import (
	"fmt"
	"math"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/caddyrelay/caddyrelay/relay/intake"
)

func parseIntake(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Intake)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads
//
//	relay_intake [<matcher>] {
//		token <secret>
//		max_event_size <size>
//		max_batch <number>
//		default_source <uri>
//		type_from header <name> | json <path>
//		key_from header <name> | json <path>
//		accept phraseanet|contentful
//		hosts <name>...
//	}
//
// Each line may stand more than once, but for max_event_size, max_batch and
// default_source.
func (h *Intake) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return bareBlock(d, h.words())
}

func (h *Intake) words() vocabulary {
	return vocabulary{
		"token": {usage: "token <secret>", least: 1, most: 1, many: true, parse: func(args []string) error {
			if args[0] == "" {
				return fmt.Errorf("token: the secret is empty; %s", unsetHint)
			}
			h.Tokens = append(h.Tokens, args[0])
			return nil
		}},
		"max_event_size": {usage: "max_event_size <size>", least: 1, most: 1, parse: func(args []string) error {
			size, err := humanize.ParseBytes(args[0])
			if err != nil || size == 0 || size > math.MaxInt32 {
				return fmt.Errorf("max_event_size: %q is not possible; write a size up to 1000KiB, e.g. 512KiB", args[0])
			}
			h.MaxEventSize = Size(size)
			return h.check()
		}},
		"max_batch": {usage: "max_batch <number>", least: 1, most: 1, parse: func(args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 {
				return fmt.Errorf("max_batch: %q is not possible; write a number from 1 to %d", args[0], intake.MaxMaxBatch)
			}
			h.MaxBatch = n
			return h.check()
		}},
		"default_source": {usage: "default_source <uri>", least: 1, most: 1, parse: func(args []string) error {
			h.DefaultSource = args[0]
			return h.check()
		}},
		"type_from": locatorWord("type_from", &h.TypeFrom),
		"key_from":  locatorWord("key_from", &h.KeyFrom),
		"accept": {usage: "accept phraseanet|contentful", least: 1, most: 1, many: true, parse: func(args []string) error {
			h.Accept = append(h.Accept, args[0])
			return h.check()
		}},
		"hosts": {usage: "hosts <name>...", least: 1, most: -1, many: true, parse: func(args []string) error {
			h.Hosts = append(h.Hosts, args...)
			return h.check()
		}},
	}
}

func locatorWord(name string, list *[]intake.Locator) word {
	usage := fmt.Sprintf("%s header <name>, or: %s json <path>", name, name)
	return word{usage: usage, least: 2, most: 2, many: true, parse: func(args []string) error {
		l, err := intake.ParseLocator(args[0], args[1])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*list = append(*list, l)
		return nil
	}}
}
