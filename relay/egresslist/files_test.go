package egresslist_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/caddyrelay/caddyrelay/relay/egresslist"
)

// published serves a list that has seen every kind of announcement, two days after start.
func published(t *testing.T) (*relay, *egresslist.Files) {
	t.Helper()
	r := &relay{t: t, now: start}
	us := region("us", entry("198.51.100.9"), entry("198.51.100.20"), entry("2001:db8::20"))
	r.load(region("eu", entry("192.0.2.10"), entry("192.0.2.12", "until", 90*day)), us)
	r.wait(day)
	r.load(region("eu", entry("192.0.2.10", "until", 60*day), entry("192.0.2.12"), entry("192.0.2.9", "from", 2*day)), us)
	r.wait(day)
	us.Entries = us.Entries[1:]
	r.load(region("eu", entry("192.0.2.10", "until", 60*day), entry("192.0.2.12"), entry("192.0.2.9", "from", 2*day), entry("192.0.2.100", "from", 40*day)), us)
	return r, &egresslist.Files{State: func(context.Context) (*egresslist.State, error) { return r.state, nil }}
}

func request(f *egresslist.Files, method, target string, header ...string) (*http.Response, string, bool) {
	req := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	served := f.Serve(w, req)
	return w.Result(), w.Body.String(), served
}

func TestFiles(t *testing.T) {
	_, f := published(t)
	for target, want := range map[string]struct{ contentType, body string }{
		"/egress.txt":                                         {"text/plain; charset=utf-8", "192.0.2.9/32\n192.0.2.10/32\n192.0.2.12/32\n198.51.100.20/32\n2001:db8::20/128\n"},
		"/a/b/egress.txt?region=eu":                           {"text/plain; charset=utf-8", "192.0.2.9/32\n192.0.2.10/32\n192.0.2.12/32\n"},
		"/egress.txt?region=eu&scheduled=true":                {"text/plain; charset=utf-8", "192.0.2.9/32\n192.0.2.10/32\n192.0.2.12/32\n192.0.2.100/32\n"},
		"/egress.txt?region=eu&scheduled":                     {"text/plain; charset=utf-8", "192.0.2.9/32\n192.0.2.10/32\n192.0.2.12/32\n192.0.2.100/32\n"},
		"/egress.txt?region=eu&scheduled=false":               {"text/plain; charset=utf-8", "192.0.2.9/32\n192.0.2.10/32\n192.0.2.12/32\n"},
		"/egress.txt?region=us&x=1":                           {"text/plain; charset=utf-8", "198.51.100.20/32\n2001:db8::20/128\n"},
		"/egress.txt?region=us&region=eu&scheduled=0":         {"text/plain; charset=utf-8", "192.0.2.9/32\n192.0.2.10/32\n192.0.2.12/32\n198.51.100.20/32\n2001:db8::20/128\n"},
		"http://relay.example.com/hooks/egress.txt?region=us": {"text/plain; charset=utf-8", "198.51.100.20/32\n2001:db8::20/128\n"},
	} {
		resp, body, served := request(f, http.MethodGet, target)
		if !served || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != want.contentType || body != want.body {
			t.Errorf("%s: %v %s %q", target, served, resp.Status, body)
		}
	}
	resp, body, _ := request(f, http.MethodGet, "/egress.json")
	var list struct {
		Version string `json:"version"`
		Updated time.Time
		Regions map[string]struct {
			Active              []string
			Scheduled, Retiring []map[string]string
		}
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v: %s", err, body)
	}
	if list.Version == "" || !list.Updated.Equal(start.Add(2*day).Truncate(time.Second)) || len(list.Regions) != 2 {
		t.Errorf("%+v", list)
	}
	eu := list.Regions["eu"]
	if len(eu.Active) != 3 || len(eu.Scheduled) != 1 || eu.Scheduled[0]["from"] != "2027-01-01T10:00:00.5Z" || len(eu.Retiring) != 1 || eu.Retiring[0]["prefix"] != "192.0.2.10/32" {
		t.Errorf("%+v", eu)
	}
	if _, one, _ := request(f, http.MethodGet, "/egress.json?region=us"); strings.Contains(one, "192.0.2.10") || !strings.Contains(one, list.Version) {
		t.Errorf("one region: %s", one)
	}
}

