package transfer_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/transfer"
)

var at = time.Date(2026, time.November, 22, 6, 42, 0, 123_000_000, time.UTC)

// whole is one item of each sort.
func whole() (relay.Moved, relay.MovedKey, relay.Steering) {
	id := relay.FormatID(relay.SeqAt(at), 7)
	m := relay.Moved{
		Event: &relay.Event{
			ID: id, Type: "order.paid", Source: "/shop", Subject: "order/1", SourceID: "o-1",
			Time: at.In(time.FixedZone("", 3600)), Accepted: at, ContentType: "application/json", Data: []byte(" {\"a\":\t1}\n"),
			Extensions: map[string]string{"tenant": "a"}, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Only: []string{"crm", "b"},
			Deliveries: []relay.Placement{{Subscription: "crm", Key: "k\x1fp"}, {Subscription: "b"}},
		},
		Exceptions: []relay.Exception{
			{Kind: relay.Retry, Attempts: 2, Step: 1, At: at, Due: at.Add(time.Hour), Since: at, Key: "k", Reason: "replayed"},
			{Kind: relay.Delivered},
		},
		Attempts: [][]relay.Attempt{
			{
				{Number: 1, At: at, Duration: 1234567, Status: 503, Error: "answered 503", ErrorKind: relay.Kind5xx, Local: "192.0.2.1:1", Remote: "192.0.2.2:443", Excerpt: []byte{0xff, 0}},
				{Number: 2, At: at, Duration: 1, ErrorKind: relay.KindTimeout, Error: "late"},
			},
			{{Number: 1, At: at, Status: 200}},
		},
	}
	key := relay.MovedKey{
		Hash: (&relay.Key{Kind: relay.KeyHeader, Text: "k"}).Hash(), Sum: [32]byte{1, 2}, Stored: at,
		Receipts: []relay.Receipt{{ID: id, Type: "order.paid", Matched: []string{"crm", "b"}}},
	}
	return m, key, relay.Steering{Subscription: "crm", Paused: true, PausedReason: "we move", Disabled: true, DisabledReason: "answered 410"}
}

