package intake

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlineCountsFromWhenSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newDeadline(t.Context(), time.Second)
		defer p.end()
		time.Sleep(time.Hour)
		if err := p.Err(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if at, ok := p.Deadline(); !ok || at.Sub(began) != time.Second {
			t.Errorf("the deadline is at %v", at)
		}
		<-p.Done()
		if waited := time.Since(began); waited != time.Second || !errors.Is(p.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(p), context.DeadlineExceeded) {
			t.Errorf("ended after %v: %v", waited, p.Err())
		}
	})
}

func TestDeadlineEndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, waited := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			p := newDeadline(ctx, time.Hour)
			if waited {
				p.Done()
			}
			cancel()
			<-p.Done()
			if !errors.Is(p.Err(), context.Canceled) {
				t.Error(p.Err())
			}
			p.end()
		}
		newDeadline(t.Context(), time.Hour).end() // nobody waited
	})
}
