package caddymodule

import (
	"fmt"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func parseSink(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Sink)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads
//
//	relay_sink [<matcher>] {
//		secret <secret>
//		fail <share> [<status>]
//		delay <duration>
//	}
func (s *Sink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return bareBlock(d, s.words())
}

func (s *Sink) words() vocabulary {
	return vocabulary{
		"secret": {usage: "secret <secret>", least: 1, most: 1, parse: func(args []string) error {
			if args[0] == "" {
				return fmt.Errorf("secret: it is empty; %s", unsetHint)
			}
			s.Secret = args[0]
			return nil
		}},
		"fail":  {usage: "fail <share> [<status>]", least: 1, most: 2, parse: s.parseFail},
		"delay": durationWord("delay", &s.Delay),
	}
}

func (s *Sink) parseFail(args []string) error {
	share, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		return fmt.Errorf("fail: %q is no number; write a share from 0 to 1, e.g. 0.2", args[0])
	}
	s.FailShare = share
	if len(args) > 1 {
		if s.FailStatus, err = strconv.Atoi(args[1]); err != nil {
			return fmt.Errorf("fail: %q is no status; write e.g. 503", args[1])
		}
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("fail: %w", err)
	}
	return nil
}
