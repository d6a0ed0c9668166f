package filter

import (
	"bytes"
	"encoding/json"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// reference evaluates a filter in another way: all of the data is decoded, and numbers
// are fractions.
type reference struct {
	not      bool
	path     []string
	operator Operator
	values   []string
}

func (r reference) match(data any) bool {
	at := data
	for _, name := range r.path {
		found := false
		switch v := at.(type) {
		case map[string]any:
			at, found = v[name]
		case []any:
			if i, err := strconv.ParseUint(name, 10, 31); err == nil && int(i) < len(v) {
				at, found = v[i], true
			}
		}
		if !found {
			return r.operator == Exists && r.not
		}
	}
	if r.operator == Exists {
		return !r.not
	}
	candidates := []any{at}
	if list, ok := at.([]any); ok {
		candidates = list
	}
	for _, c := range candidates {
		for _, value := range r.values {
			if r.compare(c, value) {
				return !r.not
			}
		}
	}
	return r.not
}

func (r reference) compare(v any, wanted string) bool {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case bool:
		text = strconv.FormatBool(v)
	case nil:
		text = "null"
	default:
		return false
	}
	if r.operator == Regexp {
		return regexp.MustCompile(wanted).MatchString(text)
	}
	if text == wanted {
		return true
	}
	if _, number := v.(json.Number); !number || !jsontext.Value(wanted).IsValid() || jsontext.Value(wanted).Kind() != jsontext.KindNumber {
		return false
	}
	a, ok1 := new(big.Rat).SetString(text)
	b, ok2 := new(big.Rat).SetString(strings.TrimSpace(wanted))
	return ok1 && ok2 && a.Cmp(b) == 0
}

// hugeExponent finds what would make a fraction as long as its exponent says.
var hugeExponent = regexp.MustCompile(`[eE][+-]?0*[1-9][0-9]{3}`)

// FuzzMatch holds filters against the reference.
func FuzzMatch(f *testing.F) {
	for _, line := range []string{
		"currency equals EUR", "not currency in USD GBP", "total equals 1.005e2", "tags equals 7", "not missing equals x",
		"not missing exists", "customer.id regexp ^c", `customer.a\.b equals dot`, "items.1.sku in a b", "note equals null",
		"big equals 9007199254740992", "none equals x", "count equals -0", "empty exists", "customer.city regexp è",
	} {
		f.Add(line, []byte(sample))
	}
	f.Add("a equals 0.0", []byte(`{"a":-0e5}`))
	f.Add("a in 10 100e-1", []byte(`{"a":[[10],1.0e1]}`))
	f.Add("a equals \xff", []byte(`{"a":"\ud800"}`))
	f.Add("a equals  1", []byte(`{"a":1}`))
	f.Fuzz(func(t *testing.T, line string, data []byte) {
		words := strings.Split(line, " ")
		filter, err := Parse(words)
		if err != nil {
			return
		}
		d := payload.OpenDocument(data)
		defer d.Close()
		got := filter.Match(d)
		if explained, _ := filter.Explain(d); explained != got {
			t.Fatalf("%s in %s matches %v, and is explained as %v", line, data, got, explained)
		}
		if !utf8.Valid(data) || !jsontext.Value(data).IsValid(payload.Lenient...) || hugeExponent.Match(data) || hugeExponent.MatchString(line) {
			return // it has only not to panic
		}
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			t.Skip(err)
		}
		r := reference{not: filter.not, path: filter.path, operator: filter.operator}
		if r.not {
			words = words[1:]
		}
		r.values = words[2:]
		if want := r.match(value); got != want {
			t.Fatalf("%s in %s: %v, want %v", line, data, got, want)
		}
	})
}

func TestNumbersBeyondAllBounds(t *testing.T) {
	for _, c := range []struct {
		wanted, text string
		same         bool
	}{
		{"1e99999999999999999999", "1e99999999999999999999", true}, // as it is written
		{"1e99999999999999999999", "10e99999999999999999998", false},
		{"1e4000000000", "10e3999999999", true},
		{"1e-4000000000", "0.1e-3999999999", true},
		{"0e99999999999", "0", false},
		{"0", "0e5", true},
		{"-0.0", "0", true},
		{"100", "1e2", true},
		{"0.001", "1e-3", true},
		{"0.0010", "10.0e-4", true},
		{"12", "1.2", false},
		{"12", "120", false},
		{"12", "-12", false},
	} {
		f := parse(t, "a", "equals", c.wanted)
		if got := f.Match(document(t, `{"a":`+c.text+`}`)); got != c.same {
			t.Errorf("%s and %s: %v", c.wanted, c.text, got)
		}
	}
}
