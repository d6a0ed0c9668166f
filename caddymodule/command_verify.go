package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/storage/badger"
)

// storedData checks the data of a store that no Caddy has open: that of the argument, of
// the configuration, or the default one.
func (d *doctor) storedData(cmd *cobra.Command, args []string) error {
	directory := ""
	if len(args) == 1 {
		directory = args[0]
	}
	storage, err := commandStorage(cmd, directory)
	if err != nil {
		return err
	}
	dir, err := storage.StoreKey()
	if err != nil {
		return err
	}
	report, err := badger.Verify(dir, badger.Options{Limits: storage.limits(), EncryptionKey: storage.key})
	if errors.Is(err, badger.ErrLocked) {
		d.note(gradeFail, "stored data", err.Error(), "stop that Caddy first; while it runs, see: caddy relay doctor")
		return nil
	}
	if err != nil {
		d.note(gradeFail, "stored data", err.Error(), "")
		return nil
	}
	d.report(dir, report)
	return nil
}

func (d *doctor) report(dir string, r *badger.Report) {
	if r.Damage != nil {
		d.damage(dir, r)
		return
	}
	const restore = "restore the directory from a backup; what is damaged is set aside as failed when its turn comes"
	if r.Loss != nil {
		d.note(gradeFail, "stored data", r.Loss.Error(), "")
	}
	for _, text := range r.Findings {
		d.note(gradeFail, "stored data", text, restore)
	}
	if more := r.Found - len(r.Findings); more > 0 {
		d.note(gradeFail, "stored data", fmt.Sprintf("and %d more like these", more), restore)
	}
	detail := fmt.Sprintf("%s: %s read, with %d entries of %s; %d were removed by retention",
		dir, plural(int(r.Events), "event"), r.Entries, plural(r.Subscriptions, "subscription"), r.Removed)
	if r.Lost > 0 {
		detail += fmt.Sprintf("; the loss of %d was accepted before", r.Lost)
	}
	if r.Sound() {
		d.note(gradeOK, "stored data", detail+"; nothing is missing", "")
	} else {
		d.note(gradeWarn, "stored data", detail, "")
	}
}

// configuredStorage reads the storage of a configuration file.
func configuredStorage(file, adapter string) (*BadgerStorage, error) {
	loaded, _, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return nil, err
	}
	var config struct {
		Apps struct {
			Relay *struct {
				Storage json.RawMessage `json:"storage"`
			} `json:"relay"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(loaded, &config); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	if config.Apps.Relay == nil {
		return nil, fmt.Errorf("%s has no relay option", file)
	}
	raw := config.Apps.Relay.Storage
	storage := new(BadgerStorage)
	if raw == nil {
		return storage, nil
	}
	var kind struct {
		Engine string `json:"engine"`
	}
	if err := errors.Join(json.Unmarshal(raw, &kind), json.Unmarshal(raw, storage)); err != nil {
		return nil, fmt.Errorf("reading the storage of %s: %w", file, err)
	}
	if kind.Engine != "badger" {
		return nil, fmt.Errorf("the storage %q of %s is not in a directory; only badger can be checked", kind.Engine, file)
	}
	return storage, nil
}

// mostListed bounds the lines about what is gone; the rest is counted.
const mostListed = 20

// damage says what is damaged, and what going on with the rest would leave.
func (d *doctor) damage(dir string, r *badger.Report) {
	for _, file := range r.Damage.Damages {
		d.note(gradeFail, "stored data", fmt.Sprintf("%s: %s %s", dir, file.File, file.What),
			"restore the directory from a backup; or go on with what can be read, by a line in the block of storage: accept_loss "+r.Damage.Token)
	}
	const check = "with accept_loss"
	for _, text := range r.Findings {
		d.note(gradeFail, check, text, "")
	}
	s := r.Salvage
	if s == nil {
		return
	}
	d.note(gradeWarn, check, s.String(), "")
	var lines []string
	for _, g := range s.Gaps {
		lines = append(lines, fmt.Sprintf("gone: the events with the numbers %d to %d, accepted between %s and %s",
			g.First, g.Last, shortTime(g.After), shortTime(g.Before)))
	}
	for _, l := range s.Deliveries {
		state := "not delivered"
		if l.Finished {
			state = "delivered or given up before"
		}
		lines = append(lines, fmt.Sprintf("gone: %s for %s, %s", l.Event, l.Subscription, state))
	}
	for _, text := range s.Unknown {
		lines = append(lines, "not delivered: "+text)
	}
	for _, text := range s.Findings {
		lines = append(lines, "still wrong: "+text)
	}
	for _, line := range lines[:min(len(lines), mostListed)] {
		d.note(gradeWarn, check, line, "")
	}
	if more := len(lines) - mostListed; more > 0 {
		d.note(gradeWarn, check, fmt.Sprintf("and %d more like these; accept_loss writes all of them into a file", more), "")
	}
}

// shortTime is empty for the beginning.
func shortTime(t time.Time) string {
	if t.IsZero() {
		return "the beginning"
	}
	return t.UTC().Format(time.RFC3339)
}
