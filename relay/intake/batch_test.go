package intake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

const (
	batched = "Content-Type: application/cloudevents-batch+json"
	ndjson  = "Content-Type: application/x-ndjson"
)

// acceptBatch posts a batch, which must be taken.
func (s *setup) acceptBatch(t *testing.T, a ask) []accepted {
	t.Helper()
	w := s.do(a)
	if w.Code != http.StatusAccepted {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var answer struct{ Events []accepted }
	strict := json.NewDecoder(w.Body)
	strict.DisallowUnknownFields()
	if err := strict.Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.Events == nil {
		t.Error("events is not a list")
	}
	if got := w.Header().Get("Location"); got != "" {
		t.Errorf("Location %q", got)
	}
	all := len(answer.Events) > 0
	for _, e := range answer.Events {
		all = all && e.Duplicate
	}
	if got := w.Header().Get("Idempotency-Replayed"); (got == "true") != all {
		t.Errorf("Idempotency-Replayed %q for %+v", got, answer.Events)
	}
	return answer.Events
}

func typesOf(events []accepted) []string {
	var types []string
	for _, e := range events {
		types = append(types, e.Type)
	}
	return types
}

func TestBatchOfCloudEvents(t *testing.T) {
	for _, ct := range []string{"application/cloudevents-batch+json", "application/cloudevents-batch+json; charset=utf-8"} {
		s := newSetup(t)
		events := s.acceptBatch(t, ask{path: "/v1/events", header: "Content-Type: " + ct + "\nRelay-Subscriptions: crm\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", body: ` [
			{"specversion":"1.0","id":"1","source":"/s","type":"first","data": {"a" : 1.0 } , "x":"y"},
			{"specversion":"1.0","id":"2","source":"/s","type":"second"} ,{"type":"third","data_base64":"AAEC","id":"3","source":"/s","specversion":"1.0"}
		] `})
		equal(t, "types", typesOf(events), []string{"first", "second", "third"})
		equal(t, "matched", events[2].Matched, []string{"crm"})
		equal(t, "calls", s.engine.batches, []int{3})
		p := s.engine.published
		equal(t, "data", string(p[0].Event.Data), `{"a" : 1.0 }`)
		equal(t, "extensions", p[0].Event.Extensions, map[string]string{"x": "y"})
		equal(t, "data", string(p[1].Event.Data)+string(p[2].Event.Data), "\x00\x01\x02")
		for _, p := range p {
			equal(t, "only", p.Event.Only, []string{"crm"})
			equal(t, "kind", p.Key.Kind, relay.KeyCloudEvent)
			if p.Event.TraceParent == "" {
				t.Error("no traceparent")
			}
		}
		equal(t, "took", s.tally.took, 1)
	}
}

func TestLinesOfEventsOfBothForms(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.DefaultSource = "/default" })
	events := s.acceptBatch(t, ask{path: "/v1/events", header: ndjson + "; charset=utf-8", body: "\n" +
		`{"type":"first","data": {"a" : 1.0 } ,"id":"1"}` + "\r\n \t\n" +
		"\t" + `{"specversion":"1.0","id":"2","source":"/s","type":"second","data":null,"x":1} ` + "\n\n" +
		`{"data":[1 , 2],"type":"third"}`})
	equal(t, "types", typesOf(events), []string{"first", "second", "third"})
	equal(t, "calls", s.engine.batches, []int{3})
	var got []string
	for _, p := range s.engine.published {
		kind := relay.KeyKind(0)
		if p.Key != nil {
			kind = p.Key.Kind
		}
		got = append(got, fmt.Sprintf("%s %s %s %s %d", p.Event.Type, p.Event.Source, p.Event.SourceID, p.Event.Data, kind))
	}
	equal(t, "events", got, []string{`first /default 1 {"a" : 1.0 } 3`, `second /s 2 null 2`, `third /default  [1 , 2] 0`})
}

// One event that waits must not keep the memory of a whole batch.
func TestEventsOfABatchDoNotShareItsMemory(t *testing.T) {
	body := []byte(`{"type":"a","data":"first"}` + "\n" + `{"type":"a","data":"second"}`)
	s := newSetup(t)
	events, ref := s.parseLines(&submission{body: body, batch: true})
	if ref != nil {
		t.Fatal(ref)
	}
	clear(body)
	equal(t, "data", string(events[0].Event.Data)+string(events[1].Event.Data), `"first""second"`)
}

func TestEmptyBatches(t *testing.T) {
	s := newSetup(t)
	equal(t, "answer", s.acceptBatch(t, ask{path: "/v1/events", header: batched + "\nIdempotency-Key: k", body: " [ ] "}), []accepted{})
	equal(t, "calls", len(s.engine.batches), 0)
	s.refused(t, ask{path: "/v1/events", header: batched, body: ""}, 400, "malformed-json")
	s.refused(t, ask{path: "/v1/events", header: ndjson, body: ""}, 400, "malformed-json")
	s.refused(t, ask{path: "/v1/events", header: ndjson, body: " \n\r\n\t"}, 400, "malformed-json")
}

