package caddymodule

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/bench"
)

func benchCommand() *cobra.Command {
	o := bench.Options{}
	var duration string
	cmd := &cobra.Command{
		Use:   "bench [--duration <duration>] [--rounds <n>] [--rate <events a second>] [--grow <quantity>] [--dir <directory>]",
		Short: "Measure the relay on this machine, beside reverse_proxy",
		Long: `Starts this Caddy with a store of its own, a load and a receiver, all of them on this machine,
and measures what the relay accepts, stores, signs and delivers, and what reverse_proxy
does, which stores nothing, with the same requests. What runs already is not touched, but
shares the cores. The disk under --dir counts: let it be that of the store. Nothing is left
behind. With --rate events come by the clock, which tells how long deliveries take. With --grow
one quantity grows, and all else stays: ` + bench.QuantityNames() + `;
--plot draws that.`,
		Example: `  caddy relay bench --dir /var/lib/caddy
  caddy relay bench --rate 100 --duration 30s
  caddy relay bench --grow size --values 1000,100000 --plot .`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bench.Act(nil) // where this is a child of a benchmark, it does not return
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program, which is measured: %w", err)
			}
			if o.Duration, err = caddy.ParseDuration(duration); err != nil || o.Duration <= 0 {
				return fmt.Errorf("--duration %s: give a duration, for example 8s", duration)
			}
			bar := newProgress(cmd, "measurements")
			defer bar.end()
			o.Program, o.Arguments = program, []string{"relay", "bench"}
			o.Progress = bar.set
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			result, err := bench.Measure(ctx, o)
			if err != nil {
				return err
			}
			bar.end()
			if wantsJSON(cmd) {
				err = result.JSON(cmd.OutOrStdout())
			} else {
				err = result.Print(cmd.OutOrStdout())
			}
			if err == nil {
				err = result.Err()
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&duration, "duration", (8 * time.Second).String(), "of each measurement; each system is measured once a round")
	flags.IntVar(&o.Rounds, "rounds", 1, "how often both are measured, in turn")
	flags.IntVar(&o.Posters, "posters", 64, "connections that post, each the next event when the last is answered")
	flags.IntVar(&o.Size, "size", 1024, "bytes of each event")
	flags.Float64Var(&o.Rate, "rate", 0, "events a second, by the clock; default: as fast as they are answered")
	flags.StringVar(&o.Grow, "grow", "", "measure over a range of one quantity: "+bench.QuantityNames())
	flags.StringVar(&o.Values, "values", "", "the values of --grow, by commas; default: five or six over the whole range")
	flags.StringVar(&o.Pictures, "plot", "", "draw what --grow measures into this folder, as SVG for light and dark pages")
	flags.StringVar(&o.Directory, "dir", ".", "where the stores lie meanwhile")
	return cmd
}
