package transform

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func input(data string) Input {
	return Input{
		ID: "evt_1", Type: "order.paid", Source: "/shop", Subject: "o-1", Time: time.Date(2026, 11, 21, 22, 23, 59, 5e8, time.UTC),
		ContentType: "application/json", Data: []byte(data),
	}
}

func applyTemplate(t testing.TB, text string, in Input) (string, error) {
	t.Helper()
	made, err := NewTemplate(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	out, err := made.Apply(context.Background(), in)
	return string(out), err
}

func TestTemplate(t *testing.T) {
	const data = `{"n":12345678901234567,"big":123456789012345678901234567890,"f":12.50,"e":1e3,"s":"a<b>\"é","t":true,"z":null,"o":{"b":[1,"x"],"a":"<"},"l":["x","y"],"huge":1e999}`
	for text, want := range map[string]string{
		`{{ .id }} {{ .type }} {{ .source }} {{ .subject }} {{ .time }}`:             "evt_1 order.paid /shop o-1 2026-11-21T22:23:59.5Z",
		`{{ .data.n }} {{ .data.big }} {{ .data.f }} {{ .data.e }} {{ .data.huge }}`: "12345678901234567 123456789012345678901234567890 12.5 1000 1e999",
		`{{ .data.s }}`:        `a<b>"é`,
		`{{ toJson .data.s }}`: `"a\u003cb\u003e\"é"`,
		`{{ .data.missing }}|{{ .data.z }}|{{ .data.o.missing }}`:                                                                  "||",
		`{{ .data.missing | default "d" }}{{ if .data.missing }}x{{ else }}y{{ end }}`:                                             "dy",
		`{{ .data.o }} {{ .data.l }}`:                                                                                              `{"a":"<","b":[1,"x"]} ["x","y"]`,
		`{{ range $i, $v := .data.l }}{{ $i }}={{ $v }};{{ end }}`:                                                                 "0=x;1=y;",
		`{{ range .data.l }}{{ if eq . "y" }}{{ break }}{{ end }}{{ . }}{{ end }}`:                                                 "x",
		`{{ if gt .data.n 10 }}{{ gt .data.f 12.0 }}{{ end }}{{ if .data.t }}t{{ end }}`:                                           "truet",
		`{{ printf "%.2f" .data.f }} {{ add .data.e 1 }}`:                                                                          "12.50 1001",
		`{{ with .data.o }}{{ .a }}{{ end }}{{ with .data.none }}{{ else }}none{{ end }}`:                                          "<none",
		`{{ define "a" }}[{{ .data.z }}{{ .id }}]{{ end }}{{ template "a" . }}{{ block "b" .data }}{{ .t }}{{ end }}`:              "[evt_1]true",
		`a={{ urlquery .data.s }}&b={{ urlquery .subject }}`:                                                                       "a=a%3Cb%3E%22%C3%A9&b=o-1",
		`{{ $x := .data.f }}{{ $x }}{{ $x = .data.t }}{{ $x }}`:                                                                    "12.5true",
		`{{ until 3 }} {{ untilStep 6 0 -2 }} {{ seq 3 }} {{ seq 5 3 }} {{ seq 0 2 5 }} {{ repeat 3 "ab" }}{{ nindent 2 "a\nb" }}`: "[0 1 2] [6 4 2] 1 2 3 5 4 3 0 2 4 ababab\n  a\n  b",
		"": "",
	} {
		if got, err := applyTemplate(t, text, input(data)); err != nil || got != want {
			t.Errorf("%s\ngot:  %q, %v\nwant: %q", text, got, err, want)
		}
	}
}

func TestTemplateOfOtherData(t *testing.T) {
	text := input("plain & simple")
	text.ContentType = "text/plain"
	if got, err := applyTemplate(t, "<{{ .data }}>", text); err != nil || got != "<plain & simple>" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := applyTemplate(t, "<{{ .data }}>", input("")); err != nil || got != "<>" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := applyTemplate(t, "<{{ .data }}>", input("[1, 2]")); err != nil || got != "<[1,2]>" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := applyTemplate(t, "{{ .data }}", input("{")); err == nil || !strings.Contains(err.Error(), "the data is no JSON") {
		t.Error(err)
	}
}

func TestTemplateErrorsAtLoad(t *testing.T) {
	for text, want := range map[string]string{
		"a\n{{ .data.a":             "line 2: unclosed action",
		"{{ nosuch .data }}":        `line 1: function "nosuch" not defined`,
		"{{ if .id }}":              "unexpected EOF",
		`{{ env "HOME" }}`:          `function "env" not defined`,
		`{{ expandenv "$HOME" }}`:   `function "expandenv" not defined`,
		`{{ getHostByName "a.b" }}`: `function "getHostByName" not defined`,
		`{{ bcrypt "x" }}`:          `function "bcrypt" not defined`,
		`{{ readFile "x" }}`:        `function "readFile" not defined`,
	} {
		if _, err := NewTemplate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
}

// A template ends, whatever an event says.
func TestTemplateIsBounded(t *testing.T) {
	for text, want := range map[string]string{
		`{{ range .data.n }}x{{ end }}`:                                     "the result has more than 1024000 bytes",
		`{{ range .data.n }}{{ end }}`:                                      "it takes longer than 1s",
		`{{ range .data.n }}{{ if lt . 0 }}x{{ end }}{{ end }}`:             "it takes longer than 1s",
		`{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`: "exceeded maximum template depth",
		`{{ repeat (int .data.n) "x" }}`:                                    "repeat: 1000000000000 is too many",
		`{{ repeat 1000 (repeat 1025 "x") }}`:                               "repeat: 1000 is too many",
		`{{ repeat -1 "x" }}`:                                               "repeat: -1 is too many",
		`{{ until (int .data.n) }}`:                                         "until: 1000000000000 is too many",
		`{{ untilStep 0 (int .data.n) 1 }}`:                                 "is too many",
		`{{ seq 1 (int .data.n) }}`:                                         "is too many",
		`{{ indent (int .data.n) "x" }}`:                                    "is too many",
		`{{ nindent (int .data.n) "x" }}`:                                   "is too many",
		`{{ randAlphaNum (int .data.n) }}`:                                  "is too many",
		`{{ randBytes (int .data.n) }}`:                                     "is too many",
		`{{ .data.n.x }}`:                                                   "can't evaluate field x in type",
		`{{ div 1 0 }}`:                                                     "integer divide by zero",
		`{{ fail "no" }}`:                                                   "no",
	} {
		withoutClock(t, want, func(t *testing.T) {
			got, err := applyTemplate(t, text, input(`{"n":1000000000000}`))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %.20q, %v; want %s", text, got, err, want)
			}
		})
	}
}

// withoutClock runs a test of a bound. Where that is not the time, the test stands in a bubble, in
// which no time passes while it computes: on a busy machine the time may be over first.
func withoutClock(t *testing.T, want string, test func(t *testing.T)) {
	t.Helper()
	if strings.Contains(want, "it takes longer") {
		test(t)
		return
	}
	synctest.Test(t, test)
}

func TestTemplateEndsWithTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made, err := NewTemplate("{{ .id }}")
		if err != nil {
			t.Fatal(err)
		}
		cause := fmt.Errorf("the relay is stopping")
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		if _, err := made.Apply(ctx, input("{}")); err == nil || err.Error() != cause.Error() {
			t.Error(err)
		}
	})
}

