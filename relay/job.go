package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// JobState is what a job is in.
type JobState string

// States of a job.
const (
	JobRunning   JobState = "running"
	JobDone      JobState = "done"
	JobCancelled JobState = "cancelled"
	JobFailed    JobState = "failed"
)

// Job is a replay of many. It lives in memory: a restart ends it, and what it has reopened
// until then stays reopened.
type Job struct {
	ID           string
	Subscription string
	Select       Selection
	State        JobState
	// Total is the number of deliveries looked at, Done those that were looked at so far,
	// Replayed those of them that were reopened. Total is 0 until all are found.
	Total, Done, Replayed int
	Started, Ended        time.Time
	// Error says why a failed job has failed.
	Error string
}

// keptJobs is how many ended jobs are remembered.
const keptJobs = 100

// ErrNoJob means that there is no such job, or that it ended long ago.
var ErrNoJob = errors.New("no such job; ended ones are kept in memory for a while")

// jobs are those of one engine.
type jobs struct {
	mu  sync.Mutex
	all []*runningJob // in order of their start
}

type runningJob struct {
	Job
	cancel context.CancelFunc
}

// StartReplay begins a replay of many, at the relay that carries the subscription, and returns
// its job.
func (r *Relay) StartReplay(ctx context.Context, q ReplayRequest) (Job, error) {
	if !slices.Contains(Selections, q.Select) {
		return Job{}, &SelectionError{q.Select}
	}
	r.mu.RLock()
	_, known := r.lanes[q.Subscription]
	r.mu.RUnlock()
	if !known && !r.member.carried(q.Subscription) {
		return Job{}, &UnknownNameError{q.Subscription}
	}
	return routed(ctx, r, question{Do: doStart, Subscription: q.Subscription, Replay: &q},
		func() (Job, error) { return r.startReplay(q) }, func(a *reply) Job { return a.Jobs[0] })
}

func (r *Relay) startReplay(q ReplayRequest) (Job, error) {
	if q.Rate <= 0 {
		q.Rate = defaultReplayRate
	}
	within, cancel := context.WithCancel(r.attempts)
	j := &runningJob{cancel: cancel, Job: Job{
		ID: "job_" + strings.ToLower(rand.Text()[:16]), Subscription: q.Subscription, Select: q.Select,
		State: JobRunning, Started: time.Now(),
	}}
	r.jobs.mu.Lock()
	defer r.jobs.mu.Unlock()
	if !r.inBackground(func() {
		defer cancel()
		r.jobs.end(j, r.runReplay(within, j, &q))
	}) {
		cancel()
		return Job{}, ErrClosed
	}
	r.jobs.all = append(r.jobs.all, j)
	r.jobs.forget()
	return j.Job, nil
}

// runReplay does the work of a job.
func (r *Relay) runReplay(ctx context.Context, j *runningJob, q *ReplayRequest) error {
	entries, err := r.selected(ctx, q)
	if err != nil {
		return err
	}
	r.jobs.update(j, func() { j.Total = len(entries) })
	limiter := rate.NewLimiter(rate.Limit(q.Rate), 1)
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		did, err := r.apply(ctx, q, entry)
		if err != nil {
			return err
		}
		r.jobs.update(j, func() {
			j.Done++
			if did {
				j.Replayed++
			}
		})
		if did {
			if err := limiter.Wait(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Job returns a job by its ID, or [ErrNoJob].
func (r *Relay) Job(ctx context.Context, id string) (Job, error) {
	return r.jobAnywhere(ctx, question{Do: doJob, Job: id}, r.jobs.job)
}

// CancelJob ends a job; what it has reopened stays so. It does nothing to one that ended.
func (r *Relay) CancelJob(ctx context.Context, id string) (Job, error) {
	return r.jobAnywhere(ctx, question{Do: doCancel, Job: id}, r.jobs.cancel)
}

// jobAnywhere does something with a job at the relay that runs it.
func (r *Relay) jobAnywhere(ctx context.Context, q question, here func(id string) (Job, error)) (Job, error) {
	j, err := here(q.Job)
	if err == nil || r.member == nil {
		return j, err
	}
	replies, _ := r.member.askOthers(ctx, q)
	for _, a := range replies {
		return a.Jobs[0], nil // others answer with an error, and are left out
	}
	return Job{}, err
}

// Jobs returns the jobs that are remembered, the newest first.
func (r *Relay) Jobs(ctx context.Context) []Job {
	all := r.jobs.list()
	if r.member == nil {
		return all
	}
	replies, _ := r.member.askOthers(ctx, question{Do: doJobs})
	for _, a := range replies {
		all = append(all, a.Jobs...)
	}
	slices.SortStableFunc(all, func(a, b Job) int { return b.Started.Compare(a.Started) })
	return all
}

// job returns a job by its ID.
func (s *jobs) job(id string) (Job, error) {
	j := s.find(id)
	if j == nil {
		return Job{}, ErrNoJob
	}
	return s.snapshot(j), nil
}

// cancel ends a job.
func (s *jobs) cancel(id string) (Job, error) {
	j := s.find(id)
	if j == nil {
		return Job{}, ErrNoJob
	}
	j.cancel()
	s.end(j, context.Canceled)
	return s.snapshot(j), nil
}

// list returns all, the newest first.
func (s *jobs) list() []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Job, 0, len(s.all))
	for _, j := range slices.Backward(s.all) {
		all = append(all, j.Job)
	}
	return all
}

func (s *jobs) find(id string) *runningJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.all {
		if j.ID == id {
			return j
		}
	}
	return nil
}

func (s *jobs) snapshot(j *runningJob) Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	return j.Job
}

func (s *jobs) update(j *runningJob, change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// end notes how a job ended; the first word counts.
func (s *jobs) end(j *runningJob, err error) {
	s.update(j, func() {
		if j.State != JobRunning {
			return
		}
		j.Ended = time.Now()
		switch {
		case err == nil:
			j.State = JobDone
		case errors.Is(err, context.Canceled):
			j.State = JobCancelled
		default:
			j.State, j.Error = JobFailed, err.Error()
		}
	})
}

// forget drops the oldest jobs that have ended. The caller holds the lock.
func (s *jobs) forget() {
	for i := 0; i < len(s.all) && len(s.all) > keptJobs; {
		if s.all[i].State == JobRunning {
			i++
			continue
		}
		s.all = slices.Delete(s.all, i, i+1)
	}
}
