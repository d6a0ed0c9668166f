package caddymodule

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/transfer"
)

// transferPatience is how long the other side of an export or import may take for a step.
const transferPatience = time.Minute

// contentNDJSON is the content type of exports.
const contentNDJSON = "application/x-ndjson"

// adminExport answers GET /relay/export?select. After the first line errors can only be told
// by leaving out the last one.
func adminExport(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	q := newQuery(r, "select")
	selected := oneOf(q, "select", []string{transfer.SelectUnfinished, transfer.SelectAll})
	if q.err != nil {
		return q.err
	}
	if selected == "" {
		selected = transfer.SelectUnfinished
	}
	w.Header().Set("Content-Type", contentNDJSON)
	w.Header().Set("Trailer", trailerUnreadable)
	control := http.NewResponseController(w)
	sent := false
	out := bufio.NewWriterSize(writerFunc(func(p []byte) (int, error) {
		sent = true
		_ = control.SetWriteDeadline(time.Now().Add(transferPatience))
		return w.Write(p)
	}), 64<<10)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	began := time.Now()
	done, err := transfer.Export(r.Context(), engine, out, version(), selected)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		if !sent {
			return engineError(err)
		}
		a.logger.Error("an export was not finished", zap.Error(err))
		panic(http.ErrAbortHandler) // the client sees that it is cut
	}
	w.Header().Set(trailerUnreadable, strconv.Itoa(done.Unreadable))
	a.logger.Info("events were exported", zap.String("select", selected), zap.Int("events", done.Events), zap.Int("keys", done.Keys),
		zap.Int("unreadable", done.Unreadable), zap.Duration("took", time.Since(began)))
	return nil
}

// trailerUnreadable is the field behind the body of an export (RFC 9110, section 6.5) that says how
// many events cannot be read, and are not in it.
const trailerUnreadable = "Relay-Unreadable"

type writerFunc func(p []byte) (int, error)

// Write implements [io.Writer].
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// adminImport answers POST /relay/import with what was taken.
func adminImport(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	control := http.NewResponseController(w)
	in, err := transfer.NewReader(readerFunc(func(p []byte) (int, error) {
		_ = control.SetReadDeadline(time.Now().Add(transferPatience)) // the admin endpoint's own is for small requests
		return r.Body.Read(p)
	}))
	if err != nil {
		return importError(transfer.Imported{}, err)
	}
	began := time.Now()
	done, err := transfer.Import(r.Context(), engine, in)
	fields := []zap.Field{zap.Int("events", done.Events), zap.Int("known_events", done.KnownEvents), zap.Int("keys", done.Keys), zap.Duration("took", time.Since(began))}
	if err != nil {
		a.logger.Error("an import was not finished", append(fields, zap.Error(err))...)
		return importError(done, err)
	}
	a.logger.Info("events were imported", fields...)
	return writeJSON(w, http.StatusOK, done)
}

type readerFunc func(p []byte) (int, error)

// Read implements [io.Reader].
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// importError says what was taken before it, and that to begin anew is safe.
func importError(done transfer.Imported, err error) error {
	_, isWrong := errors.AsType[*transfer.Error](err)
	if done.Events+done.KnownEvents+done.Keys+done.Subscriptions > 0 {
		err = fmt.Errorf("%w; until then %s were taken, and stay: import the whole export again, what is there is left out", err, plural(done.Events, "event"))
	}
	if isWrong || errors.Is(err, io.ErrUnexpectedEOF) {
		return adminError(http.StatusBadRequest, err)
	}
	return engineError(err)
}
