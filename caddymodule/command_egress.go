package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/egresslist"
)

func egressCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "egress",
		Short: "Show the addresses that deliveries come from, what is planned, and whom to tell",
		Long: `Shows the list of addresses as receivers are told it, the planned changes, and for each
region the contacts of its subscriptions, with a text to send them where something is
planned, or with --region.`,
		Example: `  caddy relay egress
  caddy relay egress --region eu`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			body, err := c.call(http.MethodGet, "/relay/egress", nil)
			if err != nil {
				return err
			}
			only, err := cmd.Flags().GetString("region")
			if err != nil {
				return err
			}
			var e egressAnswer
			if err := decode(body, &e); err != nil {
				return err
			}
			if err := e.keep(only); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return writeIndented(cmd.OutOrStdout(), e)
			}
			return e.print(cmd.OutOrStdout(), only != "")
		},
	}
	cmd.Flags().String("region", "", "only this region")
	return cmd
}

// keep leaves out the other regions, if one is named.
func (e *egressAnswer) keep(only string) error {
	if only == "" {
		return nil
	}
	names := make([]string, len(e.Regions))
	for i, r := range e.Regions {
		names[i] = r.Name
	}
	if !slices.Contains(names, only) {
		return fmt.Errorf("there is no region named %q%s", only, didYouMean(only, names))
	}
	e.Regions = slices.DeleteFunc(e.Regions, func(r egressRegion) bool { return r.Name != only })
	e.Planned = slices.DeleteFunc(e.Planned, func(c plannedChange) bool { return c.Region != only })
	e.History = slices.DeleteFunc(e.History, func(i egressHistoryItem) bool { return i.Region != only })
	e.Warnings = slices.DeleteFunc(e.Warnings, func(w egresslist.Warning) bool { return w.Region != only })
	for name := range e.List.Regions {
		if name != only {
			delete(e.List.Regions, name)
		}
	}
	return nil
}

// print shows the texts to send where something is planned, or all of them.
func (e *egressAnswer) print(w io.Writer, allTexts bool) error {
	rows := e.rows()
	if err := table(w, "REGION\tPREFIX\tSTATE\tFROM\tUNTIL\tNOTE", len(rows), "no regions: the kernel chooses the addresses", func(i int) string { return rows[i] }); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nversion %s, of %s\n", e.List.Version, e.List.Updated.UTC().Format(time.RFC3339))
	if len(e.Planned) == 0 {
		fmt.Fprintln(w, "no change is planned")
	}
	for _, c := range e.Planned {
		fmt.Fprintf(w, "planned for %s, region %s:%s; announced %s\n", short(c.At), c.Region, plusMinus(c.Added, c.Removed), short(c.Announced))
	}
	for _, warning := range e.Warnings {
		fmt.Fprintln(w, "warning: "+warning.String())
	}
	for _, r := range e.Regions {
		fmt.Fprintf(w, "\nRegion %s: to be told\n", r.Name)
		for _, c := range r.Contacts {
			fmt.Fprintf(w, "  %s  (%s)\n", c.Contact, strings.Join(c.Subscriptions, ", "))
		}
		if len(r.WithoutContact) > 0 {
			fmt.Fprintf(w, "  nobody for %s; add to the subscription: contact mailto:<address>\n", strings.Join(r.WithoutContact, ", "))
		}
		if len(r.Contacts)+len(r.WithoutContact) == 0 {
			fmt.Fprintln(w, "  nobody: no subscription uses it")
		}
		if !allTexts && !slices.ContainsFunc(e.Planned, func(c plannedChange) bool { return c.Region == r.Name }) {
			continue
		}
		if e.URL == "" {
			fmt.Fprintln(w, "  the text does not say where the list is; write into relay_egress: url <url of the folder>")
		}
		fmt.Fprintf(w, "\n  Subject: %s\n\n", r.Message.Subject)
		for line := range strings.Lines(r.Message.Body) {
			if line != "\n" {
				line = "  " + line
			}
			fmt.Fprint(w, line)
		}
	}
	return nil
}

// rows are the prefixes of the list as lines of a table.
func (e *egressAnswer) rows() []string {
	var rows []string
	for _, r := range e.Regions {
		list := e.List.Regions[r.Name]
		row := func(p netip.Prefix, state string, from, until time.Time) {
			note := ""
			if slices.Contains(list.Unpinned, p) {
				note = "unpinned: the network keeps it, not the relay"
			}
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", r.Name, p, state, dash(from), dash(until), note))
		}
		for _, p := range list.Active {
			var until time.Time
			state := "active"
			for _, retiring := range list.Retiring {
				if retiring.Prefix == p {
					state, until = "retiring", retiring.Until
				}
			}
			row(p, state, time.Time{}, until)
		}
		for _, s := range list.Scheduled {
			row(s.Prefix, "scheduled", s.From, s.Until)
		}
		if len(list.Active)+len(list.Scheduled) == 0 {
			rows = append(rows, r.Name+"\t-\tno address in use\t-\t-\t")
		}
	}
	return rows
}

func dash(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// plusMinus writes what comes with a plus, and what goes with a minus.
func plusMinus(added, removed []string) string {
	var text strings.Builder
	for _, p := range added {
		text.WriteString(" +" + p)
	}
	for _, p := range removed {
		text.WriteString(" -" + p)
	}
	return text.String()
}
