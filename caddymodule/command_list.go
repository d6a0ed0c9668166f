package caddymodule

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/view"
)

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list events|deliveries|subscriptions",
		Short: "List events, deliveries or subscriptions, newest first",
		Example: `  caddy relay list deliveries --state failed --since 1h
  caddy relay list events --unmatched
  caddy relay list subscriptions`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"events", "deliveries", "subscriptions"},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, l := range listers {
				if l.name != args[0] {
					continue
				}
				if err := l.check(cmd); err != nil {
					return err
				}
				return l.run(cmd, l.flags)
			}
			return fmt.Errorf("%q cannot be listed; there are events, deliveries and subscriptions", args[0])
		},
	}
	flags := cmd.Flags()
	flags.String("subscription", "", "deliveries of this subscription")
	flags.String("state", "", "deliveries in this state: pending, retrying, held, delivered, failed or superseded")
	flags.String("type", "", "events of this type")
	flags.Bool("unmatched", false, "events that matched no subscription")
	flags.String("since", "", "accepted since this time, or this long ago: 1h, 7d")
	flags.String("until", "", "accepted before this time, or longer ago than this")
	flags.Int("limit", defaultPage, "how many")
	return cmd
}

type lister struct {
	name string
	run  func(cmd *cobra.Command, flags []string) error
	// flags are those that it takes, of those that lists have.
	flags []string
}

var listers = []lister{
	{"events", listEvents, []string{"type", "unmatched", "since", "until", "limit"}},
	{"deliveries", listDeliveries, []string{"subscription", "state", "since", "until", "limit"}},
	{"subscriptions", listSubscriptions, nil},
}

// check refuses flags that another list has: what is shown would not be what was asked for.
func (l *lister) check(cmd *cobra.Command) error {
	for _, other := range listers {
		for _, flag := range other.flags {
			if !cmd.Flags().Changed(flag) || slices.Contains(l.flags, flag) {
				continue
			}
			takes := "takes none, and shows all"
			if len(l.flags) > 0 {
				takes = "takes --" + strings.Join(l.flags, ", --")
			}
			return fmt.Errorf("--%s is for list %s; list %s %s", flag, other.name, l.name, takes)
		}
	}
	return nil
}

// listPages follows a list's cursors until limit items were shown, since a page may hold
// fewer than asked for.
func listPages[T any](cmd *cobra.Command, uri string, flags []string, print func([]T) error) error {
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	left, err := cmd.Flags().GetInt("limit")
	if err != nil {
		return err
	}
	if left < 1 {
		return fmt.Errorf("--limit %d: give at least 1", left)
	}
	values := make(url.Values)
	for _, flag := range flags {
		switch f := cmd.Flags().Lookup(flag); {
		case flag == "unmatched" && f.Value.String() == "true":
			values.Set("matched", "false")
		case flag != "unmatched" && f.Changed:
			values.Set(flag, f.Value.String())
		}
	}
	all := page[T]{Items: []T{}}
	for {
		values.Set("limit", strconv.Itoa(min(left, maxPage)))
		var next page[T]
		if err := c.get(uri+"?"+values.Encode(), &next); err != nil {
			return err
		}
		all.Items, all.Next = append(all.Items, next.Items...), next.Next
		left -= len(next.Items)
		if next.Next == "" || left <= 0 {
			break
		}
		values.Set("cursor", next.Next)
	}
	if wantsJSON(cmd) {
		return writeIndented(cmd.OutOrStdout(), all)
	}
	return print(all.Items)
}

func listEvents(cmd *cobra.Command, flags []string) error {
	return listPages(cmd, "/relay/events", flags, func(events []view.Event) error {
		return table(cmd.OutOrStdout(), "ACCEPTED\tEVENT\tTYPE\tSIZE\tDELIVERIES", len(events), "no events", func(i int) string {
			e := events[i]
			states := make([]string, len(e.Deliveries))
			for j, d := range e.Deliveries {
				states[j] = d.Subscription + " " + string(d.State)
			}
			deliveries := "none matched"
			if len(states) > 0 {
				deliveries = strings.Join(states, ", ")
			}
			return fmt.Sprintf("%s\t%s\t%s\t%d\t%s", short(e.Accepted), e.ID, e.Type, e.Size, deliveries)
		})
	})
}

func listDeliveries(cmd *cobra.Command, flags []string) error {
	return listPages(cmd, "/relay/deliveries", flags, func(deliveries []view.Delivery) error {
		return table(cmd.OutOrStdout(), "EVENT\tSUBSCRIPTION\tSTATE\tATTEMPTS\tNEXT", len(deliveries), "no deliveries", func(i int) string {
			d := deliveries[i]
			return fmt.Sprintf("%s\t%s\t%s\t%d\t%s", d.Event, d.Subscription, stateAndReason(&d), d.AttemptCount, nextOf(&d))
		})
	})
}

func listSubscriptions(cmd *cobra.Command, _ []string) error {
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	var s status
	if err := c.get("/relay/status", &s); err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return writeIndented(cmd.OutOrStdout(), page[subscriptionStatus]{Items: s.Subscriptions})
	}
	return printSubscriptions(cmd.OutOrStdout(), s.Subscriptions)
}

func printSubscriptions(w io.Writer, subscriptions []subscriptionStatus) error {
	const head = "SUBSCRIPTION\tSTATE\tPENDING\tIN FLIGHT\tFAILED\tLAST SUCCESS\tNOTE"
	return table(w, head, len(subscriptions), "no subscriptions", func(i int) string {
		s := subscriptions[i]
		note := s.Detail
		if s.Reason != "" && note != "" {
			note = string(s.Reason) + ": " + note
		} else if note == "" {
			note = string(s.Reason)
		}
		return fmt.Sprintf("%s\t%s\t%d\t%d\t%d\t%s\t%s", s.Name, s.State, s.Pending, s.InFlight, s.Failed, short(s.LastSuccess), note)
	})
}

func stateAndReason(d *view.Delivery) string {
	if d.Reason == "" {
		return string(d.State)
	}
	return fmt.Sprintf("%s (%s)", d.State, d.Reason)
}

// nextOf says when the next attempt is, or behind which event the delivery waits.
func nextOf(d *view.Delivery) string {
	if d.WaitingFor != "" {
		return "after " + d.WaitingFor
	}
	return short(d.NextAttempt)
}

// table prints aligned columns, or the word for none.
func table(w io.Writer, head string, n int, none string, row func(i int) string) error {
	if n == 0 {
		_, err := fmt.Fprintln(w, none)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for i := range n {
		fmt.Fprintln(t, row(i))
	}
	return t.Flush()
}

// short shows a time in UTC, or a dash.
func short(t view.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
