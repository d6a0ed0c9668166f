package caddymodule

import (
	"fmt"
	"strings"
	"testing"
)

// graded are the findings as lines.
func (d *doctor) graded() string {
	var out strings.Builder
	for _, f := range d.findings {
		fmt.Fprintf(&out, "%s %s: %s (%s)\n", f.Grade, f.Check, f.Detail, f.Fix)
	}
	return out.String()
}

func TestDoctorJudgesTheMachine(t *testing.T) {
	for _, c := range []struct {
		check machineCheck
		want  []string
	}{
		{machineCheck{}, nil},
		{
			machineCheck{Filesystem: "ext4", Clock: clockSynchronised, OpenFiles: 1048576},
			[]string{"ok disk: /data is on ext4", "ok clock: synchronised", "ok limits: 1048576 files"},
		},
		{
			machineCheck{Filesystem: "tmpfs", Clock: clockUnsynchronised, OpenFiles: 1024},
			[]string{"warn disk: /data is on tmpfs: accepted events are lost", "warn clock: ", "timedatectl set-ntp true", "warn limits: at most 1024", "LimitNOFILE="},
		},
		{machineCheck{Filesystem: "overlay"}, []string{"warn disk: /data is in a container's own layer", "mount a volume there"}},
		{machineCheck{Filesystem: "nfs"}, []string{"warn disk: /data is on nfs"}},
	} {
		var d doctor
		d.judgeMachine(&c.check, "/data")
		got := d.graded()
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%+v: %q lacks %q", c.check, got, want)
			}
		}
		if c.want == nil && got != "" {
			t.Errorf("%+v: %q of nothing", c.check, got)
		}
	}
}

func TestDoctorJudgesTheStopTime(t *testing.T) {
	for allowed, want := range map[string]string{
		"5s":       "warn stop time: caddy.service is killed after 5s, while attempts in flight may take 30s (grace_period) (systemctl edit caddy.service, and write below [Service]: TimeoutStopSec=45)\n",
		"30s":      "warn stop time: caddy.service is killed after 30s, while attempts in flight may take 30s (grace_period) (systemctl edit caddy.service, and write below [Service]: TimeoutStopSec=45)\n",
		"1min 30s": "ok stop time: caddy.service has 1m30s, attempts in flight may take 30s ()\n",
		"infinity": "", "": "",
	} {
		var d doctor
		d.judgeStop(&machineCheck{Unit: "caddy.service", GraceSeconds: 30}, allowed)
		if got := d.graded(); got != want {
			t.Errorf("%q: %q, want %q", allowed, got, want)
		}
	}
}

func TestDoctorRepeatsWarningsWithTheirMend(t *testing.T) {
	d := doctor{told: []string{`region "eu": told too late; tell`}}
	d.warnings([]string{
		`region "eu": told too late; tell`, `region "us": something else`,
		`subscription "crm": deliveries are not signed; add: sign standard {file./path/to/secret}`,
		"no region is declared: the kernel chooses", `a warning without a mend`,
	})
	want := `warn configuration: region "us": something else ()` + "\n" + `warn configuration: subscription "crm": deliveries are not signed (add: sign standard {file./path/to/secret})` + "\n" +
		"warn configuration: a warning without a mend ()\n"
	if got := d.graded(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Every failure says how to mend it.
func TestEveryFailureHasAFix(t *testing.T) {
	c := startCaddy(t)
	r := newReceiver(t)
	socket := t.TempDir() + "/admin"
	c.load(config{
		admin:         socket,
		regions:       `[{"name": "eu", "egress": [{"address": "203.0.113.77"}]}]`,
		subscriptions: "[" + r.subscription("crm", `"region": "eu"`) + "]",
	})
	c.publish("order.paid")
	eventually(t, func() bool {
		status, err := c.engine().SubscriptionStatus(t.Context(), "crm")
		return err == nil && status.Reason != ""
	}, func() string { return "nothing is held" })
	out, err := command(t, "", "doctor", "--address", "unix/"+socket)
	if err == nil {
		t.Errorf("all is well:\n%s", out)
	}
	lines := strings.Split(out, "\n")
	failures := 0
	for i, line := range lines {
		if strings.HasPrefix(line, " FAIL") {
			failures++
			if !strings.HasPrefix(strings.TrimSpace(lines[i+1]), "fix: ") || strings.HasPrefix(strings.TrimSpace(lines[i+2]), "fix: ") {
				t.Errorf("not one fix: %s", strings.Join(lines[i:i+3], "\n"))
			}
		}
	}
	if failures < 2 {
		t.Errorf("%d failures:\n%s", failures, out)
	}
}
