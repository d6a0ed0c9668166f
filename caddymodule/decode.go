package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// UnmarshalJSON reads the configuration of the app. Its errors name the place in the whole
// configuration as a JSON pointer (RFC 6901), e.g. /apps/relay/subscriptions/3/timeout: with the
// prefix /config it is also the path of Caddy's API.
func (a *App) UnmarshalJSON(raw []byte) error {
	type plain App // without this method
	err := caddy.StrictUnmarshalJSON(raw, (*plain)(a))
	if err == nil && !hasNil(a.Regions) && !hasNil(a.EventTypes) && !hasNil(a.Subscriptions) {
		return nil
	}
	if found := mistake(raw, reflect.TypeFor[plain](), "/apps/relay"); found != nil {
		return found
	}
	return err
}

func hasNil[T any](items []*T) bool {
	for _, item := range items {
		if item == nil {
			return true
		}
	}
	return false
}

// mistake finds what encoding/json refuses in the JSON of a type, and says where it stands and
// what should be there; at is the place of the value. Guests are not looked into: their modules
// decode them.
func mistake(raw json.RawMessage, of reflect.Type, at string) error {
	switch {
	case of.Kind() == reflect.Pointer:
		return mistake(raw, of.Elem(), at)
	case of == reflect.TypeFor[json.RawMessage]():
		return nil
	case reflect.PointerTo(of).Implements(reflect.TypeFor[json.Unmarshaler]()):
		return mistakenLeaf(raw, of, at)
	case of.Kind() == reflect.Struct:
		return mistakenObject(raw, of, at)
	case of.Kind() == reflect.Slice:
		return mistakenList(raw, of, at)
	}
	return mistakenLeaf(raw, of, at)
}

func mistakenObject(raw json.RawMessage, of reflect.Type, at string) error {
	if kindOf(raw) != "an object" {
		return fmt.Errorf("%s: an object is expected, and not %s", at, kindOf(raw))
	}
	fields := make(map[string]reflect.Type)
	for _, field := range reflect.VisibleFields(of) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			fields[name] = field.Type
		}
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	// In the order of the text, which a map would lose.
	d := json.NewDecoder(bytes.NewReader(raw))
	_, err := d.Token()
	for err == nil && d.More() {
		var name json.Token
		var value json.RawMessage
		if name, err = d.Token(); err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			break
		}
		key := name.(string)
		place := at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
		known, ok := fields[strings.ToLower(key)] // as encoding/json, which does not look at the case
		if !ok {
			return fmt.Errorf("%s: there is no such field%s", place, didYouMean(key, names))
		}
		if string(value) == "null" {
			continue // is nothing said, as encoding/json has it
		}
		if err := mistake(value, known, place); err != nil {
			return err
		}
	}
	return err
}

func mistakenList(raw json.RawMessage, of reflect.Type, at string) error {
	if kindOf(raw) != "a list" {
		return fmt.Errorf("%s: a list is expected, and not %s; write [...] around it", at, kindOf(raw))
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return err
	}
	for i, item := range items {
		if err := mistake(item, of.Elem(), at+"/"+strconv.Itoa(i)); err != nil {
			return err
		}
	}
	return nil
}

// mistakenLeaf judges what is decoded in one piece.
func mistakenLeaf(raw json.RawMessage, of reflect.Type, at string) error {
	err := json.Unmarshal(raw, reflect.New(of).Interface())
	switch {
	case err == nil:
		return nil
	case of == reflect.TypeFor[time.Time]():
		return fmt.Errorf("%s: %.40s is no time; write it as 2027-01-04T00:00:00Z", at, raw)
	case reflect.PointerTo(of).Implements(reflect.TypeFor[json.Unmarshaler]()):
		return fmt.Errorf("%s: %w", at, err)
	}
	expected := map[reflect.Kind]string{
		reflect.String: "a text", reflect.Bool: "true or false",
		reflect.Int: "a whole number", reflect.Int64: "a whole number", reflect.Float64: "a number",
	}[of.Kind()]
	if expected == "" {
		return fmt.Errorf("%s: %w", at, err)
	}
	return fmt.Errorf("%s: %s is expected, and not %s", at, expected, kindOf(raw))
}

// kindOf names what a JSON value is, and nothing of what it says: it could be a secret.
func kindOf(raw []byte) string {
	text := bytes.TrimSpace(raw)
	if len(text) == 0 {
		return "nothing"
	}
	switch text[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}
