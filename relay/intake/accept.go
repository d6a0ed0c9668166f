package intake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Bounds of waiting, so that a sender hears within ten seconds where it stands.
const (
	readyWait  = 3 * time.Second // for the engine to be there
	engineWait = 6 * time.Second // for what it is asked
)

// Accept takes one POST and answers it, without asking who sends: for callers that
// have their own guard. typ is the event type; if it is empty, the body or a locator
// names it.
func (h *Handler) Accept(w http.ResponseWriter, r *http.Request, typ string) {
	began := time.Now()
	s, parse, ref := h.begin(r, typ)
	if ref == nil {
		var receipts []relay.Receipt
		if receipts, ref = h.publish(w, r, s, parse); ref == nil {
			s.answer(w, receipts)
			h.observer.Took(time.Since(began))
			return
		}
	}
	h.refuse(w, r, ref)
}

// publish returns once the events are durable. The engine is asked first: while it
// cannot take events, no body is read.
func (h *Handler) publish(w http.ResponseWriter, r *http.Request, s *submission, parse format) ([]relay.Receipt, *refusal) {
	s.forEngine.Context, s.forEngine.wait = r.Context(), readyWait
	engine, ref := h.ready(&s.forEngine)
	if ref != nil {
		return nil, ref
	}
	held := hold{budget: h.budget, remote: r.RemoteAddr}
	defer held.release()
	if s.body, ref = h.readBody(w, r, s, &held); ref != nil {
		return nil, ref
	}
	if s.copies {
		if ref = h.take(&held, int64(len(s.body))); ref != nil {
			return nil, ref
		}
	}
	events, ref := parse(h, s)
	if ref != nil || len(events) == 0 {
		return nil, ref
	}
	s.forStore.Context, s.forStore.wait = r.Context(), engineWait
	defer s.forStore.end()
	receipts, err := engine.Publish(&s.forStore, events, s.whole)
	if err == nil && len(receipts) != len(events) {
		err = fmt.Errorf("%d receipts for %d events", len(receipts), len(events))
	}
	if err != nil {
		return nil, s.locate(publishRefusal(err), err)
	}
	return receipts, nil
}

// locate adds to a refusal which item of a batch it is about.
func (s *submission) locate(ref *refusal, err error) *refusal {
	var reused *relay.KeyReusedError
	if !s.batch || !errors.As(err, &reused) || reused.Item < 0 {
		return ref
	}
	where := fault{Pointer: pointerTo(reused.Item), Detail: "its key came before with another event, or stands with another one in this batch"}
	if s.lines != nil {
		where.Line = s.lines[reused.Item]
	}
	ref.detail = "An event of the batch has an id that came before with another type, source, content type, Relay-Subscriptions or body. Nothing of the batch was stored; use a new id for a new event."
	ref.faults = []fault{where}
	return ref
}

// ready returns the engine if it takes events.
func (h *Handler) ready(limited *deadline) (Engine, *refusal) {
	engine, ref := h.await(limited)
	if ref != nil {
		return nil, ref
	}
	if err := engine.Err(); err != nil {
		return nil, publishRefusal(err)
	}
	return engine, nil
}

// open returns the engine, waiting for it: while a configuration is loaded, requests
// arrive a moment before it is ready.
func (h *Handler) open(ctx context.Context) (Engine, *refusal) {
	return h.await(newDeadline(ctx, readyWait))
}

func (h *Handler) await(limited *deadline) (Engine, *refusal) {
	defer limited.end()
	engine, err := h.engine(limited)
	if err != nil {
		return nil, unavailable(problemNotReady, err)
	}
	return engine, nil
}

// publishRefusal is what the sender is told of an error of the engine. The text of the
// error goes to the log: it may have paths and addresses of this machine.
func publishRefusal(err error) *refusal {
	var batch *relay.BatchTooLargeError
	var unknown *relay.UnknownSubscriptionError
	switch {
	case errors.Is(err, relay.ErrKeyReused):
		return refuse(problemKeyReused, "The idempotency key came before with another type, source, content type, Relay-Subscriptions or body. Nothing was stored; use a new key for a new event.")
	case errors.As(err, &unknown):
		return &refusal{
			kind:   problemNarrowing,
			detail: fmt.Sprintf("There is no subscription named %q in the configuration; nothing was stored.", unknown.Name),
			faults: []fault{{Header: "Relay-Subscriptions", Detail: fmt.Sprintf("%q is not a subscription", unknown.Name)}},
		}
	case errors.As(err, &batch):
		detail := fmt.Sprintf("The events and their deliveries do not fit into one storage transaction; the first %d would. Nothing was stored; send them in smaller batches.", batch.Fits)
		if batch.Fits == 0 {
			detail = "The first event and its deliveries are larger than one storage transaction. Nothing was stored; send a reference to large content."
		}
		return &refusal{kind: problemBatchTooLarge, detail: detail, fits: &batch.Fits}
	case errors.Is(err, relay.ErrFull):
		return unavailable(problemFull, err)
	case errors.Is(err, relay.ErrBroken):
		return unavailable(problemBroken, err)
	case errors.Is(err, relay.ErrClosed), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable(problemNotReady, err)
	}
	return &refusal{
		kind:   problemInternal,
		detail: "The relay failed in an unexpected way; its log says how. Send again with the same Idempotency-Key.",
		cause:  err,
	}
}

// unavailable is a 503 with the time after which to come again.
func unavailable(p problem, cause error) *refusal {
	advice := "The relay is starting or stopping, or its store does not answer; nothing was stored. Send again in a moment, with the same Idempotency-Key."
	after := "5"
	if p == problemFull {
		advice = "The relay has no room for more events; nothing was stored. Send again later, with the same Idempotency-Key."
		after = "30" // room comes from retention or an operator, not within seconds
	}
	if p == problemBroken {
		advice = "The relay cannot keep events safe at present; nothing is accepted. Send again later, with the same Idempotency-Key."
		after = "10"
	}
	return (&refusal{kind: p, detail: advice, cause: cause}).with("Retry-After", after)
}
