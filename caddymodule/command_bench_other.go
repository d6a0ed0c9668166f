//go:build !linux

package caddymodule

import (
	"errors"

	"github.com/spf13/cobra"
)

func benchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bench",
		Short: "Measure the relay on this machine, beside reverse_proxy (on Linux)",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("it reads CPU, memory and disk figures from /proc, and so runs on Linux only")
		},
	}
}