// What runs in parallel does not see what the other sets.
func TestTemplateFromManyGoroutines(t *testing.T) {
	made, err := NewTemplate(`{{ $_ := set .data "seen" .id }}{{ .data.seen }}{{ range .data.l }}{{ . }}{{ end }}`)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for i := range 200 {
				in := input(`{"l":[1,2]}`)
				in.ID = fmt.Sprint("evt_", i)
				if out, err := made.Apply(context.Background(), in); err != nil || string(out) != in.ID+"12" {
					t.Errorf("%s, %v", out, err)
				}
			}
		})
	}
}

// An event's data is data: what looks like an action, or like a placeholder of Caddy, is text.
func FuzzTemplateData(f *testing.F) {
	f.Add(`{{ .id }}`)
	f.Add(`{env.HOME}`)
	f.Add("\xff\x00")
	made, err := NewTemplate(`<{{ .subject }}>{{ range list 1 2 }}{{ $.data }}{{ end }}`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		in := input(value)
		in.Subject, in.ContentType = value, "text/plain"
		out, err := made.Apply(context.Background(), in)
		if err != nil || string(out) != "<"+value+">"+value+value {
			t.Fatalf("%q gives %q, %v", value, out, err)
		}
	})
}

func BenchmarkTemplate(b *testing.B) {
	made, err := NewTemplate(`{"ref": "main", "inputs": {"entry": {{ toJson .data.sys.id }}}}`)
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

func TestNoTransformationReadsTheEnvironment(t *testing.T) {
	t.Setenv("RELAY_SECRET_OF_THE_TEST", "open-sesame")
	if os.Getenv("RELAY_SECRET_OF_THE_TEST") == "" {
		t.Fatal("the variable is not set")
	}
	for _, program := range []string{"$ENV", "env", "$ENV.RELAY_SECRET_OF_THE_TEST", "$__prog_args"} {
		made, err := NewJQ(program, "")
		if err != nil {
			continue
		}
		if out, err := made.Apply(context.Background(), input("{}")); err == nil && strings.Contains(string(out), "sesame") {
			t.Errorf("%s: %s", program, out)
		}
	}
}
