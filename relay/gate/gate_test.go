package gate

import (
	"testing"
	"testing/synctest"
)

func TestCloseWaitsForThoseInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		for range 2 {
			if !g.Enter() || g.IsShut() {
				t.Fatal("the zero value is not open")
			}
		}
		closed := make(chan bool, 1)
		go func() { closed <- g.Close() }()
		synctest.Wait()
		if g.Enter() || !g.IsShut() {
			t.Error("somebody is let in while it closes")
		}
		g.Leave()
		synctest.Wait()
		if len(closed) > 0 {
			t.Error("it did not wait for the last")
		}
		g.Leave()
		if !<-closed {
			t.Error("it was open before")
		}
		if g.Close() {
			t.Error("it is closed twice")
		}
		empty, first := g.Shut()
		<-empty
		if first {
			t.Error("it was shut before")
		}
	})
}

func TestShutDoesNotWait(t *testing.T) {
	var g Gate
	g.Enter()
	empty, first := g.Shut()
	select {
	case <-empty:
		t.Error("somebody is inside")
	default:
	}
	again, second := g.Shut()
	if !first || second || again != empty {
		t.Error("the second is another")
	}
	g.Leave()
	<-empty
	var unused Gate
	if empty, _ = unused.Shut(); empty == nil {
		t.Fatal("no channel")
	}
	<-empty
}
