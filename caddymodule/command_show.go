package caddymodule

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/view"
)

func showCommand() *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   "show <event id> | <subscription>",
		Short: "Show everything about an event or a subscription",
		Example: `  caddy relay show evt_1q3asyqyg0000ka5
  caddy relay show evt_1q3asyqyg0000ka5 --why crm
  caddy relay show crm`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			isEvent := strings.HasPrefix(args[0], "evt_")
			switch {
			case why != "" && !isEvent:
				return fmt.Errorf("--why says why an event matches a subscription, or why not; %q is no event", args[0])
			case why != "":
				return showWhy(cmd, c, args[0], why)
			case isEvent:
				return showEvent(cmd, c, args[0])
			}
			return showSubscription(cmd, c, args[0])
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "of an event: why it matches this subscription, or why not")
	return cmd
}

// showWhy prints an explanation clause by clause.
func showWhy(cmd *cobra.Command, c *client, id, subscription string) error {
	body, err := c.call(http.MethodGet, "/relay/explain?"+url.Values{"event": {id}, "subscription": {subscription}}.Encode(), nil)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), body)
	}
	var x view.Explanation
	if err := decode(body, &x); err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	verdict := "does not match"
	if x.Matches {
		verdict = "matches"
	}
	fmt.Fprintf(w, "%s  %s  %s %s\n", x.Event, x.Type, verdict, x.Subscription)
	printClauses(w, x.Clauses)
	switch {
	case x.Delivery != nil:
		fmt.Fprintf(w, "  delivery: %s\n", stateAndReason(x.Delivery))
	default:
		fmt.Fprintln(w, "  no delivery")
	}
	if x.Note != "" {
		fmt.Fprintf(w, "  note: %s\n", x.Note)
	}
	return nil
}

func printClauses(w io.Writer, clauses []view.Clause) {
	for _, c := range clauses {
		mark := "no "
		if c.Verdict {
			mark = "yes"
		}
		fmt.Fprintf(w, "  %s  %s %s\n       %s\n", mark, c.Word, strings.ReplaceAll(c.Text, "\n", "\n       "), c.Found)
	}
}

// showAttributes prints what the sender said of the event beside its data.
func showAttributes(w io.Writer, e *view.Event) {
	happened := ""
	if !e.Time.IsZero() {
		happened = short(e.Time)
	}
	for _, a := range []struct{ name, value string }{
		{"source", e.Source}, {"subject", e.Subject}, {"sender's id", e.SourceID}, {"happened", happened},
	} {
		if a.value != "" {
			fmt.Fprintf(w, "  %s: %s\n", a.name, a.value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		fmt.Fprintf(w, "  extension %s: %s\n", name, e.Extensions[name])
	}
}

func showEvent(cmd *cobra.Command, c *client, id string) error {
	body, err := c.call(http.MethodGet, "/relay/events/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), body)
	}
	var e view.Event
	if err := decode(body, &e); err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%s  %s  accepted %s  %d bytes of %s\n", e.ID, e.Type, short(e.Accepted), e.Size, cmp.Or(e.ContentType, "no type"))
	if !e.Erased.IsZero() {
		fmt.Fprintf(w, "  data erased %s\n", short(e.Erased))
	}
	showAttributes(w, &e)
	if len(e.Deliveries) == 0 {
		fmt.Fprintf(w, "no subscription matched; see why with: caddy relay show %s --why <subscription>\n", e.ID)
	}
	for _, d := range e.Deliveries {
		fmt.Fprintf(w, "\n%s: %s", d.Subscription, stateAndReason(&d))
		if d.WaitingFor != "" || !d.NextAttempt.IsZero() {
			fmt.Fprintf(w, ", next attempt %s", nextOf(&d))
		}
		fmt.Fprintln(w)
		for _, a := range d.Attempts {
			fmt.Fprintf(w, "  %d  %s  %s in %d ms", a.Number, short(a.At), attemptResult(&a), a.DurationMS)
			if a.LocalAddress != "" {
				fmt.Fprintf(w, "  from %s to %s", a.LocalAddress, a.RemoteAddress)
			}
			fmt.Fprintln(w)
			if a.Error != "" {
				fmt.Fprintf(w, "     %s\n", a.Error)
				if said := firstLine(a.ResponseExcerpt); said != "" {
					fmt.Fprintf(w, "     it said: %s\n", said)
				}
			}
		}
	}
	return nil
}

// attemptResult is the status, or the kind of what went wrong before there was one.
func attemptResult(a *view.Attempt) string {
	if a.Status == 0 {
		return string(a.ErrorKind)
	}
	return strconv.Itoa(a.Status)
}

func showSubscription(cmd *cobra.Command, c *client, name string) error {
	body, err := c.call(http.MethodGet, "/relay/subscriptions/"+url.PathEscape(name), nil)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), body)
	}
	var s subscriptionDetails
	if err := decode(body, &s); err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if err := printSubscriptions(w, []subscriptionStatus{s.subscriptionStatus}); err != nil {
		return err
	}
	if s.URL == "" {
		return nil
	}
	fmt.Fprintln(w)
	return printSettings(w, append([]effectiveSetting{{Word: "url", Values: []string{s.URL}, From: fromSubscription}}, s.Settings...))
}

// printSettings shows what the words of a subscription come to, and where each comes from.
func printSettings(w io.Writer, settings []effectiveSetting) error {
	var rows []string
	for _, e := range settings {
		if len(e.Values) == 0 {
			e.Values = []string{otherwiseNone}
		}
		for i, value := range e.Values {
			if i > 0 {
				e.Word, e.From = "", ""
			}
			rows = append(rows, e.Word+"\t"+e.From+"\t"+strings.ReplaceAll(value, "\t", "    "))
		}
	}
	return table(w, "WORD\tFROM\tVALUE", len(rows), "", func(i int) string { return rows[i] })
}

// firstLine is the beginning of what an endpoint answered, as far as a terminal can show it.
func firstLine(answer string) string {
	const most = 200
	line, _, _ := strings.Cut(strings.TrimSpace(answer), "\n")
	line = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line)
	if runes := []rune(line); len(runes) > most {
		line = string(runes[:most]) + "..."
	}
	return line
}
