package relay

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestSubmitEndsWithItsContextOnlyWhileItWaitsForTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue, answer := make(chan int), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		submit := func() { result <- Submit(ctx, queue, 1, answer) }

		go submit()
		synctest.Wait()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("nobody took it: %v", err)
		}
		go submit()
		if !errors.Is(<-result, context.Canceled) {
			t.Error("a context that has ended hands nothing over")
		}

		ctx, cancel = context.WithCancel(t.Context())
		go submit()
		<-queue
		cancel()
		synctest.Wait()
		if len(result) > 0 {
			t.Fatal("what was handed over is answered by the writer, and by nobody else")
		}
		answer <- ErrFull
		if err := <-result; !errors.Is(err, ErrFull) {
			t.Errorf("the writer's answer became %v", err)
		}
	})
}
