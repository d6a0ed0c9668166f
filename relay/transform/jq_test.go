package transform

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/itchyny/gojq"
)

func applyJQ(t testing.TB, program, contentType string, in Input) (string, error) {
	t.Helper()
	made, err := NewJQ(program, contentType)
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	out, err := made.Apply(context.Background(), in)
	return string(out), err
}

func TestJQ(t *testing.T) {
	const data = `{"big":123456789012345678901234567890,"f":12.50,"s":"a<b>é","l":[3,1,2],"z":null}`
	for program, want := range map[string]string{
		".": `{"data":{"big":123456789012345678901234567890,"f":12.50,"l":[3,1,2],"s":"a<b>é","z":null},"id":"evt_1","source":"/shop","subject":"o-1","time":"2026-11-21T22:23:59.5Z","type":"order.paid"}`,
		"{ref: \"main\", inputs: {entry: .data.s}}": `{"inputs":{"entry":"a<b>é"},"ref":"main"}`,
		".data.l | sort | map(. * 2)":               "[2,4,6]",
		".data.missing":                             "null",
		".data.s":                                   `"a<b>é"`,
		"def f: .type; f":                           `"order.paid"`,
		`[.data.s | test("^a")]`:                    "[true]",
	} {
		if got, err := applyJQ(t, program, "application/json", input(data)); err != nil || got != want {
			t.Errorf("%s\ngot:  %s, %v\nwant: %s", program, got, err, want)
		}
	}
	if got, err := applyJQ(t, `"a=\(.data.s|@uri)&b=\(.subject|@uri)"`, "application/x-www-form-urlencoded", input(data)); err != nil || got != "a=a%3Cb%3E%C3%A9&b=o-1" {
		t.Errorf("%s, %v; want text as it is", got, err)
	}
	if got, err := applyJQ(t, `{a: 1}`, "text/plain", input(data)); err != nil || got != `{"a":1}` {
		t.Errorf("%s, %v", got, err)
	}
	text := input("plain")
	text.ContentType = "text/plain"
	if got, err := applyJQ(t, "{text: .data}", "", text); err != nil || got != `{"text":"plain"}` {
		t.Errorf("%s, %v", got, err)
	}
}

// TestJQMultipliesAsItIs: what bounds repetitions changes no result, nor the order of several.
func TestJQMultipliesAsItIs(t *testing.T) {
	for _, program := range []string{
		`[.a * .b, .s * .b, .b * .s, .o * .o, (1,2) * (.a, .b), -.a * .b]`, `[.s * 0, .s * -1, .s * 0.5]`,
		`.a *= .b`, `(.a, .b) *= (2, .b) | [.a, .b]`, `.s *= .b`, `[.l[] * .b] | add`, `def f(x): x * x; f(.a) * f(.b)`,
		`.a * .b * .a + .b * .a`, `[.l[] as $x | $x * .a]`, `reduce .l[] as $x (1; . * $x)`, `if .a * .b > 3 then .s * .b else 0 end`,
		`[limit(3; .l[] * .a)]`, `try (.o * .s) catch "no"`, `.l | map(. * .)`, `{x: (.a * .b), (.s * .b): 1}`, `def f: 2; f * (def g: 3; g) * .a`,
		`[.a, .b] as [$x, $y] | $x * $y`, `.big * .big`, `"a\(.s * .b)b"`, `.l[.a * 1 - 2:.b * .a]`, `label $out | .l[] * .a | if . > 4 then ., break $out else empty end`,
	} {
		in := map[string]any{"a": 2, "b": 3, "s": "xy", "o": map[string]any{"k": map[string]any{"m": 1}}, "l": []any{1, 2, 3}, "big": json.Number("123456789012345678901234567890")}
		plain, err := gojq.Parse(program)
		if err != nil {
			t.Fatal(program, err)
		}
		changed, err := gojq.Parse(program)
		if err == nil {
			err = boundRepetitions(changed)
		}
		if err != nil {
			t.Fatal(program, err)
		}
		all := func(q *gojq.Query) (results []any) {
			code, err := gojq.Compile(q, withRepetitionCheck)
			if err != nil {
				t.Fatalf("%s: %s: %v", program, q, err)
			}
			for found := code.Run(in); ; {
				v, ok := found.Next()
				if !ok {
					return results
				}
				if err, failed := v.(error); failed {
					v = err.Error()
				}
				results = append(results, v)
			}
		}
		if got, want := all(changed), all(plain); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v; want %v (%s)", program, got, want, changed)
		}
	}
}

