//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

const (
	drainPatience = 30 * time.Second
	// backlogPatience bounds how long a backlog may take to be posted, and to be delivered.
	backlogPatience = 30 * time.Minute
	drainPoll       = 20 * time.Millisecond
	// settleTime is what the system gets after its last delivery to note it, which
	// belongs to the cost of an event; duplicates, if any, have time to come.
	settleTime = 250 * time.Millisecond
)

// run measures one system once, in processes that are new.
func run(ctx context.Context, o *options, s system, round int, workdir string) (_ *figures, err error) {
	folder := filepath.Join(workdir, strconv.Itoa(round)+"-"+s.name)
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, err
	}
	// The next store shall find the disk as this one did.
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()

	sink, err := startChild(o, roleSink)
	if err != nil {
		return nil, err
	}
	defer sink.stop()
	load, err := startChild(o, roleLoad)
	if err != nil {
		return nil, err
	}
	defer load.stop()
	m := &measurement{o: o, s: s, round: round, sink: sink, load: load, subject: load.process, secret: signature.NewStandardSecret()}

	var address string
	roots, err := filepath.Abs(filepath.Join(folder, "sink.crt"))
	if err != nil {
		return nil, err
	}
	if err := sink.call(ctx, "Listen", SinkOrder{Size: o.size, Fanout: o.fanout, TLS: o.tls, Roots: roots}, &address); err != nil {
		return nil, err
	}
	if s.isCaddy() {
		c := site{sink: address, secret: m.secret, fanout: o.fanout, others: o.others, steady: o.steady, tls: o.tls, roots: roots}
		if s.postgres {
			c.dsn, c.schema = o.postgres, schemaOf(round)
			defer func() { err = errors.Join(err, dropSchema(c.dsn, c.schema)) }()
		}
		if m.caddy, err = startCaddy(ctx, o, s, c, folder); err != nil {
			return nil, err
		}
		interrupted := ctx
		defer func() { m.caddy.stop(interrupted) }()
		var fail context.CancelCauseFunc
		ctx, fail = context.WithCancelCause(ctx)
		defer fail(nil)
		go m.caddy.guard(ctx, fail)
		m.subject, address = m.caddy.process, m.caddy.address
		if s.postgres {
			if m.server, err = openServer(ctx, o.postgres); err != nil {
				return nil, err
			}
			defer m.server.close()
		}
		defer func() {
			for _, p := range m.further {
				p.stop(interrupted)
			}
		}()
		if s.relays > 1 {
			if err := m.startRelays(ctx, c, folder); err != nil {
				return nil, err
			}
		}
	}
	order := LoadOrder{
		Kind: s.kind, Posters: o.posters, Rate: o.rate, Length: o.warmup + o.duration, Size: o.size,
		Address: address, Status: s.status(), Secret: m.secret, Fanout: o.fanout,
		Directory: filepath.Join(folder, "badger"),
	}
	if s.relays > 0 {
		for _, p := range m.relays() {
			order.Addresses = append(order.Addresses, p.address)
		}
	}
	if n := m.counted(); n > 0 {
		order.Events, order.Length = uint64(n), backlogPatience
	}
	if s.backlog { // how it comes to be is not what is measured
		order.Batch = batchOf(o.backlog, o.size)
	}
	if s.kind == kindCommit {
		order.Posters = 1 // one goroutine, that is what it is compared for
	}
	if err := load.call(ctx, "Prepare", order, &None{}); err != nil {
		return nil, err
	}
	return m.measure(ctx)
}

// measurement is one run whose processes stand ready.
type measurement struct {
	o       *options
	s       system
	round   int
	secret  string
	caddy   *caddyProcess // nil where the system is no Caddy
	sink    *child
	load    *child
	subject *process // whose CPU, memory and disk are measured
	// further are the relays beside caddy, server their database; where there are.
	further []*caddyProcess
	server  *server
}

// counted is how many events are posted; 0: as many as come in time.
func (m *measurement) counted() int {
	if m.s.backlog {
		return m.o.backlog
	}
	return m.o.events
}

