package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// loadGuests loads what the settings name.
func (s *Settings) loadGuests(ctx caddy.Context) error {
	if err := s.loadSigners(ctx); err != nil {
		return err
	}
	if err := s.loadAuth(ctx); err != nil {
		return err
	}
	return s.loadTransform(ctx)
}

// warnOf keeps what a guest warns of, under its word and its name.
func (s *Settings) warnOf(word string, guest any) {
	warning, ok := guest.(interface{ Warnings() []string })
	if !ok {
		return
	}
	for _, text := range warning.Warnings() {
		s.guestWarnings = append(s.guestWarnings, fmt.Sprintf("%s %s: %s", word, schemeOf(guest), text))
	}
}

// checkGuest refuses the name of a guest that no module has.
func checkGuest(word, namespace, name string) error {
	var known []string
	for _, info := range caddy.GetModules(namespace) {
		known = append(known, info.ID.Name())
	}
	switch {
	case name == "":
		return fmt.Errorf("%s: a name must follow; known here: %s", word, strings.Join(known, ", "))
	case !slices.Contains(known, name):
		// What stands there may be a URL with a password, whose word was forgotten.
		return fmt.Errorf("%s: unknown module %q%s", word, shown(name), didYouMean(name, known))
	}
	return nil
}

// checkInline refuses a guest whose name stands under its inline key.
func checkInline(word, namespace, key string, raw json.RawMessage) error {
	if raw == nil {
		return nil
	}
	var guest map[string]json.RawMessage
	if err := json.Unmarshal(raw, &guest); err != nil {
		return fmt.Errorf("%s: %w", word, err)
	}
	var name string
	if text := guest[key]; text != nil {
		if err := json.Unmarshal(text, &name); err != nil {
			return fmt.Errorf("%s: %s: %w", word, key, err)
		}
	}
	return checkGuest(word, namespace, name)
}

// parseGuest reads the line and block of a word whose first argument names a module.
// The cursor is at the last of the arguments.
func parseGuest(d *caddyfile.Dispenser, name, namespace, inlineKey string, args []string) (json.RawMessage, error) {
	guest := ""
	if len(args) > 0 {
		guest = args[0]
	}
	if err := checkGuest(name, namespace, guest); err != nil {
		return nil, err
	}
	for range len(args) - 1 {
		d.Prev() // to the name, where the module begins to read
	}
	unmarshaler, err := caddyfile.UnmarshalModule(d, namespace+"."+guest)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(unmarshaler, inlineKey, guest, nil), nil
}
