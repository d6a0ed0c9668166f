package caddymodule

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// machine checks where the running instance runs.
func (d *doctor) machine(cmd *cobra.Command, c *client, s *status) error {
	var check machineCheck
	if err := c.get("/relay/machine", &check); err != nil {
		d.note(gradeFail, "machine", err.Error(), "see the log of the running instance")
		return nil
	}
	d.judgeMachine(&check, s.Storage.Location)
	if check.Unit != "" {
		ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
		defer cancel()
		// Without systemctl, or on another machine, nothing is said.
		if out, err := exec.CommandContext(ctx, "systemctl", "show", "--property", "TimeoutStopUSec", "--value", check.Unit).Output(); err == nil {
			d.judgeStop(&check, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// fewFiles is below what a Caddy with a busy relay needs of descriptors.
const fewFiles = 4096

func (d *doctor) judgeMachine(c *machineCheck, directory string) {
	switch c.Filesystem {
	case "":
	case "tmpfs", "ramfs":
		d.note(gradeWarn, "disk", directory+" is on "+c.Filesystem+": accepted events are lost when the machine stops", "put it on a disk: storage badger <directory>")
	case "overlay":
		d.note(gradeWarn, "disk", directory+" is in a container's own layer: accepted events are lost with the container", "mount a volume there")
	case "nfs", "fuse":
		d.note(gradeWarn, "disk", directory+" is on "+c.Filesystem+": whether it keeps what was synced is up to a server", "put it on a local disk: storage badger <directory>")
	default:
		d.note(gradeOK, "disk", directory+" is on "+c.Filesystem, "")
	}
	switch c.Clock {
	case clockSynchronised:
		d.note(gradeOK, "clock", "synchronised", "")
	case clockUnsynchronised:
		d.note(gradeWarn, "clock", "the kernel does not know it to be synchronised; receivers refuse signatures that are some minutes off",
			"timedatectl set-ntp true")
	}
	switch {
	case c.OpenFiles == 0:
	case c.OpenFiles < fewFiles:
		d.note(gradeWarn, "limits", fmt.Sprintf("at most %d files and connections may be open", c.OpenFiles), "raise it: LimitNOFILE=1048576 in the unit, or ulimit -n")
	default:
		d.note(gradeOK, "limits", fmt.Sprintf("%d files and connections may be open", c.OpenFiles), "")
	}
}

// judgeStop compares the time that systemd allows for a stop with what attempts in flight may
// take.
func (d *doctor) judgeStop(c *machineCheck, allowed string) {
	stop, err := systemdDuration(allowed)
	grace := time.Duration(c.GraceSeconds * float64(time.Second))
	switch {
	case err != nil: // infinity, for one
	case stop <= grace:
		d.note(gradeWarn, "stop time", fmt.Sprintf("%s is killed after %s, while attempts in flight may take %s (grace_period)", c.Unit, stop, grace),
			fmt.Sprintf("systemctl edit %s, and write below [Service]: TimeoutStopSec=%d", c.Unit, int((grace+15*time.Second).Seconds())))
	default:
		d.note(gradeOK, "stop time", fmt.Sprintf("%s has %s, attempts in flight may take %s", c.Unit, stop, grace), "")
	}
}

// systemdDuration reads a duration as systemctl prints it: "1min 30s".
func systemdDuration(text string) (time.Duration, error) {
	return time.ParseDuration(strings.NewReplacer(" ", "", "min", "m").Replace(text))
}

// warnings tells of those of the configuration, but for what is checked in itself.
func (d *doctor) warnings(all []string) {
	for _, text := range all {
		if strings.HasPrefix(text, "no region is declared") || slices.Contains(d.told, text) {
			continue
		}
		detail, fix := text, ""
		if at := strings.LastIndex(text, "; "); at >= 0 {
			detail, fix = text[:at], text[at+2:]
		}
		d.note(gradeWarn, "configuration", detail, fix)
	}
}
