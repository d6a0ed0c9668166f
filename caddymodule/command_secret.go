package caddymodule

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func secretCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Make a signing secret",
		Long: `Prints a new secret for "sign standard". Put it into a file or an environment variable that
the configuration names, and give it to the receiver.

With --ed25519 it prints a pair of keys for "sign standard_ed25519": the private one, which
the configuration names and nobody else gets, and the public one for receivers.`,
		Example: `  caddy relay secret > /run/secrets/crm
  caddy relay secret --ed25519`,
		Args: cobra.NoArgs,
		RunE: makeSecret,
	}
	cmd.Flags().Bool("ed25519", false, "make a pair of keys for sign standard_ed25519")
	return cmd
}

func makeSecret(cmd *cobra.Command, _ []string) error {
	out := cmd.OutOrStdout()
	pair, err := cmd.Flags().GetBool("ed25519")
	if err != nil {
		return err
	}
	if !pair {
		secret := signature.NewStandardSecret()
		if wantsJSON(cmd) {
			return writeIndented(out, map[string]string{"secret": secret})
		}
		_, err := fmt.Fprintln(out, secret)
		return err
	}
	private, public := signature.NewEd25519Pair()
	if wantsJSON(cmd) {
		return writeIndented(out, map[string]string{"private": private, "public": public})
	}
	_, err = fmt.Fprintf(out, "private %s\npublic  %s\n", private, public)
	return err
}
