package relay

import (
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/expression"
	"github.com/caddyrelay/caddyrelay/relay/payload"
	"github.com/caddyrelay/caddyrelay/relay/topic"
)

// eventView is an event as filters and expressions see it. Its data is taken apart once
// for all of them, and only if one of them asks.
type eventView struct {
	expression.Event
	source *Event
	opened bool
}

// viewOf returns a view, which is to be closed. An event that is on its way into the
// store counts as accepted now.
func viewOf(e *Event) *eventView {
	v := &eventView{source: e, Event: expression.Event{ID: e.ID, Type: e.Type, Source: e.Source, Subject: e.Subject, Time: e.When()}}
	if v.Time.IsZero() {
		v.Time = time.Now().Truncate(time.Millisecond)
	}
	return v
}

// data returns nil if the event's data is no JSON.
func (v *eventView) data() *payload.Document {
	if !v.opened {
		v.opened = true
		if payload.IsJSON(v.source.ContentType) && len(v.source.Data) > 0 {
			v.Data = payload.OpenDocument(v.source.Data)
		}
	}
	return v.Data
}

func (v *eventView) close() {
	if v.Data != nil {
		v.Data.Close()
		v.Data = nil
	}
}

// selective reports whether the subscription looks at more than the type.
func (s *Subscription) selective() bool { return len(s.Filters) > 0 || s.Expression != nil }

// asksForID reports whether the subscription can only be matched once the event has an ID.
func (s *Subscription) asksForID() bool { return s.Expression != nil && s.Expression.Uses("id") }

// match returns the subscriptions that want an event, in the order of the
// configuration. Those whose expression asks for the ID are among them if an event that
// has none yet meets all else; see [Plan.confirm]. The result may share memory with dst.
func (p *Plan) match(e *Event, dst []*Subscription) []*Subscription {
	dst = p.index.Match(e.Type, dst)
	if e.Only != nil {
		dst = slices.DeleteFunc(dst, func(s *Subscription) bool { return !slices.Contains(e.Only, s.Name) })
	}
	if !p.selective || !slices.ContainsFunc(dst, (*Subscription).selective) {
		return dst
	}
	v := viewOf(e)
	defer v.close()
	return slices.DeleteFunc(dst, func(s *Subscription) bool { return !p.selects(s, v) })
}

// meets reports whether an event that is stored meets a subscription's filters and its
// expression.
func (p *Plan) meets(s *Subscription, e *Event) bool {
	v := viewOf(e)
	defer v.close()
	return p.selects(s, v)
}

// addressed reports whether an event is meant for a subscription as far as its type and
// its sender say.
func (s *Subscription) addressed(e *Event) bool {
	return (e.Only == nil || slices.Contains(e.Only, s.Name)) &&
		slices.ContainsFunc(s.Topics, func(p topic.Pattern) bool { return p.Match(e.Type) })
}

// selects reports whether an event meets the filters and the expression. It never panics:
// an event on which one of them does is not for this subscription, and for the others as
// ever. To deliver it all the same would show it to somebody who may not see it.
func (p *Plan) selects(s *Subscription, v *eventView) (selected bool) {
	defer func() {
		if thrown := recover(); thrown != nil {
			selected = false
			p.logger.Error("matching an event panicked; the subscription does not get it",
				zap.String("subscription", s.Name), zap.String("type", v.Type), zap.Any("panic", thrown), zap.Stack("stack"))
		}
	}()
	for _, f := range s.Filters {
		if !f.Match(v.data()) {
			return false
		}
	}
	if s.Expression == nil || v.ID == "" && s.asksForID() {
		return true
	}
	ok, err := v.evaluate(s.Expression)
	if err != nil {
		p.tell(s, v, err)
	}
	return ok
}

// evaluate opens the data where the expression asks for it.
func (v *eventView) evaluate(x *expression.Expression) (bool, error) {
	if x.Uses("data") {
		v.data()
	}
	return x.Match(&v.Event)
}

// tell notes an expression that has no answer: often the data is not meant for it, so that
// only one that was given up is a warning.
func (p *Plan) tell(s *Subscription, v *eventView, err error) {
	log := p.logger.Debug
	if errors.Is(err, expression.ErrCost) {
		log = p.logger.Warn
	}
	log("an expression has no answer for an event; the subscription does not get it",
		zap.String("subscription", s.Name), zap.String("type", v.Type), zap.Error(err))
}

// confirm returns what is asked about an event's targets once it has an ID, or nil if
// nothing is.
func (p *Plan) confirm(e *Event, matched []*Subscription) func(string, time.Time, Target) bool {
	if !slices.ContainsFunc(matched, (*Subscription).asksForID) {
		return nil
	}
	return func(id string, accepted time.Time, t Target) bool {
		s := p.byName[t.Subscription]
		if !s.asksForID() {
			return true
		}
		v := viewOf(e)
		defer v.close()
		v.ID = id
		if e.Time.IsZero() {
			v.Time = accepted
		}
		return p.selects(s, v)
	}
}
