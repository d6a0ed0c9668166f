package console

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// recover starts a replay of many, and goes to its job.
func (v *visit) recover() error {
	p := recoverPage{Select: v.form("select"), Since: v.form("since"), Until: v.form("until")}
	q := relay.ReplayRequest{Subscription: v.param("name"), Select: relay.Selection(p.Select)}
	now := time.Now()
	var err error
	if q.Since, err = parseInstant("Since", p.Since, now); err == nil {
		q.Until, err = parseInstant("Until", p.Until, now)
	}
	if err != nil {
		p.Error = err.Error()
		return v.recoverForm(&p)
	}
	job, err := v.engine.StartReplay(v.context(), q)
	if errors.As(err, new(*relay.SelectionError)) {
		return &pageError{http.StatusBadRequest, sentence(err.Error())}
	}
	if err != nil {
		return err
	}
	return v.goOn(jobPath(job.ID))
}

func jobPath(id string) string { return "jobs/" + url.PathEscape(id) }

func (v *visit) jobs() error {
	return v.show("jobs", "Jobs", v.engine.Jobs(v.context()))
}

// jobPage is a replay of many.
type jobPage struct{ relay.Job }

// Running reports whether there is more to come.
func (p *jobPage) Running() bool { return p.State == relay.JobRunning }

func (v *visit) job() error {
	job, err := v.engine.Job(v.context(), v.param("id"))
	if err != nil {
		return err
	}
	return v.show("job", "Replay to "+job.Subscription, &jobPage{job})
}

func (v *visit) cancelJob() error {
	if _, err := v.engine.CancelJob(v.context(), v.param("id")); err != nil {
		return err
	}
	return v.goOn(jobPath(v.param("id")) + "?done=cancelled")
}