func TestFilesLeaveOtherRequestsToOthers(t *testing.T) {
	_, f := published(t)
	for _, c := range [][2]string{
		{http.MethodGet, "/"},
		{http.MethodGet, "/egress"},
		{http.MethodGet, "/egress.json/"},
		{http.MethodGet, "/egress.json/x"},
		{http.MethodGet, "/xegress.json"},
		{http.MethodGet, "/EGRESS.JSON"},
		{http.MethodPost, "/egress.json"},
		{http.MethodDelete, "/egress.txt"},
		{http.MethodOptions, "/egress.atom"},
	} {
		resp, body, served := request(f, c[0], c[1])
		if served || body != "" || len(resp.Header) != 0 {
			t.Errorf("%s %s: %v %q %v", c[0], c[1], served, body, resp.Header)
		}
	}
}

func TestFilesAreValidatedByTheirBytes(t *testing.T) {
	r, f := published(t)
	for _, file := range []string{"/egress.json", "/egress.txt", "/egress.atom", "/egress.json?region=eu"} {
		resp, body, _ := request(f, http.MethodGet, file)
		tag := resp.Header.Get("ETag")
		if strings.HasPrefix(tag, "W/") || len(tag) < 10 {
			t.Errorf("%s: ETag %s is not strong", file, tag)
		}
		if got := resp.Header.Get("Last-Modified"); got != r.state.Updated.Format(http.TimeFormat) {
			t.Errorf("%s: Last-Modified %s", file, got)
		}
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: %s", file, got)
		}
		for _, c := range []struct {
			header []string
			status int
		}{
			{[]string{"If-None-Match", tag}, http.StatusNotModified},
			{[]string{"If-None-Match", `"x", ` + tag}, http.StatusNotModified},
			{[]string{"If-None-Match", "W/" + tag}, http.StatusNotModified}, // compared weakly: RFC 9110, section 13.1.2
			{[]string{"If-None-Match", "*"}, http.StatusNotModified},
			{[]string{"If-None-Match", `"x"`}, http.StatusOK},
			{[]string{"If-None-Match", `"x"`, "If-Modified-Since", r.now.Add(day).Format(http.TimeFormat)}, http.StatusOK},
			{[]string{"If-Modified-Since", r.state.Updated.Format(http.TimeFormat)}, http.StatusNotModified},
			{[]string{"If-Modified-Since", r.state.Updated.Add(-time.Second).Format(http.TimeFormat)}, http.StatusOK},
		} {
			resp, again, _ := request(f, http.MethodGet, file, c.header...)
			if resp.StatusCode != c.status || (again == "") != (c.status == http.StatusNotModified) || resp.Header.Get("ETag") != tag || resp.Header.Get("Cache-Control") == "" {
				t.Errorf("%s %v: %s %q %v", file, c.header, resp.Status, again, resp.Header)
			}
		}
		head, none, served := request(f, http.MethodHead, file)
		if !served || none != "" || head.StatusCode != http.StatusOK || head.Header.Get("ETag") != tag || head.ContentLength != int64(len(body)) {
			t.Errorf("HEAD %s: %s %q %v", file, head.Status, none, head.Header)
		}
	}
	tagOf := func(file string) string {
		resp, _, _ := request(f, http.MethodGet, file)
		return resp.Header.Get("ETag")
	}
	before, us := tagOf("/egress.txt?region=eu"), tagOf("/egress.txt?region=us")
	r.wait(day)
	r.load(region("eu", entry("192.0.2.10")), region("us", entry("198.51.100.20"), entry("2001:db8::20")))
	if tagOf("/egress.txt?region=eu") == before {
		t.Error("another list has the ETag of the one before")
	}
	if tagOf("/egress.txt?region=us") != us {
		t.Error("the same bytes have another ETag")
	}
}

func TestCachesForgetBeforeTheNextChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := egresslist.Advance(nil, egresslist.Declare([]egresslist.Region{
			region("eu", egresslist.Entry{Prefix: entry("192.0.2.10").Prefix, Until: time.Now().Add(time.Hour)}),
		}), time.Now())
		f := &egresslist.Files{State: func(context.Context) (*egresslist.State, error) { return state, nil }}
		want := func(age string) {
			t.Helper()
			resp, _, _ := request(f, http.MethodGet, "/egress.json")
			if got := resp.Header.Get("Cache-Control"); got != "max-age="+age {
				t.Errorf("%q; want %s", got, age)
			}
		}
		want("300")
		time.Sleep(58*time.Minute + 500*time.Millisecond)
		want("119")
		time.Sleep(119 * time.Second)
		want("0")
		time.Sleep(time.Second) // whoever looks now gets the next list; this one is old
		want("0")
	})
}

