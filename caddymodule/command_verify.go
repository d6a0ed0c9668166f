package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/storage/badger"
)

// storedData checks the data of a store that no Caddy has open: that of the argument, of
// the configuration, or the default one.
func (d *doctor) storedData(cmd *cobra.Command, args []string) error {
	file, err := cmd.Flags().GetString("config")
	if err != nil {
		return err
	}
	adapter, err := cmd.Flags().GetString("adapter")
	if err != nil {
		return err
	}
	storage := new(BadgerStorage)
	if file != "" {
		if storage, err = configuredStorage(file, adapter); err != nil {
			return err
		}
	}
	if len(args) == 1 {
		storage.Directory = args[0]
	}
	if err := storage.Provision(caddy.Context{}); err != nil {
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
