package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// mask stands for what is not shown.
const mask = "***"

var anyPlaceholder = regexp.MustCompile(`\{(?:env|file|event)\.[^{}]*\}`)

// masked shows the placeholders of a value, and nothing else of it.
func masked(value string) string {
	var out strings.Builder
	rest := value
	for _, at := range anyPlaceholder.FindAllString(value, -1) {
		before, after, _ := strings.Cut(rest, at)
		if before != "" {
			out.WriteString(mask)
		}
		out.WriteString(at)
		rest = after
	}
	if rest != "" {
		out.WriteString(mask)
	}
	return out.String()
}

// plainFields are the fields of guests that hold no secrets. Those of others are shown
// only as far as they are placeholders.
var plainFields = []string{
	"algorithm", "audience", "client_id", "content_type", "encoding", "from", "header", "over", "prefix", "scopes", "token_url",
	"until", "user", "username",
}

// showGuests returns a line for each guest: its name, and its fields.
func showGuests(raws []json.RawMessage, inlineKey string) []string {
	var all []string
	for _, raw := range raws {
		all = append(all, showGuest(raw, inlineKey))
	}
	return all
}

func showGuest(raw json.RawMessage, inlineKey string) string {
	var guest map[string]any
	if json.Unmarshal(raw, &guest) != nil {
		return mask // Provision has refused it
	}
	name, _ := guest[inlineKey].(string)
	delete(guest, inlineKey)
	return strings.Join(append([]string{name}, showFields("", guest)...), " ")
}

// showFields flattens a value to words like secret={env.CRM_SECRET}.
func showFields(name string, v any) []string {
	var words []string
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			words = append(words, showFields(key, v[key])...)
		}
	case []any:
		for _, e := range v {
			words = append(words, showFields(name, e)...)
		}
	case string:
		if !slices.Contains(plainFields, name) {
			v = masked(v)
		}
		if strings.ContainsAny(v, " \t\n") {
			v = fmt.Sprintf("%q", v)
		}
		words = append(words, name+"="+v)
	case bool:
		words = append(words, fmt.Sprintf("%s=%v", name, v))
	case float64:
		if slices.Contains(plainFields, name) {
			words = append(words, fmt.Sprintf("%s=%v", name, v))
		} else {
			words = append(words, name+"="+mask)
		}
	}
	return words
}