func TestJQErrorsAtLoad(t *testing.T) {
	for program, want := range map[string]string{
		"{a: 1,\n b: }":         "line 2, column 5: unexpected token \"}\"",
		"{a: 1":                 "line 1, column 6: unexpected EOF",
		"nosuch":                "function not defined: nosuch/0",
		"$nosuch":               "variable not defined: $nosuch",
		`import "a" as a; a::b`: "cannot load module",
		"input":                 "input(s)/0 is not allowed",
		`"a" | include("x")`:    "",
	} {
		if _, err := NewJQ(program, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", program, err, want)
		}
	}
}

// A program ends, whatever an event says, and its error shows nothing of the event.
func TestJQIsBounded(t *testing.T) {
	for program, want := range map[string]string{
		"def f: f; f":                  "it takes longer than 1s",
		"last(range(.data.n))":         "it takes longer than 1s",
		`"x" * 1100000`:                "the result has more than 1024000 bytes",
		`"x" * .data.n`:                "repeating a text: 1000000000000 is too many",
		`.data.n * "x"`:                "repeating a text: 1000000000000 is too many",
		`[.data | .n * ("x", "y")]`:    "is too many",
		`.data | .secret *= .n`:        "is too many",
		`def f: .data.n; "x" * f`:      "is too many",
		`"\("x" * .data.n)"`:           "is too many",
		"empty":                        "there is no result; to leave an event out",
		".data, .data":                 "there is more than one result",
		".data.secret | keys":          "keys cannot be applied to: string",
		".data.secret.x":               "expected an object but got: string",
		".data | .[0]":                 "expected an array but got: object",
		`error("said by the program")`: "said by the program",
		"error({a: .data.secret})":     "the program ended with an error that is no text",
		"halt":                         "the program has halted",
		"halt_error":                   "the program has halted",
		".data.secret | tonumber":      "tonumber cannot be applied to",
		".data.secret | fromjson":      "fromjson cannot be applied to",
		".data.secret + 1":             "cannot add",
	} {
		withoutClock(t, want, func(t *testing.T) {
			got, err := applyJQ(t, program, "", input(`{"n":1000000000000,"secret":"open-sesame"}`))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %.40q, %v; want %s", program, got, err, want)
			}
			if err != nil && strings.Contains(err.Error(), "sesame") {
				t.Errorf("%s: the error shows the data: %v", program, err)
			}
		})
	}
}

func TestCheckJSON(t *testing.T) {
	for body, want := range map[string]string{
		`{"a": [1, "x"]}`: "", "null": "", " 1 \n": "",
		"":              "is wrong from byte 1",
		"{\"a\":\n }":   "(line 2)",
		`{"a": secret}`: "is wrong from byte 7",
		`{"a": 1} {}`:   "more than one value",
		`{"a": 1}x`:     "more than one value",
	} {
		err := CheckJSON([]byte(body))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", body, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the body: %v", err)
		}
	}
}

// The identity is the event, whatever its data: numbers are not rounded on the way.
func FuzzJQIdentity(f *testing.F) {
	f.Add(`{"a":1.50,"b":[1e400,123456789012345678901234567890],"c":"\ud83d\ude00<"}`)
	f.Add(`"x"`)
	f.Add("-0")
	made, err := NewJQ(".data", "")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data string) {
		if !json.Valid([]byte(data)) {
			return
		}
		out, err := made.Apply(context.Background(), input(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckJSON(out); err != nil {
			t.Fatalf("%s becomes %s: %v", data, out, err)
		}
		var before, after any
		for i, into := range []*any{&before, &after} {
			d := json.NewDecoder(strings.NewReader([]string{data, string(out)}[i]))
			d.UseNumber()
			if err := d.Decode(into); err != nil {
				t.Fatal(err)
			}
		}
		a, _ := json.Marshal(before)
		b, _ := json.Marshal(after)
		if string(a) != string(b) {
			t.Fatalf("%s becomes %s", data, out)
		}
	})
}

func BenchmarkJQ(b *testing.B) {
	made, err := NewJQ(`{ref: "main", inputs: {entry: .data.sys.id}}`, "")
	if err != nil {
		b.Fatal(err)
	}
	in := input(`{"sys":{"id":"e1"},"fields":"` + strings.Repeat("x", 900) + `"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := made.Apply(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}
