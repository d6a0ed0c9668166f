package badger

import (
	"context"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Commit implements [relay.Store]. Each update is in one group with others or alone.
func (s *Store) Commit(ctx context.Context, updates []relay.Update) error {
	return s.submit(ctx, &commitRequest{updates, make(chan error, 1)})
}

// commitRequest is a list of updates on its way.
type commitRequest struct {
	updates []relay.Update
	done    chan error
}

// plan implements request.
func (r *commitRequest) plan(c *committer) error {
	for i := range r.updates {
		if err := c.update(&r.updates[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *commitRequest) settle(error) {}

func (r *commitRequest) answer() chan error { return r.done }

// update puts one update into the group, or into a group of its own.
func (c *committer) update(u *relay.Update) error {
	name := u.Progress.Subscription
	// A drop may remove four records, a put replaces one and may remove two.
	need := c.nameLoad(name).plus(record(progressSize(&u.Progress))).plus(records(4*len(u.Drop), exceptKeyLen))
	for i := range u.Put {
		need = need.plus(record(exceptSize(&u.Put[i]))).plus(records(2, exceptKeyLen))
	}
	for i := range u.Attempts {
		need = need.plus(attemptLoad(&u.Attempts[i].Attempt))
	}
	if err := c.admit(need, false); err != nil {
		return err
	}
	if err := c.room(need); err != nil {
		return err
	}
	s := c.sub(name)
	for i := range u.Attempts {
		c.addAttempt(s, &u.Attempts[i])
	}
	c.advance(s, u)
	return nil
}

// attemptLoad is what an attempt takes, with the removal of the one it pushes out.
func attemptLoad(a *relay.Attempt) load {
	return record(attemptSize(a)).plus(record(attemptKeyLen))
}

func (c *committer) addAttempt(s *sub, a *relay.AttemptRecord) {
	if canBundle(a) {
		s.tried = append(s.tried, a)
		c.touch(s)
		return
	}
	key := attemptKey(a.Seq, s.id, a.Number)
	rec := encodeAttempt(key, &a.Attempt)
	c.put(key, rec)
	if old := relay.Forgotten(a.Number); old == 0 {
		c.grow(len(key) + len(rec))
	} else { // for one of about the same size
		c.remove(attemptKey(a.Seq, s.id, old))
	}
}

// advance applies an update's exceptions and progress.
func (c *committer) advance(s *sub, u *relay.Update) {
	// Drop comes first, so that an update can move a replay and at the same time say
	// what became of the delivery at its old beginning.
	for _, from := range u.Drop {
		c.remove(exceptKey(classOpen, s.id, from))
		c.remove(exceptKey(classClosed, s.id, from))
		c.removeSpan(s, classReplay, from)
		c.removeSpan(s, classSpan, from)
	}
	for i := range u.Put {
		c.putException(s, &u.Put[i])
	}
	head := s.next.progress.Head
	s.next.progress = u.Progress
	s.next.progress.Head = head
	s.next.progress.Done = slices.Clone(u.Progress.Done)
	c.touch(s)
	s.dirty = true
}

// putException writes an exception and removes what was at its place. The record to
// be removed is not looked for: to find that it is not there costs more than a mark.
func (c *committer) putException(s *sub, e *relay.Exception) {
	c.changes++
	s.lastPut = c.changes
	kind := classOf(e)
	key := exceptKey(kind, s.id, e.From)
	c.put(key, encodeException(key, e))
	switch kind {
	case classReplay:
		s.next.spans = withSpan(s.next.spans, *e)
	case classSpan:
		s.next.spans = withSpan(s.next.spans, *e)
		c.remove(exceptKey(classOpen, s.id, e.From))
		c.remove(exceptKey(classClosed, s.id, e.From))
	case classOpen:
		if s.lowestPut == 0 || e.From < s.lowestPut {
			s.lowestPut = e.From
		}
		c.remove(exceptKey(classClosed, s.id, e.From))
		c.removeSpan(s, classSpan, e.From)
	case classClosed:
		c.remove(exceptKey(classOpen, s.id, e.From))
		c.removeSpan(s, classSpan, e.From)
	}
	c.touch(s)
}

// removeSpan removes a span if there is one of that From.
func (c *committer) removeSpan(s *sub, kind class, from uint64) {
	spans, found := withoutSpan(s.next.spans, from, kind)
	if !found {
		return
	}
	s.next.spans = spans
	c.remove(exceptKey(kind, s.id, from))
	c.touch(s)
}
