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
func measure(ctx context.Context, o options, progress func(format string, args ...any)) (*report, error) {
	reports, err := measureEach(ctx, []options{o}, progress)
	if err != nil {
		return nil, err
	}
	return reports[0], nil
}

// measureEach does so for several options. Each round has all of them, so that a machine
// which is slower for a while is so for all.
func measureEach(ctx context.Context, all []options, progress func(format string, args ...any)) (_ []*report, err error) {
	workdir, err := makeWorkdir(all[0].dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(workdir)) }()

	machine, err := machineFacts(&all[0], workdir)
	if err != nil {
		return nil, err
	}
	if machine.warning() != "" {
		progress("warning: %s", machine.warning())
	}
	reports := make([]*report, len(all))
	for i := range all {
		reports[i] = &report{Machine: machine, Options: all[i].facts()}
	}
	for round := 1; round <= all[0].rounds; round++ {
		for i := range all {
			if err := reports[i].round(ctx, &all[i], round, workdir, progress); err != nil {
				return nil, err
			}
		}
	}
	for i, r := range reports {
		r.summarize(&all[i])
	}
	return reports, nil
}

// round measures every system once.
func (r *report) round(ctx context.Context, o *options, round int, workdir string, progress func(format string, args ...any)) error {
	order := slices.Clone(o.systems)
	if round%2 == 0 {
		// A machine that becomes slower in the course of a round shall not favour
		// whoever is first.
		slices.Reverse(order)
	}
	for _, s := range order {
		f, err := run(ctx, o, s, round, workdir)
		if err != nil {
			return err
		}
		progress("round %d of %d: %s%-14s %8.0f delivered/s %8.1f µs CPU/event", round, o.rounds, o.label, s.name, f.Delivered, f.CPU)
		r.Runs = append(r.Runs, f)
		r.Problems = append(r.Problems, f.Problems...)
	}
	return nil
}
