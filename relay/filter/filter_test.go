package filter

import (
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

const sample = `{
	"currency": "EUR", "total": 100.50, "count": 3, "big": 9007199254740993, "test": false, "paid": true, "note": null,
	"one": "1", "tags": ["vip", "eu", 7, null, ["deep"], {"a": 1}], "none": [], "empty": {}, "text": "",
	"customer": {"id": "c-7", "a.b": "dot", "city": "Li\u00e8ge \"x\""},
	"items": [{"sku": "a"}, {"sku": "b"}],
	"sys": {"contentType": {"sys": {"id": "page"}}}
}`

func document(t testing.TB, text string) *payload.Document {
	t.Helper()
	d := payload.OpenDocument([]byte(text))
	t.Cleanup(d.Close)
	return d
}

func parse(t testing.TB, line ...string) *Filter {
	t.Helper()
	f, err := Parse(line)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return f
}

func words(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "`") {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		words = append(words, strings.Fields(part)...)
	}
	return words
}

// A text that is too long for its pattern meets nothing, with not either, and that is said.
func TestTextsTooLongForTheirPatternAreNotLookedAt(t *testing.T) {
	long := `{"text": "` + strings.Repeat("a", 100_000) + `", "list": ["x", "` + strings.Repeat("a", 100_000) + `"], "short": "aaa"}`
	d := document(t, long)
	for line, want := range map[string]bool{
		"text regexp a$":                  true,
		"text regexp (.*a){300}$":         false,
		"not text regexp (.*a){300}$":     false,
		"not text regexp z (.*a){300}$":   false,
		"text regexp a$ (.*a){300}$":      true, // one of them is found
		"list regexp ^x$ (.*a){300}$":     true,
		"not list regexp ^z$ (.*a){300}$": false,
		"not short regexp z (.*a){300}$":  true,
		"not text regexp z":               true,
		"not text equals z":               true,
		"not list equals (.*a){300}$":     true,
	} {
		f, err := Parse(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		matches, found := f.Explain(d)
		if f.Match(d) != want || matches != want {
			t.Errorf("%s: %t", line, !want)
		}
		if told := strings.Contains(found, "too long for its pattern"); told != (!want && strings.Contains(line, "{300}")) {
			t.Errorf("%s: found %.80s", line, found)
		}
	}
}

func TestFilters(t *testing.T) {
	d := document(t, sample)
	for line, want := range map[string]bool{
		"currency equals EUR":                true,
		"currency equals eur":                false,
		"currency in USD EUR":                true,
		"currency in USD GBP":                false,
		"not currency in USD GBP":            true,
		"not currency equals EUR":            false,
		"customer.id regexp ^c-":             true,
		"customer.id regexp 7":               true, // it is looked for anywhere
		"customer.id regexp ^7":              false,
		"customer.id regexp x ^c-":           true, // any of them
		`customer.a\.b equals dot`:           true,
		"customer.city equals `Liège \"x\"`": true,
		"customer.city regexp `^Li.ge \"`":   true,
		"not customer.id regexp ^c-":         false,
		"text equals ``":                     true,
		"text regexp ^$":                     true,
		"sys.contentType.sys.id equals page": true,
		"items.1.sku equals b":               true,
		"items.1.sku in a c":                 false,
		"items.2.sku equals a":               false,
		"count equals 3":                     true,
		"count equals 3.0":                   true,
		"count equals 30e-1":                 true,
		"count equals -3":                    false,
		"count equals 03":                    false, // no number of JSON
		"count in 1 2 3":                     true,
		"count regexp ^3$":                   true,
		"total equals 100.5":                 true,
		"total equals 1.005e2":               true,
		"total equals 100":                   false,
		"total regexp ^100\\.50$":            true, // as it stands there
		"big equals 9007199254740993":        true,
		"big equals 9007199254740992":        false,
		"one equals 1":                       true, // text and number alike
		"one equals 1.0":                     false,
		"test equals false":                  true,
		"not test equals true":               true,
		"paid equals true":                   true,
		"paid equals True":                   false,
		"paid equals 1":                      false,
		"note equals null":                   true,
		"note exists":                        true,
		"not note exists":                    false,
		"missing exists":                     false,
		"not missing exists":                 true,
		"not customer.missing.deeper exists": true,
		"missing equals x":                   false,
		"not missing equals x":               false, // what is not there cannot be told to differ
		"not missing in x y":                 false,
		"not missing regexp x":               false,
		"not currency.deeper equals x":       false,
		"tags equals vip":                    true,
		"tags in x eu":                       true,
		"tags equals 7":                      true,
		"tags equals null":                   true,
		"tags equals deep":                   false,
		"not tags equals vip":                false,
		"not tags equals x":                  true,
		"tags.0 equals vip":                  true,
		"tags.4.0 equals deep":               true,
		"none equals x":                      false,
		"not none equals x":                  true,
		"none exists":                        true,
		"empty equals x":                     false,
		"not empty equals x":                 true,
		"empty equals {}":                    false,
		"customer exists":                    true,
	} {
		f := parse(t, words(line)...)
		if got := f.Match(d); got != want {
			t.Errorf("%s: %v", line, got)
		}
		if got, found := f.Explain(d); got != want || found == "" {
			t.Errorf("%s is explained as %v, %q", line, got, found)
		}
		if got := f.String(); got != line && !strings.Contains(line, "`") {
			t.Errorf("%q is shown as %q", line, got)
		}
		if again := parse(t, words(f.String())...); again.Match(d) != want {
			t.Errorf("%s says something else when it is shown: %s", line, f)
		}
		if f.Match(nil) {
			t.Errorf("%s matches what is no JSON", line)
		}
	}
}

func TestAScalarHasNoPaths(t *testing.T) {
	for _, text := range []string{`"x"`, `7`, `null`, `[]`, `true`} {
		d := document(t, text)
		if parse(t, "a", "equals", "x").Match(d) || parse(t, "not", "a", "equals", "x").Match(d) || !parse(t, "not", "a", "exists").Match(d) {
			t.Errorf("%s", text)
		}
	}
	if !parse(t, "0", "equals", "x").Match(document(t, `["x"]`)) {
		t.Error("an index at the top")
	}
}

func TestExplainSaysWhatWasFound(t *testing.T) {
	d := document(t, `{"a":{"b":[1,"x"],"long":"`+strings.Repeat("é", 500)+`"}}`)
	for line, want := range map[string]string{
		"a.b equals 1":     `[1,"x"]`,
		"a.b.1 equals 1":   `"x"`,
		"a.b.2 equals 1":   `nothing: a.b is an array of 2 without "2"`,
		"a.c equals 1":     `nothing: a has no "c"`,
		"c equals 1":       `nothing: the data has no "c"`,
		"a.b.0.c equals 1": `nothing: a.b.0 is 1`,
		"not c exists":     `nothing: the data has no "c"`,
		"a.long equals 1":  `"` + strings.Repeat("é", 119) + "...",
	} {
		if _, found := parse(t, words(line)...).Explain(d); found != want {
			t.Errorf("%s: found %s; want %s", line, found, want)
		}
	}
	if matches, found := parse(t, "not", "a", "exists").Explain(nil); matches || found != "the data is no JSON" {
		t.Errorf("%v, %s", matches, found)
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		"":                          "the path is missing; write e.g. filter currency equals EUR",
		"not":                       "the path is missing",
		"currency":                  "what currency is compared with is missing; write e.g. filter currency equals EUR",
		"not currency":              "what currency is compared with is missing",
		"a..b equals x":             `the path "a..b" has an empty segment`,
		"currency equal EUR":        `unknown operator "equal" — did you mean "equals"?`,
		"currency exist":            `did you mean "exists"?`,
		"currency = EUR":            `did you mean "equals"?`,
		"currency != EUR":           "write: filter not currency equals <value>",
		"total > 100":               "write e.g. expression `event.data.total > 100`",
		"id matches ^c":             `did you mean "regexp"?`,
		"currency EUR":              `unknown operator "EUR"; there are equals, in, regexp, exists`,
		"currency equals":           "equals lacks a value; write: filter currency equals <value>",
		"currency in":               "in lacks a value",
		"currency regexp":           "regexp lacks a value",
		"currency equals EUR `U S`": "equals takes one value; for any of several write: filter currency in EUR `U S`",
		"currency exists EUR":       "exists takes no value; to compare it write: filter currency equals EUR",
		"currency regexp [":         "the pattern \"[\" is none of RE2: missing closing ]: `[`",
		"currency regexp (?!a)":     "invalid or unsupported Perl syntax",
		"currency not equals EUR":   `unknown operator "not"; write: filter not currency equals <value>`,
	} {
		if _, err := Parse(words(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant: %s", line, err, want)
		}
	}
}

func TestMatchingAllocatesNothing(t *testing.T) {
	d := document(t, sample)
	for _, line := range []string{"currency in USD EUR", "total equals 100.5", "not test equals true", "customer.id regexp ^x", "tags equals none", "missing exists"} {
		f := parse(t, words(line)...)
		f.Match(d)
		if n := testing.AllocsPerRun(100, func() { f.Match(d) }); n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}