// What is wrong is told of all items, by pointer and line; nothing is stored.
func TestBatchFaults(t *testing.T) {
	good := ce("1", "")
	for _, c := range []struct {
		header, body string
		faults       []string
	}{
		{batched, `[` + good + `,{},` + good + `,{"specversion":"1.0","id":"1","source":"/s","type":"a..b"}]`, []string{
			"/1/specversion: missing", "/1/id: missing", "/1/source: missing", "/1/type: missing", "/3/type: empty segment",
		}},
		{batched, `[1,null,[],"x"]`, []string{"/0: must be an object", "/1: must be", "/2: must be", "/3: must be"}},
		{batched, `[{"type":"a","data":1}]`, []string{"/0/specversion: missing", "/0/id: missing", "/0/source: missing"}},
		{ndjson, good + "\n\n" + `{"type":"a"}` + "\n" + `7` + "\n" + `{"specversion":"1.0","type":"a"}`, []string{
			"/1/data: missing", "/2: must be an object", "/3/id: missing", "/3/source: missing",
		}},
	} {
		s := newSetup(t)
		wantFaults(t, s.refused(t, ask{path: "/v1/events", header: c.header, body: c.body}, 422, "invalid-batch"), c.body, c.faults)
	}
	s := newSetup(t)
	p := s.refused(t, ask{path: "/v1/events", header: ndjson, body: good + "\n\n" + `{"type":"a","data":1,"time":"x"}`}, 422, "invalid-batch")
	equal(t, "line", p.Errors[0].Line, 3)
	if !strings.Contains(p.Detail, "line 3, /1/time") {
		t.Error(p.Detail)
	}
	for _, body := range []string{`{}`, `null`, good} {
		s.refused(t, ask{path: "/v1/events", header: batched, body: body}, 422, "invalid-batch")
	}
	p = s.refused(t, ask{path: "/v1/events", header: ndjson, body: strings.Repeat("{}\n", 1000)}, 422, "invalid-batch")
	equal(t, "faults", len(p.Errors), maxFaults)
	if !strings.HasPrefix(p.Detail, "2000 things") {
		t.Error(p.Detail)
	}
	// Keys that key_from finds are checked, too.
	s = newSetup(t, func(o *Options) { o.KeyFrom = []Locator{{Path: "data.k"}} })
	p = s.refused(t, ask{path: "/v1/events", header: ndjson, body: `{"type":"a","data":1}` + "\n" + `{"type":"a","data":{"k":"\n"}}`}, 422, "invalid-batch")
	equal(t, "pointer", p.Errors[0].Pointer, "/1")
}

// A batch that is no JSON is refused as such, whatever else is wrong with it.
func TestBatchThatIsNoJSON(t *testing.T) {
	good, deep := ce("1", ""), strings.Repeat("[", 65)+strings.Repeat("]", 65)
	for _, c := range []struct {
		header, body, slug, pointer string
		offset, line                int
	}{
		{batched, `[{},` + good + `,{"a":}]`, "malformed-json", "/2/a", 65, 0},
		{batched, `[` + good, "malformed-json", "", 56, 0},
		{batched, `[` + good + `] []`, "malformed-json", "", 58, 0},
		{batched, `[` + good + `,]`, "malformed-json", "/1", 57, 0},
		{batched, `[{"id":1,"id":2}]`, "duplicate-name", "/0/id", 9, 0},
		{batched, `[{"data":` + deep + `}]`, "too-deep", "/0/data" + strings.Repeat("/0", 64), 73, 0},
		{batched, `[{"x":` + deep + `}]`, "too-deep", "/0/x" + strings.Repeat("/0", 64), 70, 0},
		{batched, `[[` + deep + `]]`, "too-deep", strings.Repeat("/0", 66), 66, 0},
		{batched, "[{\"a\":\"\xff\"}]", "not-utf-8", "/0/a", 7, 0},
		{ndjson, `{}` + "\n\n " + `{"a":}`, "malformed-json", "/1/a", 10, 3},
		{ndjson, good + "\n" + good + good, "malformed-json", "/1", 111, 2},
		{ndjson, good + "\n" + `{"id":1,`, "malformed-json", "/1", 64, 2},
		{ndjson, good + "\r\n" + `{"id":1,"id":2}`, "duplicate-name", "/1/id", 65, 2},
		{ndjson, good + "\n" + `{"data":` + deep + `}`, "too-deep", "/1/data" + strings.Repeat("/0", 64), 128, 2},
		{ndjson, good + "\n" + "{\"a\":\"\xff\"}", "not-utf-8", "/1/a", 62, 2},
		{ndjson, "{\n}", "malformed-json", "/0", 1, 1},
	} {
		s := newSetup(t)
		p := s.refused(t, ask{path: "/v1/events", header: c.header, body: c.body}, 400, c.slug)
		if len(p.Errors) != 1 || p.Errors[0].Offset == nil {
			t.Errorf("%.80q: %+v", c.body, p)
			continue
		}
		got := p.Errors[0]
		if *got.Offset != c.offset || got.Pointer != c.pointer || got.Line != c.line {
			t.Errorf("%.80q: at %d, %q, line %d; want %d, %q, %d (%s)", c.body, *got.Offset, got.Pointer, got.Line, c.offset, c.pointer, c.line, p.Detail)
		}
		if c.line > 0 && !strings.HasPrefix(p.Detail, fmt.Sprintf("Line %d: ", c.line)) {
			t.Error(p.Detail)
		}
	}
	right := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	s := newSetup(t)
	s.acceptBatch(t, ask{path: "/v1/events", header: batched, body: `[` + ce("1", `"data":`+right) + `]`})
	s.acceptBatch(t, ask{path: "/v1/events", header: ndjson, body: ce("2", `"data":`+right)})
}

