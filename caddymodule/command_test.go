package caddymodule

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestEverySubcommandHelps: the help of each says what it does, and how it is called; what
// follows no rule is an error that says so.
func TestEverySubcommandHelps(t *testing.T) {
	relay := &cobra.Command{Use: "relay"}
	relayCommand(relay)
	want := "bench demo doctor drop egress export health import list pause replay resume secret send show sink tail verify"
	var names []string
	for _, sub := range relay.Commands() {
		names = append(names, sub.Name())
		if sub.Short == "" || sub.RunE == nil || sub.Args == nil {
			t.Errorf("%s: %q has no rule for its arguments, or does nothing", sub.Name(), sub.Short)
		}
		if !strings.Contains(sub.Example, "  caddy relay "+sub.Name()) {
			t.Errorf("%s has no example: %q", sub.Name(), sub.Example)
		}
		for line := range strings.Lines(sub.Long) {
			if len(line) > 101 {
				t.Errorf("%s: a line of its help is too long for a terminal: %q", sub.Name(), line)
			}
		}
		out, err := command(t, "", sub.Name(), "--help")
		if err != nil || !strings.Contains(out, "Examples:") || !strings.Contains(out, "--json") {
			t.Errorf("%s --help: %v: %s", sub.Name(), err, out)
		}
		if _, err := command(t, "", sub.Name(), "--no-such-flag"); err == nil || !strings.Contains(err.Error(), "--no-such-flag") {
			t.Errorf("%s takes a flag that it does not know: %v", sub.Name(), err)
		}
		if _, err := command(t, "", sub.Name(), "a", "b", "c", "d"); err == nil || !strings.Contains(err.Error(), "; write: relay "+sub.Name()) {
			t.Errorf("%s takes any arguments, or does not say which: %v", sub.Name(), err)
		}
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("there are %s; want %s", got, want)
	}
	for _, bogus := range []string{"bogus", "snd", "demo2"} {
		if _, err := command(t, "", bogus); err == nil || !strings.Contains(err.Error(), "unknown subcommand") {
			t.Errorf("%s: %v", bogus, err)
		}
	}
}

// TestListRefusesWhatItWouldIgnore: what is shown is what was asked for.
func TestListRefusesWhatItWouldIgnore(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"events", "--state", "failed"}, "--state is for list deliveries; list events takes --type, --unmatched, --since, --until, --limit"},
		{[]string{"events", "--subscription", "crm"}, "--subscription is for list deliveries; list events takes"},
		{[]string{"deliveries", "--unmatched"}, "--unmatched is for list events; list deliveries takes --subscription, --state, --since, --until, --limit"},
		{[]string{"deliveries", "--type", "order.paid"}, "--type is for list events"},
		{[]string{"subscriptions", "--since", "1h"}, "--since is for list events; list subscriptions takes none, and shows all"},
		{[]string{"orders"}, `"orders" cannot be listed`},
	} {
		if _, err := command(t, "", append([]string{"list"}, test.args...)...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("list %s: %v; want %q", strings.Join(test.args, " "), err, test.want)
		}
	}
}
