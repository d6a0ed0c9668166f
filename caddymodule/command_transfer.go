package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/transfer"
	"github.com/caddyrelay/caddyrelay/storage/badger"
)

func exportCommand() *cobra.Command {
	var all bool
	var offline string
	cmd := &cobra.Command{
		Use:   "export [--all] [--offline <directory>] [<file>]",
		Short: "Write what is not delivered yet, to move it to another relay",
		Long: `Writes events that have an unfinished delivery, with the state of each of their deliveries, and
idempotency keys, as lines of JSON: to the file, or to the standard output. With --all it
writes every event that is kept. Nothing is removed. What it writes holds the data of
events: keep it as you keep that.

With --offline it reads the store in a directory that no Caddy has open; --config names the
configuration for its encryption_key. This is the way to move a relay: stop the old one,
export, and import into the new one.`,
		Example: `  caddy relay export backlog.ndjson
  caddy relay export --offline /var/lib/caddy/relay | ssh new-host caddy relay import -`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			selected := transfer.SelectUnfinished
			if all {
				selected = transfer.SelectAll
			}
			out := cmd.OutOrStdout()
			if len(args) == 1 && args[0] != "-" {
				file, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return fmt.Errorf("making the file: %w", err)
				}
				defer func() {
					if err = errors.Join(err, file.Close()); err != nil {
						err = errors.Join(err, os.Remove(args[0])) // half an export is none
					}
				}()
				out = file
			}
			bar := newProgress(cmd, "events")
			defer bar.end()
			checked, counts := check(out, bar)
			if cmd.Flags().Changed("offline") {
				err = exportOffline(cmd, offline, checked, selected)
			} else {
				err = exportOnline(cmd, checked, selected)
			}
			done, wrong := counts(err)
			if err = errors.Join(err, wrong); err != nil {
				return err
			}
			bar.end()
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "exported %s and %s\n", plural(done.Events, "event"), plural(done.Keys, "idempotency key"))
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every event that is kept, and not only what is unfinished")
	cmd.Flags().StringVar(&offline, "offline", "", "read the store in this directory, which no Caddy has open")
	return cmd
}

// check passes on what is written to it, and reads along: counts returns what there was, and
// what is wrong with it.
func check(out io.Writer, bar *progress) (w io.Writer, counts func(error) (transfer.Counts, error)) {
	read, write := io.Pipe()
	type result struct {
		counts transfer.Counts
		err    error
	}
	done := make(chan result, 1)
	go func() {
		reader, err := transfer.NewReader(read)
		if err == nil {
			bar.of(reader.Head().Events)
			for err == nil {
				var item transfer.Item
				if item, err = reader.Next(); item.Event != nil {
					bar.add(1)
				}
			}
		}
		var counts transfer.Counts
		if errors.Is(err, io.EOF) {
			counts, err = reader.Counts(), nil
		}
		_, _ = io.Copy(io.Discard, read)
		done <- result{counts, err}
	}()
	return io.MultiWriter(out, write), func(err error) (transfer.Counts, error) {
		_ = write.Close()
		r := <-done
		if err != nil {
			r.err = nil // what is wrong is known
		}
		return r.counts, r.err
	}
}

func exportOnline(cmd *cobra.Command, out io.Writer, selected string) error {
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	resp, err := caddycmd.AdminAPIRequest(c.address, http.MethodGet, "/relay/export?select="+selected, nil, nil)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("the export is cut off: %w; see the log of the running Caddy", err)
	}
	if n, err := strconv.Atoi(resp.Trailer.Get(trailerUnreadable)); err == nil && n > 0 {
		return fmt.Errorf("%s cannot be read, and are not in the export; see: caddy relay doctor", plural(n, "event"))
	}
	return nil
}

// exportOffline opens a store itself. There is no plan, so that nothing is attempted.
func exportOffline(cmd *cobra.Command, dir string, out io.Writer, selected string) (err error) {
	storage, err := commandStorage(cmd, dir)
	if err != nil {
		return err
	}
	if dir, err = storage.StoreKey(); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("there is no store: %w; is the directory right?", err)
	}
	store, err := badger.Open(dir, badger.Options{Limits: storage.limits(), EncryptionKey: storage.key})
	if errors.Is(err, badger.ErrLocked) {
		return fmt.Errorf("%w; stop that Caddy first, or export from it without --offline", err)
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	engine, err := relay.Open(ctx, store, relay.Options{})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	done, err := transfer.Export(ctx, engine, out, version(), selected)
	if err == nil && done.Unreadable > 0 {
		err = fmt.Errorf("%s cannot be read, and are not in the export; see: caddy relay doctor --storage %s", plural(done.Unreadable, "event"), dir)
	}
	return err
}

// commandStorage is the storage of a directory, with the options of --config, if that is given.
func commandStorage(cmd *cobra.Command, dir string) (*BadgerStorage, error) {
	flags := cmd.Flags()
	file, err := flags.GetString("config")
	if err != nil {
		return nil, err
	}
	adapter, err := flags.GetString("adapter")
	if err != nil {
		return nil, err
	}
	storage := new(BadgerStorage)
	if file != "" {
		if storage, err = configuredStorage(file, adapter); err != nil {
			return nil, err
		}
	}
	if dir != "" {
		storage.Directory = dir
	}
	return storage, storage.Provision(caddy.Context{})
}

func importCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import <file> | -",
		Short: "Take what another relay has exported",
		Long: `Takes the events of an export: they keep their IDs, and the states of their deliveries. What was
not delivered is delivered from here, when it was due there. Events that are here already
are left out, so that it does no harm to import the same file again. The relay takes and
delivers other events meanwhile.

A file is read to its end before anything is sent: one that is cut off or changed is refused.`,
		Example: `  caddy relay import backlog.ndjson
  caddy relay export --offline /var/lib/caddy/relay | ssh new-host caddy relay import -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			bar := newProgress(cmd, "bytes")
			defer bar.end()
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("reading the export: %w", err)
				}
				defer file.Close()
				if _, _, err := transfer.Check(file); err != nil {
					return fmt.Errorf("%s: %w; nothing was imported", args[0], err)
				}
				size, err := file.Seek(0, io.SeekEnd)
				if err == nil {
					_, err = file.Seek(0, io.SeekStart)
				}
				if err != nil {
					return fmt.Errorf("reading the export: %w", err)
				}
				bar.of(int(size))
				in = file
			}
			header := http.Header{"Content-Type": {contentNDJSON}}
			resp, err := caddycmd.AdminAPIRequest(c.address, http.MethodPost, "/relay/import", header, io.TeeReader(in, bar.bytes()))
			if err != nil {
				return c.explain(err)
			}
			defer resp.Body.Close()
			answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
			if err != nil {
				return err
			}
			bar.end()
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			var done transfer.Imported
			if err := decode(answer, &done); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "imported %s and %s; %d and %d were here already\n",
				plural(done.Events, "event"), plural(done.Keys, "idempotency key"), done.KnownEvents, done.KnownKeys)
			return err
		},
	}
}
