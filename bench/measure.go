//go:build linux

package bench

import (
	"context"
	"errors"
	"os"
	"slices"
)

// measure runs all systems in all rounds. What went wrong with events is in the report;
// the error is about what kept it from measuring.
func measure(ctx context.Context, o options, progress func(format string, args ...any)) (_ *report, err error) {
	workdir, err := makeWorkdir(o.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(workdir)) }()

	r := &report{Options: o.facts()}
	if r.Machine, err = machineFacts(&o, workdir); err != nil {
		return nil, err
	}
	if r.Machine.warning() != "" {
		progress("warning: %s", r.Machine.warning())
	}
	for round := 1; round <= o.rounds; round++ {
		order := slices.Clone(o.systems)
		if round%2 == 0 {
			// A machine that becomes slower in the course of a round shall not favour
			// whoever is first.
			slices.Reverse(order)
		}
		for _, s := range order {
			f, err := run(ctx, &o, s, round, workdir)
			if err != nil {
				return nil, err
			}
			progress("round %d of %d: %-14s %8.0f delivered/s %8.1f µs CPU/event", round, o.rounds, s.name, f.Delivered, f.CPU)
			r.Runs = append(r.Runs, f)
			r.Problems = append(r.Problems, f.Problems...)
		}
	}
	r.summarize(&o)
	return r, nil
}
