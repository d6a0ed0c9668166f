package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

func pauseCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "pause <subscription>",
		Short: "Hold the deliveries of a subscription",
		Long: `Holds the deliveries of a subscription until it is resumed. None is lost, and the pause
survives restarts.`,
		Example: `  caddy relay pause crm --reason "their migration, until Monday"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := json.Marshal(map[string]string{"reason": reason})
			if err != nil {
				return err
			}
			return steer(cmd, args[0], "pause", body)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look")
	return cmd
}

func resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume <subscription>",
		Short: "Let a subscription go on that is paused, disabled or held",
		Long: `Ends a pause, and whatever else holds a subscription but for its configuration.
Everything that is held or waits for a retry is due at once, also where nothing was held.`,
		Example: "  caddy relay resume crm",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return steer(cmd, args[0], "resume", nil) },
	}
}

func dropCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "drop <subscription>",
		Short: "Give up everything that a subscription has pending",
		Long: `Gives up everything that a subscription holds or has pending, also one that is gone from the
configuration: it is recorded as failed, for the reason "dropped", and can be replayed
while it is kept.`,
		Example: `  caddy relay drop crm
  caddy relay drop crm --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !confirmed(cmd, "Give up all pending deliveries of "+args[0]+"?") {
				return errors.New("nothing was dropped")
			}
			return steer(cmd, args[0], "drop", nil)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// confirmed asks on a terminal. A script has nobody to ask: it says what it means.
func confirmed(cmd *cobra.Command, question string) bool {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return true
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	var answer string
	_, err := fmt.Fscanln(os.Stdin, &answer)
	return err == nil && strings.EqualFold(answer, "y")
}

// steer posts to a subscription and prints its status after that.
func steer(cmd *cobra.Command, name, verb string, body []byte) error {
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	answer, err := c.call(http.MethodPost, "/relay/subscriptions/"+url.PathEscape(name)+"/"+verb, body)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	var s subscriptionStatus
	if err := decode(answer, &s); err != nil {
		return err
	}
	return printSubscriptions(cmd.OutOrStdout(), []subscriptionStatus{s})
}

func replayCommand() *cobra.Command {
	var order replayOrder
	var detach bool
	cmd := &cobra.Command{
		Use:   "replay <event id> <subscription> | --subscription <name> --select failed|missing|all",
		Short: "Deliver again: one, or all that are selected",
		Long: `Delivers again what was delivered or given up. The receiver sees the same webhook-id, so that
one that looks at it takes nothing twice.

Of many: failed are deliveries that were given up, all is every finished delivery, missing
are events that match the subscription today and have no delivery, for example because
they came before it existed. It waits until the last one is reopened; Ctrl-C leaves the
job running.`,
		Example: `  caddy relay replay evt_1q3asyqyg0000ka5 crm
  caddy relay replay --subscription crm --select failed --since 24h`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			switch {
			case len(args) == 2:
				return replayOne(cmd, c, args[0], args[1])
			case len(args) == 1 || order.Subscription == "" || order.Select == "":
				return errors.New("say what to replay: <event id> <subscription>, or --subscription and --select failed, missing or all")
			}
			return replayMany(cmd, c, &order, detach)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&order.Subscription, "subscription", "", "whose deliveries")
	flags.StringVar((*string)(&order.Select), "select", "", "failed, missing or all")
	flags.StringVar(&order.Since, "since", "", "of events accepted since this time, or this long ago: 1h, 7d")
	flags.StringVar(&order.Until, "until", "", "of events accepted before this time, or longer ago than this")
	flags.IntVar(&order.Rate, "rate", 0, "deliveries a second at most; default: 100")
	flags.BoolVar(&detach, "detach", false, "print the job and do not wait for it")
	return cmd
}

func replayOne(cmd *cobra.Command, c *client, id, subscription string) error {
	uri := "/relay/events/" + url.PathEscape(id) + "/deliveries/" + url.PathEscape(subscription) + "/replay"
	body, err := c.call(http.MethodPost, uri, nil)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), body)
	}
	var d view.Delivery
	if err := decode(body, &d); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s for %s is %s, after %s\n", d.Event, d.Subscription, stateAndReason(&d), plural(d.AttemptCount, "attempt"))
	return err
}

// jobPoll is how often a job's progress is asked for.
const jobPoll = 250 * time.Millisecond

func replayMany(cmd *cobra.Command, c *client, order *replayOrder, detach bool) error {
	body, err := json.Marshal(order)
	if err != nil {
		return err
	}
	answer, err := c.call(http.MethodPost, "/relay/replay", body)
	if err != nil {
		return err
	}
	var begun struct {
		Job string `json:"job"`
	}
	if err := decode(answer, &begun); err != nil {
		return err
	}
	if detach {
		if wantsJSON(cmd) {
			return printJSON(cmd.OutOrStdout(), answer)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", begun.Job)
		return err
	}
	j, err := followJob(cmd, c, begun.Job)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		err = writeIndented(cmd.OutOrStdout(), j)
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %d of %d replayed\n", j.ID, j.State, j.Replayed, j.Total)
	}
	if err == nil && j.State != relay.JobDone {
		err = fmt.Errorf("the replay is %s: %s", j.State, j.Error)
	}
	return err
}

// followJob waits for a job, and shows its progress on a terminal.
func followJob(cmd *cobra.Command, c *client, id string) (job, error) {
	bar := newProgress(cmd, "looked at")
	defer bar.end()
	for {
		var j job
		if err := c.get("/relay/jobs/"+url.PathEscape(id), &j); err != nil {
			return j, err
		}
		bar.set(j.Done, j.Total)
		if j.State != relay.JobRunning {
			return j, nil
		}
		select {
		case <-cmd.Context().Done():
			return j, fmt.Errorf("the job goes on; look at it with GET /relay/jobs/%s: %w", id, cmd.Context().Err())
		case <-time.After(jobPoll):
		}
	}
}
