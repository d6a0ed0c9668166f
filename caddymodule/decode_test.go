package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestMistakesInJSONAreNamedByTheirPlace: whoever wrote the JSON finds the place, and is not
// told about types of Go.
func TestMistakesInJSONAreNamedByTheirPlace(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{"subscriptions": [{"name": "a"}, {"name": "b", "tiemout": "1s"}]}`, `/apps/relay/subscriptions/1/tiemout: there is no such field — did you mean "timeout"?`},
		{`{"subscriptions": [{"timeout": "soon"}]}`, `/apps/relay/subscriptions/0/timeout: "soon" is no duration; write a number with its unit`},
		{`{"subscriptions": [{"timeout": {}}]}`, `/apps/relay/subscriptions/0/timeout: a duration is expected, and not an object`},
		{`{"subscriptions": [{"timeout": 1.5}]}`, `/apps/relay/subscriptions/0/timeout: a duration is expected, and not a number`},
		{`{"subscriptions": [{"topics": "order.*"}]}`, `/apps/relay/subscriptions/0/topics: a list is expected, and not a text; write [...] around it`},
		{`{"subscriptions": [{"topics": ["a", 5]}]}`, `/apps/relay/subscriptions/0/topics/1: a text is expected, and not a number`},
		{`{"subscriptions": [{"retry": {"delays": ["1s", "x"]}}]}`, `/apps/relay/subscriptions/0/retry/delays/1: "x" is no duration`},
		{`{"subscriptions": [{"retry": {"jitter": "0.1"}}]}`, `/apps/relay/subscriptions/0/retry/jitter: a number is expected, and not a text`},
		{`{"subscriptions": [{"filter": [{"path": "a", "opreator": "in"}]}]}`, `/apps/relay/subscriptions/0/filter/0/opreator: there is no such field — did you mean "operator"?`},
		{`{"subscriptions": [{"max_in_flight": 1.5}]}`, `/apps/relay/subscriptions/0/max_in_flight: a whole number is expected`},
		{`{"subscriptions": [{"paused": "yes"}]}`, `/apps/relay/subscriptions/0/paused: true or false is expected, and not a text`},
		{`{"subscriptions": {}}`, `/apps/relay/subscriptions: a list is expected, and not an object`},
		{`{"subscriptions": [[]]}`, `/apps/relay/subscriptions/0: an object is expected, and not a list`},
		{`{"subscriptions": [null]}`, `/apps/relay/subscriptions/0: an object is expected, and not null`},
		{`{"regions": [{"name": "eu"}, null]}`, `/apps/relay/regions/1: an object is expected, and not null`},
		{`{"event_types": [null]}`, `/apps/relay/event_types/0: an object is expected, and not null`},
		{`{"regions": [{"egress": [{"address": "192.0.2.1", "from": "tomorrow"}]}]}`, `/apps/relay/regions/0/egress/0/from: "tomorrow" is no time; write it as 2027-01-04T00:00:00Z`},
		{`{"defaults": {"a/b~c": 1}}`, `/apps/relay/defaults/a~1b~0c: there is no such field`},
		{`{"notice": true}`, `/apps/relay/notice: a duration is expected, and not true or false`},
		{`{"regoins": []}`, `/apps/relay/regoins: there is no such field — did you mean "regions"?`},
		{`[]`, `/apps/relay: an object is expected, and not a list`},
	} {
		err := caddy.StrictUnmarshalJSON([]byte(c.config), new(App))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\ngot  %v\nwant %s", c.config, err, c.want)
		}
	}
}

// TestMistakesInJSONShowNoValues: what stands in the wrong place could be a secret.
func TestMistakesInJSONShowNoValues(t *testing.T) {
	for _, config := range []string{
		`{"subscriptions": [{"url": 31337}]}`,
		`{"subscriptions": [{"secret_header": [{"field": "X", "value": 31337}]}]}`,
		`{"subscriptions": [{"max_in_flight": "31337x"}]}`,
		`{"subscriptions": [{"secret_header": "31337"}]}`,
	} {
		if err := caddy.StrictUnmarshalJSON([]byte(config), new(App)); err == nil || strings.Contains(err.Error(), "31337") {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// TestJSONThatSaysNothingIsTaken: null is nothing said where something may be left out, as
// encoding/json has it.
func TestJSONThatSaysNothingIsTaken(t *testing.T) {
	for _, config := range []string{
		`{}`,
		`{"defaults": null, "retention": null, "subscriptions": null, "notice": null}`,
		`{"subscriptions": [{"name": "a", "URL": "https://example.com/", "retry": null, "sign": null}]}`,
	} {
		if err := caddy.StrictUnmarshalJSON([]byte(config), new(App)); err != nil {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// TestNullsEndNoCaddy: lists of objects with a null in them were dereferenced.
func TestNullsEndNoCaddy(t *testing.T) {
	for _, list := range []string{"subscriptions", "regions", "event_types"} {
		err := validate(`{"apps": {"relay": {"` + list + `": [null]}}}`)
		if err == nil || !strings.Contains(err.Error(), "/apps/relay/"+list+"/0") {
			t.Errorf("%s: %v", list, err)
		}
	}
}

func FuzzMistakeInJSON(f *testing.F) {
	for _, seed := range []string{
		`{"subscriptions": [{"name": "a", "url": "https://example.com/", "retry": {"delays": ["1s", 5]}}, null]}`,
		`{"regions": [{"name": "eu", "egress": [{"address": "192.0.2.1", "from": 5}]}], "notice": -1}`,
		`{"defaults": {"sign": [{"scheme": "standard"}], "filters": [1]}, "a": {"a": [[[]]]}}`,
		`{"subscriptions": 5e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			t.Skip()
		}
		app := new(App)
		err := caddy.StrictUnmarshalJSON(raw, app)
		if err == nil {
			return
		}
		if text := err.Error(); !strings.HasPrefix(text, "/apps/relay") {
			t.Errorf("%s: the error names no place: %s", raw, text)
		}
	})
}
