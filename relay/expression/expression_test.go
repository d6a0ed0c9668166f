package expression

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

const sample = `{
	"total": 100.5, "count": 3, "big": 9007199254740993, "huge": 18446744073709551615, "over": 1e400,
	"currency": "EUR", "paid": true, "note": null, "tags": ["vip", "eu"], "empty": {}, "none": [],
	"customer": {"id": "c-7", "address": {"city": "Li\u00e8ge"}}, "with space": 1,
	"items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}]
}`

func open(t testing.TB, data string) *Event {
	t.Helper()
	d := payload.OpenDocument([]byte(data))
	t.Cleanup(d.Close)
	return &Event{
		ID: "evt_1", Type: "order.paid", Source: "/shop", Time: time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC), Data: d,
	}
}

func compiled(t testing.TB, text string) *Expression {
	t.Helper()
	x, err := Compile(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return x
}

func TestExpressions(t *testing.T) {
	for text, want := range map[string]bool{
		`event.type == "order.paid" && event.source == "/shop" && event.id.startsWith("evt_")`: true,
		`event.type.startsWith("invoice.")`:                                                    false,
		`event.time > timestamp("2026-11-21T00:00:00Z") && event.time.getHours() == 20`:        true,
		`event.time + duration("1h") == timestamp("2026-11-21T21:00:00Z")`:                     true,
		`event.subject == ""`:                                true,
		`has(event.source) && !has(event.subject)`:           true,
		`has(event.data.currency) && !has(event.data.none1)`: true,
		`has(event.data.note) && event.data.note == null`:    true,

		// Numbers: whole ones are int, and compare with those that are not.
		`event.data.total > 100`:                             true,
		`event.data.total > 100.4 && event.data.count < 3.5`: true,
		`event.data.count == 3 && event.data.count == 3.0`:   true,
		`event.data.count + 1 == 4`:                          true,
		`event.data.total * 2.0 == 201.0`:                    true,
		`double(event.data.count) * 1.5 == 4.5`:              true,
		`event.data.big == 9007199254740993`:                 true,
		`event.data.big == 9007199254740992`:                 false,
		`event.data.huge == 18446744073709551615u`:           true,
		`event.data.over > 1e308`:                            true,

		`event.data.paid`:                                                           true,
		`event.data.currency in ["EUR", "USD"]`:                                     true,
		`"vip" in event.data.tags && !("x" in event.data.tags)`:                     true,
		`event.data.tags[1] == "eu" && size(event.data.tags) == 2`:                  true,
		`event.data.tags == ["vip", "eu"] && ["vip", "eu"] == event.data.tags`:      true,
		`event.data.customer == {"id": "c-7", "address": {"city": "Liège"}}`:        true,
		`{"id": "c-7"} == event.data.customer`:                                      false,
		`event.data.customer.address.city == "Li\u00e8ge"`:                          true,
		`event.data["with space"] == 1`:                                             true,
		`"id" in event.data.customer && size(event.data.customer) == 2`:             true,
		`event.data.customer.exists(name, name == "id")`:                            true,
		`event.data.items.exists(i, i.sku == "b" && i.n == 2)`:                      true,
		`event.data.items.all(i, i.n > 1)`:                                          false,
		`event.data.items.map(i, i.n) == [1, 2]`:                                    true,
		`(event.data.tags + ["x"]).size() == 3`:                                     true,
		`event.data.empty == {} && event.data.none == []`:                           true,
		`event.data.currency.matches("^[A-Z]{3}$")`:                                 true,
		`event.data.currency.lowerAscii() == "eur"`:                                 true,
		`event.data.?missing.?deeper.orValue("x") == "x"`:                           true,
		`event.data.?customer.?id.orValue("x") == "c-7"`:                            true,
		`type(event.data.tags) == list && type(event.data) == map`:                  true,
		`math.greatest(event.data.count, 5) == 5`:                                   true,
		`cel.bind(c, event.data.customer, c.id == "c-7")`:                           true,
		`event.data.items.transformList(i, v, v.n).size() == 2`:                     false,
		`event.data.missing == 1 || event.type == "order.paid"`:                     true, // the other side decides
		"event.type == 'order.paid' &&\n\tevent.data.currency == 'EUR' // in euros": true,
	} {
		x, err := Compile(text)
		if err != nil {
			if want {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if got, err := x.Match(open(t, sample)); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if x.String() != text {
			t.Errorf("%q is shown as %q", text, x)
		}
	}
}

// TestWhatCannotBeToldIsNoMatch: the event is not meant, and the error says why.
func TestWhatCannotBeToldIsNoMatch(t *testing.T) {
	for text, want := range map[string]string{
		`event.data.missing == 1`:                      `there is no "missing"`,
		`!(event.data.missing == 1)`:                   `there is no "missing"`,
		`event.data.customer.phone == "1"`:             `there is no "phone"`,
		`event.data.currency.length == 3`:              `there is no "length"`,
		`event.data.currency > 5`:                      "another type",
		`event.data.count + 0.5 > 1.0`:                 "another type",
		`event.data.currency`:                          "the result is a string, not true or false",
		`event.data.customer`:                          "the result is an object",
		`event.data.tags`:                              "the result is a list",
		`event.data.note`:                              "the result is null",
		`event.data.tags[7] == "x"`:                    "index out of bounds: 7",
		`event.data.items.all(i, i.x == 1)`:            `there is no "x"`,
		`1 / (event.data.count - 3) == 1`:              "division by zero",
		`int(event.data.currency) == 1`:                "type conversion",
		`[event] == [event]`:                           "unsupported",
		`timestamp(event.data.currency) == event.time`: "invalid RFC 3339",
	} {
		x := compiled(t, text)
		got, err := x.Match(open(t, sample))
		if got || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want an error with %q", text, got, err, want)
		}
	}
	for _, text := range []string{`event.data.total > 1`, `event.data == null`, `event.data["a"] == 1`} {
		if got, err := compiled(t, text).Match(&Event{Type: "a"}); got || !errors.Is(err, errNoJSON) && (err == nil || err.Error() != errNoJSON.Error()) {
			t.Errorf("%s of what is no JSON: %v, %v", text, got, err)
		}
	}
	if got, err := compiled(t, `event.type == "a"`).Match(&Event{Type: "a"}); !got || err != nil {
		t.Errorf("the type of what is no JSON: %v, %v", got, err)
	}
}

func TestExpressionsAreBounded(t *testing.T) {
	list := "[" + strings.Repeat("1,", 4000) + "1]"
	for _, text := range []string{
		`event.data.all(a, event.data.all(b, event.data.all(c, a == b && b == c)))`,
		`event.data.map(a, event.data.map(b, [a] + [b])).size() == 0`,
		`cel.bind(a, [event.data.map(x, "some text")], a.all(x, x.all(y, x.all(z, y == z))))`,
	} {
		start := time.Now()
		got, err := compiled(t, text).Match(open(t, list))
		if got || !errors.Is(err, ErrCost) {
			t.Errorf("%s: %v, %v after %v", text, got, err, time.Since(start))
		}
	}
}

func TestMistakesShowThePlace(t *testing.T) {
	long := `event.type == "` + strings.Repeat("é", 100) + `" && event.typ == "a" && ` + strings.Repeat("true && ", 30) + "true"
	for text, want := range map[string]string{
		`event.typ == "x"`:                             "there is no event.typ — did you mean \"event.type\"?\n\tevent.typ == \"x\"\n\t     ^ here",
		`event.data.total >`:                           "the expression ends too early\n\tevent.data.total >\n\t                  ^ here",
		`event.type == 5`:                              "== does not take string and int",
		`event.type + 5 == ""`:                         "+ does not take string and int",
		`size(5) == 1`:                                 "size() does not take (int)",
		"event.type == 'a' &&\n\tevent.sourc == 'b'":   "there is no event.sourc — did you mean \"event.source\"?\n\t\tevent.sourc == 'b'\n\t\t     ^ here",
		`event.type`:                                   "the result is string; a condition must be true or false: compare it with something\n\tevent.type\n\t     ^ here",
		`event.total > 5`:                              "there is no event.total; there are event.data, .id, .source, .subject, .time, .type; what an event brings is in its data: event.data.total",
		`data.total > 5`:                               `there is no "data" — did you mean "event.data"?`,
		`type.startsWith("x")`:                         "",
		`source == "a"`:                                `there is no "source" — did you mean "event.source"?`,
		`evnt.type == "a"`:                             `there is no "evnt" — did you mean "event"?`,
		`foo == 1`:                                     `there is no "foo"; there are event.data, event.id`,
		`response.status == 200`:                       `there is no "response"`,
		`{event.data.total} > 5`:                       "placeholders are not replaced in an expression",
		`event.type == {env.X}`:                        "placeholders are not replaced in an expression",
		`event.data.x.matches("[")`:                    "matches(): the pattern \"[\" is none of RE2: missing closing ]: `[`",
		`event.data.x.matches(".{999}.{999}.{999}")`:   "is too large: it comes to 2999 instructions",
		`event.data.x.matches(event.data.y)`:           "the pattern must be written out",
		`matches(event.data.x, event.data.y)`:          "the pattern must be written out",
		`event.data.x.replace("", event.data.x) == ""`: "must be written out",
		`"%s".format([event.type]) == ""`:              "format() is not available",
		`event.time > timestamp("x")`:                  "write a time like",
		`event.time - event.time > duration("x")`:      "write a number with its unit",
		`'abc`:      "syntax error",
		`a && && b`: "syntax error: extraneous input '&&'",
		``:          "the expression is empty",
		"\n\t ":     "the expression is empty",
		strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300): "recursion",
		strings.Repeat(" ", 20<<10) + "true":                         "at most 16384",
		long:                                                         "... ",
	} {
		_, err := Compile(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v\nwant: %s", text, err, want)
			continue
		}
		for line := range strings.Lines(err.Error()) {
			if n := len([]rune(line)); n > 400 {
				t.Errorf("%.80s: a line of %d characters", text, n)
			}
		}
	}
	_, err := Compile(long)
	lines := strings.Split(err.Error(), "\n")
	if caret := strings.IndexByte(lines[2], '^'); !strings.HasPrefix(string([]rune(lines[1])[caret:]), ".typ ==") {
		t.Errorf("the caret is not under its place:\n%v", err)
	}
}

func TestUses(t *testing.T) {
	for text, want := range map[string]string{
		`event.type == "a"`:                         "type",
		`event.data.id == "1"`:                      "data",
		`event.data.items.exists(e, e == event.id)`: "data id",
		`[event].size() == 1`:                       "data id source subject time type",
		`event.?subject.orValue("x") == "x"`:        "data id source subject time type",
		`true`:                                      "",
		`{"event": 1}.event == 1`:                   "",
		`event.data.events.exists(event, event.id == "inner")`: "data id", // too many do no harm
	} {
		var uses []string
		for _, name := range namesOf(eventType) {
			if compiled(t, text).Uses(name) {
				uses = append(uses, name)
			}
		}
		if got := strings.Join(uses, " "); got != want {
			t.Errorf("%s uses %q; want %q", text, got, want)
		}
	}
}

func TestConcurrentMatches(t *testing.T) {
	x := compiled(t, `event.data.n % 2 == 0 && event.data.items.exists(i, i == event.data.n)`)
	done := make(chan error, 8)
	for i := range 8 {
		go func() {
			var err error
			for range 200 {
				d := payload.OpenDocument(fmt.Appendf(nil, `{"n":%d,"items":[1,2,%d]}`, i, i))
				got, failed := x.Match(&Event{Data: d})
				if d.Close(); failed != nil || got != (i%2 == 0) {
					err = fmt.Errorf("%d: %v, %w", i, got, failed)
				}
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
