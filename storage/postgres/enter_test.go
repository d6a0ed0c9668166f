package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

func one(data string, subscriptions ...string) relay.Batch {
	return relay.Batch{Items: []relay.Item{{
		Event:   &relay.Event{Type: "order.paid", ContentType: "application/json", Data: []byte(data)},
		Targets: storagetest.Targets(subscriptions...),
	}}}
}

func keyed(data, key string, subscriptions ...string) relay.Batch {
	b := one(data, subscriptions...)
	b.Items[0].Key = &relay.Key{Kind: relay.KeyHeader, Text: key, Sum: [32]byte{1}}
	return b
}

func mustAppend(t *testing.T, s *Store, b relay.Batch) relay.Receipt {
	t.Helper()
	receipts, err := s.Append(t.Context(), b, nil)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return receipts[0]
}

func TestSecondRelayIsRefusedByName(t *testing.T) {
	o := options(t)
	o.Owner = "process 1 on alpha"
	first := openWith(t, o)
	second := o
	second.Owner = "process 2 on beta"
	_, err := Open(second)
	inUse, ok := errors.AsType[*InUseError](err)
	if !ok || !strings.HasPrefix(inUse.Owner, o.Owner) || !strings.Contains(err.Error(), "alpha") || !strings.Contains(err.Error(), o.Schema) {
		t.Fatalf("Open: %v", err)
	}
	mustAppend(t, first, one("1", "crm"))
	// Another schema of the same database is another store.
	other := options(t)
	mustAppend(t, openWith(t, other), one("1", "crm"))
	// Given back, the lease is free at once.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, openWith(t, second), one("2", "crm"))
}

func TestDeadRelayIsTakenOver(t *testing.T) {
	o := options(t)
	first := openWith(t, o)
	mustAppend(t, first, one("1", "crm"))
	first.abandon()
	second := openWith(t, o)
	if got := mustAppend(t, second, one("2", "crm")); got.ID == "" {
		t.Fatal("no id")
	}
	if p := second.subs.progress(); len(p) != 1 || p[0].Head != 2 {
		t.Fatalf("Progress: %+v", p)
	}
}

// TestFrozenRelayIsFenced: a relay that slept while another one took over changes nothing
// any more, and says why.
func TestFrozenRelayIsFenced(t *testing.T) {
	o := options(t)
	o.times.renew = time.Hour // asleep: it renews nothing
	o.Owner = "the frozen one"
	frozen := openWith(t, o)
	mustAppend(t, frozen, one("1", "crm"))
	next := o
	next.Owner = "the next one"
	next.times.lease, next.times.renew = o.times.lease, quick.renew
	// The lease ends.
	if _, err := frozen.pool.Load().Exec(t.Context(), "update members set until = clock_timestamp() - interval '1 second'"); err != nil {
		t.Fatal(err)
	}
	second := openWith(t, next)
	mustAppend(t, second, one("2", "crm"))

	calls := 0
	_, err := frozen.Append(t.Context(), one("lost", "crm"), func([]*relay.Event) { calls++ })
	taken, ok := errors.AsType[*TakenOverError](err)
	if !ok || !strings.HasPrefix(taken.Owner, "the next one") || !errors.Is(err, relay.ErrBroken) || calls != 0 {
		t.Fatalf("Append by the frozen relay: %v, stored was called %d times", err, calls)
	}
	if err := frozen.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: 9}}}); !errors.Is(err, relay.ErrBroken) {
		t.Fatalf("Commit by the frozen relay: %v", err)
	}
	if err := frozen.Err(); !errors.Is(err, relay.ErrBroken) {
		t.Fatalf("Err: %v", err)
	}
	mustAppend(t, second, one("3", "crm"))
	entries, err := second.Read(t.Context(), "crm", 0, 10, 1000)
	if err != nil || len(entries) != 3 || string(entries[2].Event.Data) != "3" {
		t.Fatalf("Read: %d entries, %v", len(entries), err)
	}
	// It stays so, even when the other one is gone: its memory is out of date.
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := frozen.Append(t.Context(), one("lost", "crm"), nil); !errors.Is(err, relay.ErrBroken) {
		t.Fatalf("Append: %v", err)
	}
}