func written(t testing.TB) string {
	t.Helper()
	var out bytes.Buffer
	m, key, steering := whole()
	w := transfer.NewWriter(&out, transfer.Head{Version: "test", At: at, Select: transfer.SelectUnfinished, Events: 1})
	if err := errors.Join(w.Subscription(&steering), w.Egress([]byte(`{"format":1}`)), w.Event(&m), w.Key(&key)); err != nil {
		t.Fatal(err)
	}
	counts, err := w.End()
	if want := (transfer.Counts{Events: 1, Keys: 1, Subscriptions: 1}); err != nil || counts != want {
		t.Fatalf("%+v, %v", counts, err)
	}
	return out.String()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	r, err := transfer.NewReader(strings.NewReader(written(t)))
	if err != nil {
		t.Fatal(err)
	}
	if h := r.Head(); h.Version != "test" || h.Events != 1 || !h.At.Equal(at) {
		t.Errorf("%+v", h)
	}
	m, key, steering := whole()
	m.Exceptions[1].Attempts = 1 // its records say so
	for _, want := range []transfer.Item{{Subscription: &steering}, {Egress: []byte(`{"format":1}`)}, {Event: &m}, {Key: &key}} {
		got, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got.Event != nil && want.Event != nil {
			if !got.Event.Event.Time.Equal(want.Event.Event.Time) {
				t.Errorf("the time is %v", got.Event.Event.Time)
			}
			got.Event.Event.Time = want.Event.Event.Time
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("read is %+v, want %+v", got, want)
			if got.Event != nil {
				t.Errorf("%+v\n%+v\n%+v", got.Event.Event, got.Event.Exceptions, got.Event.Attempts)
			}
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// Whatever is missing or changed is noticed, and says where.
func TestDamageIsNoticed(t *testing.T) {
	text := written(t)
	for i := range len(text) {
		if _, _, err := transfer.Check(strings.NewReader(text[:i])); err == nil {
			t.Fatalf("cut after %d of %d bytes, it is taken for whole", i, len(text))
		}
	}
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	lines[len(lines)-1] += "\n"
	without := func(n int) string { return strings.Join(append(append([]string{}, lines[:n]...), lines[n+1:]...), "") }
	for name, q := range map[string]struct{ text, want string }{
		"empty":             {"", "it is empty"},
		"no export":         {"{\"type\":\"order.paid\"}\n", "line 1: "},
		"no head":           {without(0), "line 1: this is no export"},
		"another format":    {strings.Replace(text, `"format":1`, `"format":2`, 1), "line 1: it has format 2"},
		"a line is missing": {without(3), "line 5: the lines before it are not those"},
		"no end":            {without(5), "line 6: the export is cut off"},
		"a changed byte":    {strings.Replace(text, "order/1", "order/2", 1), "line 6: the lines before it"},
		"more follows":      {text + lines[0], "line 7: something follows"},
		"no JSON":           {lines[0] + "order\n", "line 2: invalid"},
		"says nothing":      {lines[0] + "{}\n", "line 2: it says nothing"},
		"unknown member":    {lines[0] + "{\"evnet\":{}}\n", `unknown field "evnet"`},
		"a foreign ID":      {lines[0] + strings.Replace(lines[3], `"evt_`, `"abc_`, 1), "is no event id"},
		"an unknown state":  {lines[0] + strings.Replace(lines[3], `"delivered"`, `"lost"`, 1), `a delivery is "lost"`},
		"no type":           {lines[0] + strings.Replace(lines[3], `"order.paid"`, `""`, 1), "type is missing"},
		"erased, and due":   {lines[0] + strings.Replace(lines[3], `"content_type"`, `"erased":"2026-11-22T06:42:00Z","content_type"`, 1), "its data was erased"},
		"a short hash":      {lines[0] + strings.Replace(lines[4], `"hash":"`, `"hash":"0`, 1), "the hash"},
		"no receipts":       {lines[0] + strings.Split(lines[4], `"receipts":`)[0] + "\"receipts\":[]}}\n", "has no receipt"},
		"no name":           {lines[0] + strings.Replace(lines[1], `"name":"crm"`, `"name":""`, 1), "has no name"},
	} {
		_, _, err := transfer.Check(strings.NewReader(q.text))
		if err == nil || !strings.Contains(err.Error(), q.want) {
			t.Errorf("%s: %v; want %q", name, err, q.want)
		}
	}
}

// An export is a file: what intake and configuration would refuse does not come in by it.
func TestWhatNoRelayWritesIsRefused(t *testing.T) {
	lines := strings.SplitAfter(written(t), "\n")
	for _, q := range []struct{ old, new, want string }{
		{`"type":"order.paid"`, `"type":"order\u001b[31m"`, "only visible ASCII"},
		{`"type":"order.paid"`, `"type":"` + strings.Repeat("a", 256) + `"`, "at most 255"},
		{`"source":"/shop"`, `"source":"\u009b31m"`, "source has a control character"},
		{`"subject":"order/1"`, `"subject":"a\r\nX: y"`, "subject has a control character"},
		{`"source_id":"o-1"`, `"source_id":"\u0000"`, "source_id has a control character"},
		{`"content_type":"application/json"`, `"content_type":"a/b\r\nX: y"`, "content_type has a control character"},
		{`"traceparent":"00-`, `"traceparent":"\n00-`, "traceparent has a control character"},
		{`"tenant":"a"`, `"tenant\r\nX":"a"`, "no name of an extension"},
		{`"tenant":"a"`, `"tenant":"a\u001b"`, "tenant has a control character"},
		{`"subscription":"b"`, `"subscription":"../b"`, "no name of a subscription"},
		{`"subscription":"b"`, `"subscription":"\u001b[31m"`, "no name of a subscription"},
		{`"subscription":"b"`, `"subscription":"crm"`, `two deliveries for "crm"`},
		{`"attempt_count":2`, `"attempt_count":-2`, "attempted -2 times"},
		{`"step":1`, `"step":-1`, "at step -1"},
		{`"step":1`, `"step":1099511627776`, "at step 1099511627776"},
	} {
		changed := strings.Replace(lines[3], q.old, q.new, 1)
		if changed == lines[3] {
			t.Fatalf("%s is not in %s", q.old, lines[3])
		}
		if _, _, err := transfer.Check(strings.NewReader(lines[0] + changed)); err == nil || !strings.Contains(err.Error(), q.want) {
			t.Errorf("%s: %v; want %q", q.new, err, q.want)
		}
	}
	steering := strings.Replace(lines[1], `"name":"crm"`, `"name":"a\u001b"`, 1)
	if _, _, err := transfer.Check(strings.NewReader(lines[0] + steering)); err == nil || !strings.Contains(err.Error(), "no name of a subscription") {
		t.Errorf("%v", err)
	}
	// What intake takes in a header field comes through.
	taken := strings.Replace(lines[3], `"content_type":"application/json"`, `"content_type":"application/json;\ta=\"\u009b\""`, 1)
	if _, _, err := transfer.Check(strings.NewReader(lines[0] + taken)); !errors.Is(err, transfer.ErrCut) {
		t.Errorf("%v", err)
	}
}

func TestAWriterThatFailsSaysSo(t *testing.T) {
	m, _, _ := whole()
	w := transfer.NewWriter(failing{}, transfer.Head{})
	if err := w.Event(&m); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%v", err)
	}
	if _, err := w.End(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%v", err)
	}
	m.Exceptions[0].Kind = relay.Waiting
	w = transfer.NewWriter(io.Discard, transfer.Head{})
	if err := w.Event(&m); err == nil {
		t.Error("a kind that nobody could read is written")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// FuzzReader: nothing makes it panic, and what it takes for whole can be written again.
func FuzzReader(f *testing.F) {
	text := written(f)
	f.Add([]byte(text))
	for _, line := range strings.SplitAfter(text, "\n") {
		f.Add([]byte(strings.SplitAfter(text, "\n")[0] + line))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := transfer.NewReader(bytes.NewReader(text))
		if err != nil {
			return
		}
		w := transfer.NewWriter(io.Discard, r.Head())
		for {
			item, err := r.Next()
			if err != nil {
				return
			}
			switch {
			case item.Event != nil:
				err = w.Event(item.Event)
			case item.Key != nil:
				err = w.Key(item.Key)
			case item.Subscription != nil:
				err = w.Subscription(item.Subscription)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
