package expression

import (
	"strings"
	"testing"
)

func TestUntil(t *testing.T) {
	e := open(t, `{"sys":{"id":"7Gh2","revision":35}}`)
	ready := &Response{
		Status: 200, Header: map[string]string{"etag": `"x"`, "content-type": "application/json"},
		Body: []byte(`{"sys":{"revision":36},"items":[]}`),
	}
	gone := &Response{Status: 404, Body: []byte("not found")}
	for _, c := range []struct {
		text     string
		response *Response
		want     bool
		err      string
	}{
		{`response.json.sys.revision >= event.data.sys.revision`, ready, true, ""},
		{`response.json.sys.revision > event.data.sys.revision + 1`, ready, false, ""},
		{`response.status == 404`, gone, true, ""},
		{`response.status == 404 || response.json.sys.revision > 1`, gone, true, ""},
		{`response.status == 200 && response.json.sys.revision > 1`, gone, false, ""},
		{`response.json.sys.revision > 1`, gone, false, "the body of the response is no JSON"},
		{`response.json == null`, &Response{Status: 200}, false, "the body of the response is no JSON"},
		{`response.header["content-type"].startsWith("application/")`, ready, true, ""},
		{`response.header.etag == "\"x\""`, ready, true, ""},
		{`response.header["x-none"] == "1"`, ready, false, `there is no "x-none"`},
		{`"x-none" in response.header`, gone, false, ""},
		{`has(response.json) && response.json.items == []`, ready, true, ""},
		{`has(response.json)`, gone, false, ""},
	} {
		x, err := CompileUntil(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, err := x.MatchResponse(e, c.response)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v", c.text, got, err)
		}
	}
	for text, want := range map[string]string{
		`response.stats == 200`:        `there is no response.stats — did you mean "response.status"?`,
		`response.body == ""`:          "there is no response.body; there are response.header, .json, .status",
		`response.status == "200"`:     "== does not take int and string",
		`response.header["a"] == 1`:    "== does not take string and int",
		`status == 200`:                `there is no "status" — did you mean "response.status"?`,
		`event.typ == "a"`:             `did you mean "event.type"?`,
		`response.json.sys.revision >`: "the expression ends too early",
	} {
		if _, err := CompileUntil(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant: %s", text, err, want)
		}
	}
}

func TestMatchOfAnUntilHasNoResponse(t *testing.T) {
	x, err := CompileUntil(`response.status == 200`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := x.Match(&Event{}); got || err == nil {
		t.Errorf("without a response: %v, %v", got, err)
	}
}
