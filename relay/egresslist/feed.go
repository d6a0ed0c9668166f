package egresslist

import (
	"encoding/xml"
	"net/url"
	"slices"

	"github.com/google/uuid"
)

// feed is an Atom feed (RFC 4287). What it lacks of the standard's elements is optional.
type feed struct {
	XMLName   xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
	ID        string   `xml:"id"`
	Title     string   `xml:"title"`
	Updated   string   `xml:"updated"`
	Author    string   `xml:"author>name"` // section 4.1.1: of all entries
	Generator string   `xml:"generator"`
	Links     []link   `xml:"link"`
	Entries   []entry  `xml:"entry"`
}

// link is relative: the list does not know where it is published.
type link struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
	Href string `xml:"href,attr"`
}

type entry struct {
	ID        string  `xml:"id"`
	Title     string  `xml:"title"`
	Updated   string  `xml:"updated"`
	Published string  `xml:"published"`
	Category  term    `xml:"category"`
	Content   content `xml:"content"`
}

type term struct {
	Term string `xml:"term,attr"`
}

type content struct {
	Type string `xml:"type,attr"`
	Text string `xml:",chardata"`
}

// Feed returns the announcements about these regions, or about all if none is named, as
// egress.atom, the newest first.
func (s *State) Feed(regions ...string) ([]byte, error) {
	id, err := uuid.Parse(s.FeedID)
	if err != nil {
		return nil, err
	}
	f := feed{
		ID: id.URN(), Title: "Addresses that webhooks come from", Updated: moment(s.Updated),
		Author: "caddy-relay", Generator: "caddy-relay",
	}
	query := ""
	if len(regions) > 0 {
		query = "?" + url.Values{"region": regions}.Encode()
		f.ID = uuid.NewSHA1(id, []byte(query)).URN() // a feed of its own
	}
	f.Links = []link{
		{"self", typeAtom, "egress.atom" + query},
		{"alternate", typeJSON, "egress.json" + query},
	}
	for _, a := range slices.Backward(s.History) {
		if len(regions) > 0 && !slices.Contains(regions, a.Region) {
			continue
		}
		made := moment(a.Made())
		if len(f.Entries) == 0 {
			f.Updated = made
		}
		f.Entries = append(f.Entries, entry{
			ID: uuid.NewSHA1(id, []byte(a.Key())).URN(), Title: a.Title(),
			Updated: made, Published: made, Category: term{string(a.Kind)},
			Content: content{"text", upperFirst(a.Sentence()) + "."},
		})
	}
	raw, err := xml.MarshalIndent(f, "", "  ")
	return append([]byte(xml.Header), append(raw, '\n')...), err
}

func upperFirst(text string) string {
	return string(text[0]-'a'+'A') + text[1:] // sentences begin with a small letter of ASCII
}