// measure puts the load on and returns what came of it.
func (m *measurement) measure(ctx context.Context) (*figures, error) {
	before, err := m.spent(ctx)
	if err != nil {
		return nil, err
	}
	watch := watchMemory(ctx, m.subject.pid())
	gauge := watchCPU(ctx, m.load.pid())
	profiled := m.profile(ctx)
	var posted Posted
	if m.s.backlog {
		err = m.caddy.steer(ctx, "pause")
	}
	if err == nil {
		err = m.load.call(ctx, "Run", None{}, &posted)
	}
	resumed := now()
	if err == nil && m.s.backlog {
		err = m.caddy.steer(ctx, "resume")
	}
	if err == nil {
		err = m.drain(ctx, &posted)
	}
	if err == nil {
		err = pause(ctx, settleTime)
	}
	most, paces := watch.stop(), gauge.stop()
	if profileErr := <-profiled; err == nil {
		err = profileErr
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.s.name, err)
	}
	after, err := m.spent(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.s.name, err)
	}
	f := &figures{
		System: m.s.name, Round: m.round, Profiled: m.profiles(),
		PeakMemory: most.Peak, PeakAnonymous: most.Anonymous, cores: runtime.NumCPU(),
	}
	var seen Counts
	if err := m.sink.call(ctx, "Count", None{}, &seen); err != nil {
		return nil, err
	}
	f.Signed, f.Connections = seen.Signed, seen.Connections
	if m.s.signs() {
		if err := m.sink.call(ctx, "Verify", m.secret, &f.Verified); err != nil {
			f.problem("%v", err)
		}
	}
	var arrivals []int64
	if m.s.delivers() {
		if err := m.sink.call(ctx, "Arrivals", len(posted.Begins)*m.o.fanout, &arrivals); err != nil {
			return nil, err
		}
	}
	if m.caddy != nil {
		f.LoggedError, f.LoggedErrors = m.caddy.stderr.errors()
	}
	w := window{from: posted.Start + int64(m.o.warmup), length: m.o.duration}
	if m.counted() > 0 { // until the last delivery
		w.from = posted.Start
		if m.s.backlog {
			w.from = resumed
		}
		w.length = time.Duration(slices.Max(append(arrivals, w.from)) + 1 - w.from)
	}
	f.count(m, w, &posted, arrivals, &seen)
	f.spend(before, after)
	f.pace(w, paces)
	if m.s.relays > 0 {
		made, err := m.made(ctx)
		if err != nil {
			return nil, err
		}
		f.share(w, &posted, arrivals, m.o.posters, made)
	}
	return f, nil
}

// drain waits until everything that was accepted has come, or it takes too long.
func (m *measurement) drain(ctx context.Context, posted *Posted) error {
	expected := int64(0)
	if m.s.delivers() {
		for _, end := range posted.Ends {
			if end != 0 {
				expected += int64(m.o.fanout)
			}
		}
	}
	patience := drainPatience
	if m.counted() > 0 {
		patience = backlogPatience
	}
	for until := time.Now().Add(patience); ; {
		var seen Counts
		if err := m.sink.call(ctx, "Count", None{}, &seen); err != nil {
			return err
		}
		if seen.Delivered >= expected || time.Now().After(until) {
			return nil // what is missing then is lost, and counted later
		}
		if err := pause(ctx, drainPoll); err != nil {
			return err
		}
	}
}

// profiles reports whether this run is one to take profiles of: each system's first.
func (m *measurement) profiles() bool {
	return m.o.profile != "" && m.caddy != nil && m.round == 1
}

// profile takes profiles in the measured window and tells when it is done.
func (m *measurement) profile(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	if !m.profiles() {
		done <- nil
		return done
	}
	go func() {
		err := pause(ctx, m.o.warmup)
		if err == nil {
			err = m.caddy.takeProfiles(ctx, m.o.profile+"-"+m.s.name, m.o.duration)
		}
		done <- err
	}()
	return done
}

// spent is what was used up to a moment.
type spent struct {
	at                  int64
	subject, sink, load int64 // CPU, nanoseconds
	self                int64
	busy, stolen        time.Duration
	written             int64 // bytes
	server              serverSpent
}

func (m *measurement) spent(ctx context.Context) (u spent, err error) {
	u.at = now()
	for _, p := range []struct {
		pid int
		cpu *int64
	}{
		{m.subject.pid(), &u.subject}, // may be the load
		{m.sink.pid(), &u.sink},
		{m.load.pid(), &u.load},
		{os.Getpid(), &u.self},
	} {
		if *p.cpu, err = cpuTime(p.pid); err != nil {
			return u, err
		}
	}
	if u.written, err = written(m.subject.pid()); err != nil {
		return u, err
	}
	for _, p := range m.further {
		cpu, err := cpuTime(p.pid())
		if err != nil {
			return u, err
		}
		u.subject += cpu
	}
	if m.server != nil {
		if u.server, err = m.server.spent(ctx); err != nil {
			return u, err
		}
	}
	u.busy, u.stolen, err = machineBusy()
	return u, err
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
