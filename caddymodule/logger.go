package caddymodule

import (
	"slices"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// liveLogger is a logger for what outlives configurations. It writes to the logger of
// the configuration that was laid on last, since Caddy closes the outputs of the ones
// before it.
type liveLogger struct {
	mu sync.RWMutex
	// layers are the loggers of the configurations; the last one is active. They are
	// pointers because some cores cannot be compared.
	layers []*zap.Logger
	// resting is active where there is no layer: the one removed last.
	resting *zap.Logger
}

func newLiveLogger(first *zap.Logger) *liveLogger { return &liveLogger{resting: first} }

// logger returns a logger of that name.
func (l *liveLogger) logger(name string) *zap.Logger {
	return zap.New(liveCore{live: l}).Named(name)
}

func (l *liveLogger) push(layer *zap.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.layers = append(l.layers, layer)
}

// remove takes a layer out, wherever it stands.
func (l *liveLogger) remove(layer *zap.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.layers, layer); i >= 0 {
		l.layers = slices.Delete(l.layers, i, i+1)
		l.resting = layer
	}
}

func (l *liveLogger) current() zapcore.Core {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if n := len(l.layers); n > 0 {
		return l.layers[n-1].Core()
	}
	return l.resting.Core()
}

// liveCore passes everything on to the current core, and asks it anew each time.
type liveCore struct {
	live   *liveLogger
	fields []zapcore.Field
}

func (c liveCore) Enabled(level zapcore.Level) bool { return c.live.current().Enabled(level) }

func (c liveCore) With(fields []zapcore.Field) zapcore.Core {
	return liveCore{live: c.live, fields: slices.Concat(c.fields, fields)}
}

func (c liveCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c liveCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	// Through Check, where Caddy's cores look at the logger's name.
	if checked := c.live.current().Check(entry, nil); checked != nil {
		checked.Write(slices.Concat(c.fields, fields)...)
	}
	return nil
}

func (c liveCore) Sync() error { return c.live.current().Sync() }
