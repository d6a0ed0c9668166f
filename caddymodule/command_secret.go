package caddymodule

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func secretCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "secret",
		Short: "Make a signing secret",
		Long: `Prints a new secret for "sign standard". Put it into a file or an environment variable that
the configuration names, and give it to the receiver.`,
		Example: `  caddy relay secret > /run/secrets/crm`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret := signature.NewStandardSecret()
			if wantsJSON(cmd) {
				return writeIndented(cmd.OutOrStdout(), map[string]string{"secret": secret})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), secret)
			return err
		},
	}
}