func TestUnknownRegion(t *testing.T) {
	_, f := published(t)
	for target, want := range map[string]string{
		"/egress.json?region=ap":           `There is no region "ap"; there are eu, us.`,
		"/egress.txt?region=eu&region=EU":  `There is no region "EU"; there are eu, us.`,
		"/egress.atom?region=%3Cscript%3E": `There is no region "<script>"; there are eu, us.`,
		"/egress.txt?region=":              `There is no region ""; there are eu, us.`,
	} {
		resp, body, served := request(f, http.MethodGet, target)
		var p struct {
			Status int
			Detail string
		}
		if err := json.Unmarshal([]byte(body), &p); err != nil || !served || resp.StatusCode != http.StatusNotFound || p.Status != http.StatusNotFound ||
			p.Detail != want || resp.Header.Get("Content-Type") != "application/problem+json" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s %s %v", target, resp.Status, body, resp.Header)
		}
	}
	none := egresslist.Advance(nil, egresslist.Declare(nil), start)
	f = &egresslist.Files{State: func(context.Context) (*egresslist.State, error) { return none, nil }}
	if _, body, _ := request(f, http.MethodGet, "/egress.txt?region=eu"); !strings.Contains(body, `there is none`) {
		t.Error(body)
	}
	if _, body, _ := request(f, http.MethodGet, "/egress.json"); !strings.Contains(body, `"regions":{}`) {
		t.Error(body)
	}
	if _, body, _ := request(f, http.MethodGet, "/egress.txt"); body != "" {
		t.Error(body)
	}
}

func TestNotReady(t *testing.T) {
	f := &egresslist.Files{State: func(context.Context) (*egresslist.State, error) {
		return nil, errors.New("the relay is still starting")
	}}
	resp, body, served := request(f, http.MethodGet, "/egress.json")
	if !served || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" || !strings.Contains(body, "still starting") {
		t.Errorf("%v %s %s", served, resp.Status, body)
	}
}

