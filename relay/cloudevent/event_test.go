package cloudevent

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

var at = time.Date(2026, 11, 21, 22, 23, 59, 500_000_000, time.FixedZone("", 7200))

func TestBinaryModeEscapesAsTheBindingSays(t *testing.T) {
	e := Event{
		ID: "A-1", Source: "/shop", Type: "order.paid", Subject: `Euro € 😀 "100%" a b`, Time: at,
		Extensions: map[string]string{"partitionkey": "Zoë", "sequence": "17"},
	}
	h := http.Header{"Content-Type": {"application/json"}}
	e.SetHeader(h)
	for field, want := range map[string]string{
		"ce-specversion": "1.0", "ce-id": "A-1", "ce-source": "/shop", "ce-type": "order.paid", "ce-time": "2026-11-21T20:23:59.5Z",
		// The first two are the example of section 3.1.3.2.
		"ce-subject":      "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22100%25%22%20a%20b",
		"ce-partitionkey": "Zo%C3%AB", "ce-sequence": "17", "content-type": "application/json",
	} {
		if got := h.Get(field); got != want {
			t.Errorf("%s: %s; want %s", field, got, want)
		}
	}
	if len(h) != 9 {
		t.Errorf("header %v", h)
	}
	bare := Event{ID: "1", Source: "s", Type: "t"}
	h = http.Header{}
	if bare.SetHeader(h); len(h) != 4 {
		t.Errorf("header %v; want no empty attributes", h)
	}
}

func TestStructuredModeEmbedsDataByteForByte(t *testing.T) {
	for _, tt := range []struct{ name, contentType, data, want string }{
		{"object", "application/json", `{ "a" : 1.50 , "b":"\u00e9" }`, `"datacontenttype":"application/json","data":{ "a" : 1.50 , "b":"\u00e9" }}`},
		{"null", "application/json", "null", `"data":null}`},
		{"number", "application/json; charset=utf-8", "1e400", `"data":1e400}`},
		{"built on JSON", "application/vnd.contentful.management.v1+json", "[]", `"data":[]}`},
		{"lone surrogate", "application/json", `"\ud800"`, `"data":"\ud800"}`},
		{"none", "", "", `"time":"2026-11-21T20:23:59.5Z"}`},
		{"none of a type", "application/json", "", `"datacontenttype":"application/json"}`},
		{"text", "text/plain", "1", `"data_base64":"MQ=="}`},
		{"bytes", "application/octet-stream", "\x00\xff", `"data_base64":"AP8="}`},
		{"broken", "application/json", `{"a"`, `"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(`{"a"`)) + `"}`},
	} {
		e := Event{ID: "1", Source: "/s", Type: "t", Time: at, ContentType: tt.contentType, Data: []byte(tt.data)}
		got := string(e.JSON())
		if !strings.HasPrefix(got, `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":`) || !strings.HasSuffix(got, tt.want) {
			t.Errorf("%s: %s; want %s", tt.name, got, tt.want)
		}
	}
}

func TestStructuredModeSortsExtensions(t *testing.T) {
	e := Event{ID: "1", Source: "/s", Type: "t", Subject: "x\"y", Extensions: map[string]string{"b": "2", "a": "1", "c": "</script>"}}
	const want = `{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"x\"y","a":"1","b":"2","c":"</script>"}`
	for range 10 {
		if got := string(e.JSON()); got != want {
			t.Fatalf("%s; want %s", got, want)
		}
	}
}

// What is written is valid in both modes and says the same, whatever the attributes are.
func FuzzEvent(f *testing.F) {
	f.Add("1", "/s", "t", "sub\r\nject", "application/json", []byte(`{"a":1}`), "v\x00")
	f.Add("", "\xff", "%", "", "text/plain", []byte{0xff}, "é")
	f.Fuzz(func(t *testing.T, id, source, typ, subject, contentType string, data []byte, extension string) {
		e := Event{ID: id, Source: source, Type: typ, Subject: subject, ContentType: contentType, Data: data, Extensions: map[string]string{"ext": extension}}
		want := map[string]string{"specversion": "1.0", "id": id, "source": source, "type": typ, "ext": extension}
		if subject != "" {
			want["subject"] = subject
		}
		h := http.Header{}
		e.SetHeader(h)
		got := make(map[string]string)
		for field, values := range h {
			if strings.ContainsFunc(values[0], func(r rune) bool { return r < '!' || r > '~' }) {
				t.Fatalf("%s: %q", field, values)
			}
			plain, err := url.PathUnescape(values[0])
			if err != nil {
				t.Fatal(err)
			}
			got[strings.ToLower(field)[len("ce-"):]] = plain
		}
		if !maps.Equal(got, want) {
			t.Fatalf("binary: %q; want %q", got, want)
		}

		var structured map[string]json.RawMessage
		if err := json.Unmarshal(e.JSON(), &structured); err != nil {
			t.Fatalf("%s: %v", e.JSON(), err)
		}
		for name, value := range want {
			var text string
			if err := json.Unmarshal(structured[name], &text); err != nil || text != strings.ToValidUTF8(value, "\uFFFD") {
				t.Fatalf("structured: %s: %s, %v; want %q", name, structured[name], err, value)
			}
		}
		carried := []byte(structured["data"])
		if encoded, ok := structured["data_base64"]; ok {
			if err := json.Unmarshal(encoded, &carried); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(bytes.TrimSpace(carried), bytes.TrimSpace(data)) {
			t.Fatalf("carries %q; want %q", carried, data)
		}
	})
}