// TestSilentRelayIsToldWhoTookOver: where a commit of the relay has ended without an answer, it is
// not the fence that tells it, but the connection that it makes then.
func TestSilentRelayIsToldWhoTookOver(t *testing.T) {
	o := options(t)
	w := newWire(t, postgrestest.Shared(t))
	core, logs := observer.New(zap.ErrorLevel)
	o.Logger, o.DSN = zap.New(core), w.dsn()
	o.times.renew, o.times.commit, o.times.connect = time.Hour, impatience, impatience
	silent := openWith(t, o)
	awaitLook(t, silent) // or it is the answer to this that does not come
	mustAppend(t, silent, one("1", "crm"))
	mustAppend(t, silent, one("2", "crm")) // the server knows all statements by now
	w.stuck.Store(true)
	w.deaf.Store(true)
	answer := make(chan error, 1)
	go func() {
		_, err := silent.Append(context.Background(), one("doubtful", "crm"), nil)
		answer <- err
	}()
	next := options(t)
	next.Schema, next.Owner = o.Schema, "the next one"
	server := postgrestest.Shared(t)
	eventually(t, "the commit without an answer is made", func() bool {
		return server.Query(t, "postgres", "select count(*) from "+o.Schema+".events") == "3"
	})
	server.Query(t, "postgres", "update "+o.Schema+".members set until = clock_timestamp() - interval '1 second'")
	second := openWith(t, next)
	mustAppend(t, second, one("3", "crm"))
	err := <-answer
	if _, taken := errors.AsType[*TakenOverError](err); taken || !errors.Is(err, relay.ErrBroken) || !strings.Contains(err.Error(), "has not answered within 3s") {
		t.Fatalf("Append: %v", err)
	}
	w.deaf.Store(false)
	eventually(t, "it says who has taken over", func() bool {
		taken, ok := errors.AsType[*TakenOverError](silent.Err())
		return ok && strings.HasPrefix(taken.Owner, next.Owner) && errors.Is(silent.Err(), relay.ErrBroken)
	})
	said := logs.Filter(func(e observer.LoggedEntry) bool {
		return strings.Contains(fmt.Sprint(e.ContextMap()["error"]), "taken over this schema: the next one")
	})
	if said.Len() != 1 {
		t.Errorf("the log says it %d times, want once: %v", said.Len(), logs.All())
	}
	if _, err := silent.Append(t.Context(), one("late", "crm"), nil); !strings.Contains(fmt.Sprint(err), "taken over this schema: the next one") {
		t.Errorf("Append: %v", err)
	}
}

// TestFrozenInTheMiddle: a relay that froze while it held the row of the lease does not stop
// the one that takes over.
func TestFrozenInTheMiddle(t *testing.T) {
	o := options(t)
	// It is not the server that ends what it began.
	o.times.renew, o.times.commit, o.times.lease = time.Hour, time.Hour, 500*time.Millisecond
	frozen := openWith(t, o)
	mustAppend(t, frozen, one("1", "crm"))
	held, release := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() { frozen.requests <- &holding{held: held, release: release} })
	<-held
	defer func() { close(release); wait.Wait() }()
	next := o
	next.times = quick
	next.times.commit = impatience // its half is how long it waits for a lock
	second := openWith(t, expired(t, next, frozen))
	mustAppend(t, second, one("2", "crm"))
}

// expired waits until the lease that is held has ended by itself.
func expired(t *testing.T, o Options, held *Store) Options {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var over bool
		if err := held.pool.Load().QueryRow(t.Context(), "select until < clock_timestamp() from members where alone").Scan(&over); err != nil {
			t.Fatal(err)
		}
		if over {
			return o
		}
		if time.Now().After(deadline) {
			t.Fatal("the lease does not end")
		}
	}
}