// atom is what RFC 4287 requires of a feed and its entries, and what this one has besides.
type atom struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	ID      []string    `xml:"http://www.w3.org/2005/Atom id"`
	Title   []string    `xml:"http://www.w3.org/2005/Atom title"`
	Updated []string    `xml:"http://www.w3.org/2005/Atom updated"`
	Author  []string    `xml:"http://www.w3.org/2005/Atom author>name"`
	Links   []atomLink  `xml:"http://www.w3.org/2005/Atom link"`
	Entries []atomEntry `xml:"http://www.w3.org/2005/Atom entry"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	ID      []string `xml:"http://www.w3.org/2005/Atom id"`
	Title   []string `xml:"http://www.w3.org/2005/Atom title"`
	Updated []string `xml:"http://www.w3.org/2005/Atom updated"`
	Content []struct {
		Type string `xml:"type,attr"`
		Text string `xml:",chardata"`
	} `xml:"http://www.w3.org/2005/Atom content"`
}

// validFeed checks the rules of RFC 4287 that concern this feed.
func validFeed(t *testing.T, body string) atom {
	t.Helper()
	var f atom
	decoder := xml.NewDecoder(strings.NewReader(body))
	if err := decoder.Decode(&f); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	ids := make(map[string]bool)
	one := func(what string, list []string) string {
		t.Helper()
		if len(list) != 1 || list[0] == "" {
			t.Errorf("%s: %q; want exactly one", what, list)
			return ""
		}
		return list[0]
	}
	id := func(what string, list []string) {
		t.Helper()
		text := one(what, list)
		if u, err := url.Parse(text); err != nil || u.Scheme != "urn" { // an absolute IRI: section 4.2.6
			t.Errorf("%s: %q is no IRI", what, text)
		}
		if _, err := uuid.Parse(text); err != nil || ids[text] {
			t.Errorf("%s: %q: %v, or it stands twice", what, text, err)
		}
		ids[text] = true
	}
	date := func(what string, list []string) time.Time {
		t.Helper()
		at, err := time.Parse(time.RFC3339, one(what, list))
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return at
	}
	id("id of the feed", f.ID)
	one("title of the feed", f.Title)
	one("author", f.Author)
	updated := date("updated of the feed", f.Updated)
	self := 0
	for _, l := range f.Links {
		if l.Rel == "self" && l.Type == "application/atom+xml" {
			self++
		}
		if _, err := url.Parse(l.Href); err != nil {
			t.Error(err)
		}
	}
	if self != 1 {
		t.Errorf("%d links to itself", self)
	}
	for i, e := range f.Entries {
		id("id of an entry", e.ID)
		one("title of an entry", e.Title)
		at := date("updated of an entry", e.Updated)
		if i == 0 && !at.Equal(updated) || at.After(updated) {
			t.Errorf("entry %d is of %s, the feed of %s", i, at, updated)
		}
		if len(e.Content) != 1 || e.Content[0].Type != "text" || e.Content[0].Text == "" {
			t.Errorf("entry %d has no content", i) // and so would need a link: section 4.1.2
		}
	}
	return f
}

func TestFeed(t *testing.T) {
	r, files := published(t)
	resp, body, _ := request(files, http.MethodGet, "/egress.atom")
	if got := resp.Header.Get("Content-Type"); got != "application/atom+xml" {
		t.Error(got)
	}
	f := validFeed(t, body)
	var got []string
	for _, e := range f.Entries {
		got = append(got, e.Updated[0]+" "+e.Title[0]+": "+e.Content[0].Text)
	}
	want := []string{
		"2026-11-24T10:00:00.5Z Region us: − 198.51.100.9 (changed on 2026-11-24T10:00:00.5Z): From 2026-11-24T10:00:00.5Z on, deliveries of region us no longer come from 198.51.100.9; this was not announced before.",
		"2026-11-24T10:00:00.5Z Region eu: + 192.0.2.100 (planned for 2027-01-01T10:00:00.5Z): From 2027-01-01T10:00:00.5Z on, deliveries of region eu also come from 192.0.2.100.",
		"2026-11-24T10:00:00.5Z Region eu: + 192.0.2.9 (changed on 2026-11-24T10:00:00.5Z): From 2026-11-24T10:00:00.5Z on, deliveries of region eu also come from 192.0.2.9.",
		"2026-11-23T10:00:00.5Z Region eu: − 192.0.2.10 (planned for 2027-01-21T10:00:00.5Z): From 2027-01-21T10:00:00.5Z on, deliveries of region eu no longer come from 192.0.2.10.",
		"2026-11-23T10:00:00.5Z Region eu: + 192.0.2.9 (planned for 2026-11-24T10:00:00.5Z): From 2026-11-24T10:00:00.5Z on, deliveries of region eu also come from 192.0.2.9.",
		"2026-11-23T10:00:00.5Z Region eu: − 192.0.2.12 (withdrawn, was planned for 2027-02-20T10:00:00.5Z): This will not happen as announced: from 2027-02-20T10:00:00.5Z on, deliveries of region eu no longer come from 192.0.2.12.",
		"2026-11-22T10:00:00.5Z Region eu: − 192.0.2.12 (planned for 2027-02-20T10:00:00.5Z): From 2027-02-20T10:00:00.5Z on, deliveries of region eu no longer come from 192.0.2.12.",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// An entry stays the same entry, and the feed the same feed.
	r.wait(day)
	r.load(region("eu", entry("192.0.2.10")), region("us"))
	_, body, _ = request(files, http.MethodGet, "/egress.atom")
	later := validFeed(t, body)
	n := len(later.Entries) - len(f.Entries)
	if n <= 0 || later.ID[0] != f.ID[0] || later.Entries[n].ID[0] != f.Entries[0].ID[0] {
		t.Errorf("%s", body)
	}

	_, body, _ = request(files, http.MethodGet, "/egress.atom?region=us")
	us := validFeed(t, body)
	if us.ID[0] == f.ID[0] || len(us.Entries) == 0 || strings.Contains(body, "Region eu") || !strings.Contains(body, `href="egress.atom?region=us"`) {
		t.Errorf("%s", body)
	}
}

func TestEmptyFeedIsValid(t *testing.T) {
	state := egresslist.Advance(nil, egresslist.Declare([]egresslist.Region{region("eu", entry("192.0.2.10"))}), start)
	body, err := state.Feed()
	if err != nil {
		t.Fatal(err)
	}
	if f := validFeed(t, string(body)); len(f.Entries) != 0 || f.Updated[0] != "2026-11-22T10:00:00Z" {
		t.Errorf("%s", body)
	}
}
