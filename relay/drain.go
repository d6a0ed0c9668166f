package relay

import "context"

// enter asks to begin an attempt; leave must follow if it is granted.
func (r *Relay) enter() bool { return !r.stalled.Load() && !r.member.lapsed() && r.gate.Enter() }

func (r *Relay) leave() { r.gate.Leave() }

// paused reports whether no attempts may begin at all.
func (r *Relay) paused() bool { return r.stalled.Load() || r.member.lapsed() || r.gate.IsShut() }

// setStalled stops attempts while their results cannot be stored, or lets them go on.
func (r *Relay) setStalled(stalled bool) {
	if r.stalled.Swap(stalled) && !stalled {
		r.wakeAll()
	}
}

// Drain stops making attempts and waits for those in flight. When ctx ends it cuts
// them: a cut attempt is made again later and is not counted as failed. Events go on
// being accepted until Close; they are delivered after the next start.
func (r *Relay) Drain(ctx context.Context) {
	r.member.leave()
	ended, _ := r.gate.Shut()
	select {
	case <-ended:
	case <-ctx.Done():
		r.cut(errDraining)
		<-ended
	}
}
