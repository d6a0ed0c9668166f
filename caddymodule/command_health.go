package caddymodule

import (
	"fmt"

	"github.com/spf13/cobra"
)

func healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health [--live]",
		Short: "Say whether the relay takes events, by the exit code",
		Long: `Asks the running instance whether it takes events. The exit code is 0 if it does, otherwise
1: for probes of Kubernetes and Docker, which cannot reach a port on the loopback, and for
images without curl. Endpoints that fail make no relay unhealthy.

With --live it asks only whether the relay runs at all, as a liveness probe should: one that
has a full disk would not be better after a restart.`,
		Example: `  caddy relay health
  caddy relay health --live --address unix//run/caddy/admin.sock`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			live, err := cmd.Flags().GetBool("live")
			if err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			route, word := "/relay/health/ready", "ready"
			if live {
				route, word = "/relay/health/live", "alive"
			}
			var h health
			if err := c.get(route, &h); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return writeIndented(cmd.OutOrStdout(), h)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), word)
			return err
		},
	}
	cmd.Flags().Bool("live", false, "ask only whether it runs, not whether it takes events")
	return cmd
}
