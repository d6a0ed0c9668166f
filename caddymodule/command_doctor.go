package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Grades of a finding.
const (
	gradeOK   = "ok"
	gradeWarn = "warn"
	gradeFail = "FAIL"
)

// finding is the result of one check of the doctor.
type finding struct {
	Grade  string `json:"grade"`
	Check  string `json:"check"`
	Detail string `json:"detail"`
	// Fix is what to do, where there is something.
	Fix string `json:"fix,omitempty"`
}

func doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [--reach] [--storage [<directory>]]",
		Short: "Check the configuration and the running relay, and say how to mend what is wrong",
		Long: `Checks the configuration file, if one is given with --config, and the running instance:
storage, egress addresses and the ways from them, subscriptions. It exits with 1 if a check
fails. With --reach it makes a TCP connection to each endpoint from each address of its
region, which is closed at once; otherwise nothing is sent to them.

With --storage it reads all that is stored instead, while no Caddy has the store open: in
the given directory, that of --config, or the default one.`,
		Example: `  caddy relay doctor --config /etc/caddy/Caddyfile
  caddy relay doctor --reach
  caddy relay doctor --storage /var/lib/caddy/relay`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var d doctor
			stored, err := cmd.Flags().GetBool("storage")
			switch {
			case err != nil:
			case stored:
				err = d.storedData(cmd, args)
			case len(args) > 0:
				err = fmt.Errorf("doctor takes no %q; to check what is stored there: caddy relay doctor --storage %s", args[0], args[0])
			default:
				err = d.examine(cmd)
			}
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				if err := writeIndented(cmd.OutOrStdout(), d.findings); err != nil {
					return err
				}
			} else {
				d.print(cmd.OutOrStdout())
			}
			if n := d.count(gradeFail); n > 0 {
				return fmt.Errorf("%d of %d checks failed", n, len(d.findings))
			}
			return nil
		},
	}
	cmd.Flags().Bool("reach", false, "also connect to each endpoint, from each address of its region")
	cmd.Flags().Bool("storage", false, "read and check all that is stored, while no Caddy has it open")
	return cmd
}

// doctor collects findings.
type doctor struct {
	findings []finding
	// told are warnings that a finding has told of already.
	told []string
}

func (d *doctor) note(grade, check, detail, fix string) {
	d.findings = append(d.findings, finding{Grade: grade, Check: check, Detail: detail, Fix: fix})
}

func (d *doctor) examine(cmd *cobra.Command) error {
	flags := cmd.Flags()
	file, err := flags.GetString("config")
	if err != nil {
		return err
	}
	adapter, err := flags.GetString("adapter")
	if err != nil {
		return err
	}
	if file != "" {
		d.config(file, adapter)
	}
	c, err := newClient(cmd)
	if err != nil {
		d.note(gradeFail, "running instance", err.Error(), "mend the configuration first")
		return nil
	}
	var s status
	if err := c.get("/relay/status", &s); err != nil {
		fix := "see the log of the running instance"
		if errors.Is(err, errNoAnswer) {
			fix = "start it with: caddy run --config <file>, or give its admin address with --address"
		}
		d.note(gradeFail, "running instance", err.Error(), fix)
		return nil
	}
	d.note(gradeOK, "running instance", fmt.Sprintf("caddy-relay %s at %s", s.Version, c.address), "")
	d.storage(&s.Storage)
	if err := d.machine(cmd, c, &s); err != nil {
		return err
	}
	if err := d.egress(cmd, c); err != nil {
		return err
	}
	d.instances(s.Instances)
	d.warnings(s.Warnings)
	for i := range s.Subscriptions {
		d.subscription(&s.Subscriptions[i])
	}
	return nil
}

// config checks a configuration file as caddy validate does.
func (d *doctor) config(file, adapter string) {
	loaded, name, _, err := caddycmd.LoadConfig(file, adapter)
	if err == nil {
		var config caddy.Config
		if err = caddy.StrictUnmarshalJSON(loaded, &config); err == nil {
			err = caddy.Validate(&config)
		}
	}
	if err != nil {
		d.note(gradeFail, "config", err.Error(), "mend what the message names; check with: caddy validate --config "+file)
		return
	}
	d.note(gradeOK, "config", name+" is valid", "")
}

