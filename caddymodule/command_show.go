package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/view"
)

func showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show <event id> | <subscription>",
		Short: "Show everything about an event or a subscription",
		Example: `  caddy relay show evt_1q3asyqyg0000ka5
  caddy relay show crm`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			if strings.HasPrefix(args[0], "evt_") {
				return showEvent(cmd, c, args[0])
			}
			return showSubscription(cmd, c, args[0])
		},
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
	fmt.Fprintf(w, "%s  %s  accepted %s  %d bytes of %s\n", e.ID, e.Type, short(e.Accepted), e.Size, e.ContentType)
	if len(e.Deliveries) == 0 {
		fmt.Fprintln(w, "no subscription matched")
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
	var s status
	if err := c.get("/relay/status", &s); err != nil {
		return err
	}
	var known []string
	for _, sub := range s.Subscriptions {
		known = append(known, sub.Name)
		if sub.Name != name {
			continue
		}
		if wantsJSON(cmd) {
			return writeIndented(cmd.OutOrStdout(), sub)
		}
		return printSubscriptions(cmd.OutOrStdout(), []subscriptionStatus{sub})
	}
	return fmt.Errorf("there is no subscription named %q%s", name, didYouMean(name, known))
}
