package egresslist

import (
	"fmt"
	"strings"
	"time"
)

// Message is a text to be sent to the contacts of a region's subscriptions.
type Message struct {
	Subject string `json:"subject"`
	Body    string `json:"body"`
}

// Message says what is planned in a region, to any receiver of its deliveries. url is the
// address of the list, up to its last slash, or empty if it is not known. Where nothing is
// planned it says what is so now.
func (s *State) Message(region, url string) Message {
	r := s.region(region)
	if r == nil {
		return Message{}
	}
	var body strings.Builder
	body.WriteString("Hello,\n\nour webhooks to you come from fixed addresses. In use now:\n\n")
	for _, p := range r.Active {
		fmt.Fprintf(&body, "    %s\n", address(p))
	}
	subject := "The addresses of our webhooks"
	planned := false
	for _, p := range s.Planned {
		if p.Region != region {
			continue
		}
		if !planned {
			subject += " change on " + p.At.UTC().Format(time.DateOnly)
			fmt.Fprintf(&body, "\nThis will change:\n\n")
		}
		planned = true
		verb := "they also come from"
		if !p.Added {
			verb = "they no longer come from"
		}
		fmt.Fprintf(&body, "    from %s on  %s %s\n", moment(p.At), verb, address(p.Prefix))
	}
	if planned {
		body.WriteString("\nIf a firewall of yours lets in our addresses only: please let new ones in before their\n" +
			"time, and keep old ones until theirs. Nothing else changes. Until the next change each\n" +
			"request carries its moment in the header Relay-Egress-Change.\n")
	}
	if url != "" {
		fmt.Fprintf(&body, "\nThe list for machines, with its changes: %segress.json?region=%s\n", url, region)
		fmt.Fprintf(&body, "One prefix a line, with those to come: %segress.txt?region=%s&scheduled=true\n", url, region)
		fmt.Fprintf(&body, "A feed of changes: %segress.atom?region=%s\n", url, region)
	}
	return Message{Subject: subject, Body: body.String()}
}