// instances tells of the relays that share the storage, where there may be several.
func (d *doctor) instances(all []instanceStatus) {
	if len(all) == 0 {
		return
	}
	described := make([]string, len(all))
	for i, n := range all {
		regions := "no region"
		if len(n.Regions) > 0 {
			regions = strings.Join(n.Regions, ", ")
		}
		described[i] = fmt.Sprintf("%s (%s) delivers for %d", n.ID, regions, n.Subscriptions)
	}
	d.note(gradeOK, "instances", fmt.Sprintf("%d on this storage: %s", len(all), strings.Join(described, "; ")), "")
}

// littleSpace is when the doctor warns of a volume's free space, in bytes.
const littleSpace = 1 << 30

func (d *doctor) storage(s *storageStatus) {
	detail := fmt.Sprintf("%s in %s, %s so far", s.Engine, s.Location, plural(int(s.Events), "event"))
	if s.FreeBytes >= 0 {
		detail += ", " + humanize.IBytes(uint64(s.FreeBytes)) + " free"
	}
	switch {
	case strings.Contains(s.Error, relay.ErrFull.Error()):
		mend := "make room on the volume (df -h " + s.Location + "), or lower min_free; events are taken again by themselves"
		if s.Engine == "postgres" {
			mend = "make room on the server's disk; events are taken again by themselves"
		}
		d.note(gradeFail, "storage", detail+": "+s.Error, mend)
	case s.Error != "":
		d.note(gradeFail, "storage", detail+": "+s.Error, "see the log of "+relayLogger+".storage for the cause; no event is accepted until it is mended")
	case s.FreeBytes >= 0 && s.FreeBytes < littleSpace:
		d.note(gradeWarn, "storage", detail, "make room on this volume, or shorten retention")
	default:
		d.note(gradeOK, "storage", detail, "")
	}
}

// relayLogger is the name of the relay's loggers.
const relayLogger = "relay"

func (d *doctor) subscription(s *subscriptionStatus) {
	check := "subscription " + s.Name
	detail := fmt.Sprintf("%s, %d pending, %d failed", s.State, s.Pending, s.Failed)
	if s.Detail != "" {
		detail += ": " + s.Detail
	}
	switch {
	case s.State == relay.SubscriptionGone:
		d.note(gradeWarn, check, detail, "put the subscription back into the configuration; its deliveries are kept")
	case s.State == relay.SubscriptionDisabled:
		d.note(gradeFail, check, detail, "ask the endpoint's owner; then give the subscription its new URL, and: caddy relay resume "+s.Name)
	case s.Reason == relay.ReasonBreaker:
		d.note(gradeWarn, check, detail, "see why with: caddy relay list deliveries --state retrying --subscription "+s.Name)
	case s.Reason == relay.ReasonEgress:
		d.note(gradeFail, check, detail, "give the region a usable address of the endpoint's family")
	case s.Reason == relay.ReasonNoInstance:
		d.note(gradeFail, check, detail, "start a relay where the addresses of its region are, or give this machine one of them")
	case s.State == relay.SubscriptionPaused:
		d.note(gradeWarn, check, detail, "")
	case !s.FailingSince.IsZero():
		d.note(gradeWarn, check, detail+"; only failures since "+short(s.FailingSince), "see why with: caddy relay list deliveries --state retrying --subscription "+s.Name+", and show one of its events")
	case s.Warning != "":
		d.note(gradeWarn, check, detail+"; when it started: "+s.Warning, "check the name in the URL, and the region's addresses")
	default:
		d.note(gradeOK, check, detail, "")
	}
}

func (d *doctor) count(grade string) int {
	n := 0
	for _, f := range d.findings {
		if f.Grade == grade {
			n++
		}
	}
	return n
}

func (d *doctor) print(w io.Writer) {
	width := 0
	for _, f := range d.findings {
		width = max(width, len(f.Check))
	}
	for _, f := range d.findings {
		fmt.Fprintf(w, " %-5s %-*s  %s\n", f.Grade, width, f.Check, f.Detail)
		if f.Fix != "" {
			fmt.Fprintf(w, "       %*s  fix: %s\n", width, "", f.Fix)
		}
	}
	fmt.Fprintf(w, "%s, %s\n", plural(d.count(gradeFail), "failure"), plural(d.count(gradeWarn), "warning"))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