func TestLimitsOfABatch(t *testing.T) {
	lines := func(n int) string { return strings.Repeat(`{"type":"a","data":1}`+"\n", n) }
	s := newSetup(t)
	equal(t, "events", len(s.acceptBatch(t, ask{path: "/v1/events", header: ndjson, body: lines(1000)})), 1000)
	p := s.refused(t, ask{path: "/v1/events", header: ndjson, body: lines(1001)}, 413, "batch-too-large")
	equal(t, "fits", *p.Fits, 1000)

	s = newSetup(t, func(o *Options) { o.MaxBatch = 2; o.MaxEventSize = 100 })
	s.acceptBatch(t, ask{path: "/v1/events", header: ndjson, body: lines(2)})
	equal(t, "fits", *s.refused(t, ask{path: "/v1/events", header: ndjson, body: lines(3)}, 413, "batch-too-large").Fits, 2)
	s.refused(t, ask{path: "/v1/events", header: batched, body: "[" + ce("1", "") + "," + ce("2", "") + "," + ce("3", "") + "]"}, 413, "batch-too-large")
	// Each event of a batch may be as large as one by itself.
	long := `{"type":"a","data":"` + strings.Repeat("x", 100) + `"}`
	p = s.refused(t, ask{path: "/v1/events", header: ndjson, body: lines(1) + "\n" + long}, 413, "body-too-large")
	equal(t, "pointer", p.Errors[0].Pointer, "/1")
	equal(t, "line", p.Errors[0].Line, 3)
	p = s.refused(t, ask{path: "/v1/events", header: batched, body: "[" + ce("1", "") + "," + ce("2", `"data":"`+strings.Repeat("x", 100)+`"`) + "]"}, 413, "body-too-large")
	equal(t, "pointer", p.Errors[0].Pointer, "/1")

	// The whole may be larger than one event, up to 2 MiB.
	s = newSetup(t)
	large := `{"type":"a","data":"` + strings.Repeat("x", 500<<10) + `"}` + "\n"
	equal(t, "events", len(s.acceptBatch(t, ask{path: "/v1/events", header: ndjson, body: strings.Repeat(large, 4)})), 4)
	p = s.refused(t, ask{path: "/v1/events", header: ndjson, body: strings.Repeat(large, 5)}, 413, "body-too-large")
	if !strings.Contains(p.Detail, "in several batches") || strings.Contains(p.Detail, "max_event_size") {
		t.Errorf("no option raises this limit: %s", p.Detail)
	}
}

func TestBatchThatDoesNotFit(t *testing.T) {
	s := newSetup(t)
	s.engine.fails = fmt.Errorf("appending: %w", &relay.BatchTooLargeError{Fits: 1})
	p := s.refused(t, ask{path: "/v1/events", header: ndjson, body: `{"type":"a","data":1}` + "\n" + `{"type":"a","data":2}`}, 413, "batch-too-large")
	equal(t, "fits", *p.Fits, 1)
}

