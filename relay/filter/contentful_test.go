package filter

import (
	"strings"
	"testing"
)

const entry = `{"sys":{"id":"main_nav","version":3,"environment":{"sys":{"id":"ci-abc"}},"contentType":{"sys":{"id":"page"}},
	"createdBy":{"sys":{"id":"u1"}}},"metadata":{"tags":["a","b"]}}`

func TestContentfulFilters(t *testing.T) {
	d := document(t, entry)
	for text, want := range map[string]bool{
		`[]`:   true,
		`null`: true,
		`[{"equals": [{"doc":"sys.id"}, "main_nav"]}]`:                                    true,
		`[{"equals": [{"doc":"sys.id"}, "other"]}]`:                                       false,
		`[{"not": {"equals":[{"doc":"sys.environment.sys.id"},"master"]}}]`:               true,
		`[{"in": [{"doc":"sys.environment.sys.id"}, ["testing","ci-abc"]]}]`:              true,
		`[{"not": {"in":[{"doc":"sys.contentType.sys.id"},["a","page"]]}}]`:               false,
		`[{"regexp": [{"doc":"sys.environment.sys.id"}, {"pattern":"^ci-[a-z]{3,5}$"}]}]`: true,
		`[{"not": {"regexp":[{"doc":"sys.id"},{"pattern":"nav"}]}}]`:                      false,

		// All of them; what is not there is false, with not as well.
		`[{"equals":[{"doc":"sys.id"},"main_nav"]}, {"equals":[{"doc":"sys.contentType.sys.id"},"page"]}]`: true,
		`[{"equals":[{"doc":"sys.id"},"main_nav"]}, {"equals":[{"doc":"sys.contentType.sys.id"},"post"]}]`: false,
		`[{"equals":[{"doc":"sys.deletedBy.sys.id"},"u1"]}]`:                                               false,
		`[{"not":{"equals":[{"doc":"sys.deletedBy.sys.id"},"u1"]}}]`:                                       false,
		`[{"not":{"equals":[{"doc":"sys.createdBy.sys.id"},"u2"]}}]`:                                       true,

		// A value is compared with those of its own type.
		`[{"equals":[{"doc":"sys.version"},3]}]`:      true,
		`[{"equals":[{"doc":"sys.version"},3.0]}]`:    true,
		`[{"equals":[{"doc":"sys.version"},"3"]}]`:    false,
		`[{"equals":[{"doc":"metadata.tags"},"b"]}]`:  true,
		`[{"in":[{"doc":"metadata.tags"},[null,1]]}]`: false,
	} {
		filters, err := ParseContentful([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := true
		for _, f := range filters {
			got = got && f.Match(d)
		}
		if got != want {
			t.Errorf("%s: %v", text, got)
		}
		var shown []string
		for _, f := range filters {
			shown = append(shown, f.String())
		}
		if all := "[" + strings.Join(shown, ",") + "]"; text != "null" && all != strings.ReplaceAll(text, " ", "") {
			t.Errorf("%s is shown as %s", text, all)
		}
	}
}

func TestContentfulFiltersPointToWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		``:                                      "there is no JSON; write e.g. [{",
		`{}`:                                    "an array is expected; write e.g. [{",
		`"x"`:                                   "an array is expected",
		`[`:                                     "unexpected EOF, in line 1, column 2",
		"[\n  {,}\n]":                           "at /0: invalid character ',' at start of string (expecting '\"'), in line 2, column 4",
		`[] []`:                                 "there is more after the end of the JSON, in line 1, column 3",
		`[{"a":1,"a":2}]`:                       "at /0/a: duplicate object member name",
		`["x"]`:                                 `at /0: an object is expected, e.g. {"equals"`,
		`[{}]`:                                  "at /0: one of equals, in, regexp and not is expected, but there are 0 members",
		`[{"equals":[],"in":[]}]`:               "but there are 2 members; write an object for each condition",
		`[{"equal":[{"doc":"sys.id"},"x"]}]`:    `at /0: unknown operator "equal" — did you mean "equals"?`,
		`[{"xyz":[{"doc":"sys.id"},"x"]}]`:      `at /0: unknown operator "xyz"; there are equals, in, regexp, not`,
		`[{"exists":[{"doc":"sys.id"}]}]`:       "at /0: Contentful has no exists; write a line: filter <path> exists",
		`[{"not":{"not":{"equals":[]}}}]`:       "at /0/not: not stands in not",
		`[{"not":[]}]`:                          "at /0/not: an object is expected",
		`[{"equals":{"doc":"sys.id"}}]`:         "at /0/equals: two elements are expected",
		`[{"equals":[{"doc":"sys.id"}]}]`:       "at /0/equals: two elements are expected",
		`[{"equals":["sys.id","x"]}]`:           `at /0/equals/0: the path is expected as {"doc": "sys.id"}`,
		`[{"equals":[{"dok":"sys.id"},"x"]}]`:   `at /0/equals/0: the path is expected as {"doc": "sys.id"}`,
		`[{"equals":[{"doc":7},"x"]}]`:          "at /0/equals/0/doc: a dotted path is expected",
		`[{"equals":[{"doc":"sys..id"},"x"]}]`:  `at /0/equals/0/doc: the path "sys..id" has an empty segment`,
		`[{"equals":[{"doc":"sys.id"},["x"]]}]`: "at /0/equals/1: a single value is expected",
		`[{"in":[{"doc":"sys.id"},"x"]}]`:       "at /0/in/1: an array of values is expected",
		`[{"in":[{"doc":"sys.id"},[]]}]`:        "at /0/in/1: an array of values is expected",
		`[{"in":[{"doc":"sys.id"},["x",{}]]}]`:  "at /0/in/1/1: a single value is expected",
		`[{"regexp":[{"doc":"sys.id"},"x"]}]`:   `at /0/regexp/1: the pattern is expected as {"pattern"`,
		`[{"regexp":[{"doc":"sys.id"},{"pattern":"["}]}]`:                               "at /0/regexp/1/pattern: the pattern \"[\" is none of RE2",
		`[{"equals":[{"doc":"a"},"x"]},{"not":{"regexp":[{"doc":"a"},{"pattern":7}]}}]`: "at /1/not/regexp/1: the pattern is expected",
	} {
		if _, err := ParseContentful([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant: %s", text, err, want)
		}
	}
}

func FuzzParseContentful(f *testing.F) {
	for _, text := range []string{
		`[{"equals":[{"doc":"sys.id"},"x"]}]`, `[{"not":{"in":[{"doc":"a.b"},[1,null,true,"x"]]}}]`,
		`[{"regexp":[{"doc":"a"},{"pattern":"^x"}]}]`, `null`, `[{"not":{"not":{}}}]`, `[`, `[{"equals":[{"doc":"\ud800"},1e999]}]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		filters, err := ParseContentful(text)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		d := document(t, entry)
		for _, f := range filters {
			// What it is shown as is the same filter.
			again, err := ParseContentful([]byte("[" + f.String() + "]"))
			if err != nil || len(again) != 1 || again[0].Match(d) != f.Match(d) {
				t.Fatalf("%s of %s: %v", f, text, err)
			}
		}
	})
}