func TestKeyOfABatch(t *testing.T) {
	for _, header := range []string{"Idempotency-Key: k", "X-Delivery: k"} {
		s := newSetup(t, func(o *Options) { o.KeyFrom = []Locator{{Header: "X-Delivery"}} })
		two := `{"type":"a","data":1}` + "\n" + `{"type":"b","data":1}`
		first := s.acceptBatch(t, ask{path: "/v1/events", header: ndjson + "\n" + header, body: two})
		again := s.acceptBatch(t, ask{path: "/v1/events", header: ndjson + "\n" + header, body: two})
		for i := range first {
			first[i].Duplicate = true
		}
		equal(t, "answer", again, first)
		equal(t, "published", len(s.engine.published), 2)
		for _, a := range []ask{
			{path: "/v1/events", header: ndjson + "\n" + header, body: two + " "},
			{path: "/v1/events", header: ndjson + "\n" + header + "\nRelay-Subscriptions: crm", body: two},
			{path: "/v1/events", header: ndjson + ";x=y\n" + header, body: two},
			{path: "/v1/events/a", header: header, body: "1"},
		} {
			p := s.refused(t, a, 422, "key-reused")
			equal(t, "errors", len(p.Errors), 0)
		}
		if s.acceptBatch(t, ask{path: "/v1/events", header: ndjson, body: two})[0].Duplicate {
			t.Error("events without an id are duplicates")
		}
	}
}

func TestItemsOfABatchMayBeDuplicates(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.KeyFrom = []Locator{{Header: "X-Delivery"}, {Path: "data.k"}} })
	old := s.accept(t, ask{path: "/v1/events", body: `{"type":"a","id":"1","data":1}`})
	lines := []string{
		`{"type":"a","id":"1","data":1}`, ce("1", ""), `{"type":"b","data":{"k":7}}`, `{"type":"b","data":{"k":8}}`,
		`{"type":"a","id":"1","data":1}`, `{"specversion":"1.0","source":"/s","id":"1","type":"a"}`, ` {"type":"b","data":{"k":8}} `,
	}
	// A header that key_from names is the whole's, or every item would be the same event.
	events := s.acceptBatch(t, ask{path: "/v1/events", header: ndjson + "\nX-Delivery: d", body: strings.Join(lines, "\n")})
	var duplicates []bool
	for _, e := range events {
		duplicates = append(duplicates, e.Duplicate)
	}
	equal(t, "duplicates", duplicates, []bool{true, false, false, false, true, true, true})
	equal(t, "id", []string{events[0].ID, events[4].ID, events[5].ID, events[6].ID}, []string{old.ID, old.ID, events[1].ID, events[3].ID})
	equal(t, "published", len(s.engine.published), 4)

	// One conflict refuses the whole, by name.
	for i, conflict := range []string{`{"type":"a","id":"1","data":2}`, ce("1", `"data":1`), `{"type":"c","data":{"k":7}}`} {
		p := s.refused(t, ask{path: "/v1/events", header: ndjson, body: `{"type":"new","data":1}` + "\n\n" + conflict}, 422, "key-reused")
		if len(p.Errors) != 1 || p.Errors[0].Pointer != "/1" || p.Errors[0].Line != 3 {
			t.Errorf("%d: %+v", i, p.Errors)
		}
	}
	p := s.refused(t, ask{path: "/v1/events", header: batched, body: "[" + ce("9", "") + "," + ce("9", `"data":1`) + "]"}, 422, "key-reused")
	equal(t, "pointer", p.Errors[0].Pointer, "/1")
	equal(t, "line", p.Errors[0].Line, 0)
}

func FuzzBatch(f *testing.F) {
	f.Add(`[`+ce("1", `"data":1`)+`,`+ce("2", "")+`]`, false)
	f.Add(`{"type":"a","data":1}`+"\n"+ce("2", ""), true)
	f.Add("[]", false)
	f.Add("[[", false)
	f.Add("[1,{}]x", false)
	f.Add("\r\n{}\n\xff", true)
	f.Fuzz(func(t *testing.T, text string, lines bool) {
		body := []byte(text)
		s := newSetup(t)
		sub := &submission{body: body, batch: true, contentType: "x"}
		parse := s.parseArray
		if lines {
			parse = s.parseLines
		}
		events, ref := parse(sub)
		if string(body) != text {
			t.Fatal("the body was changed")
		}
		if ref != nil {
			for _, fault := range ref.faults {
				if fault.Offset != nil && (*fault.Offset < 0 || *fault.Offset > len(body)) {
					t.Fatalf("offset %d of %d", *fault.Offset, len(body))
				}
			}
			return
		}
		for _, p := range events {
			if p.Key != nil && p.Key.Kind == relay.KeyCloudEvent {
				checkEvent(t, p.Event)
			} else if checkJSON(p.Event.Data, maxDepth) != nil || relay.CheckType(p.Event.Type) != nil {
				t.Fatalf("%+v", p.Event)
			}
		}
		if !lines {
			var all []json.RawMessage
			if err := json.Unmarshal(body, &all); err != nil || len(all) != len(events) {
				t.Fatalf("%d of %d events (%v)", len(events), len(all), err)
			}
		}
	})
}
