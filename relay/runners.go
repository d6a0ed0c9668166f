package relay

// maxIdleRunners bounds how many goroutines wait for deliveries: a burst of 64 events to some
// subscriptions finds enough. Each keeps some KiB.
const maxIdleRunners = 256

// runners carry deliveries. One that has nothing more to do waits for the next: its stack
// has grown to what an attempt needs, and a new goroutine's would have to be copied anew.
type runners struct {
	// tasks has no room: a task goes to one who waits for it, or to a new one.
	tasks chan task
	// places has one element for each that waits.
	places chan struct{}
	stop   <-chan struct{}
}

// task is a delivery to be attempted.
type task struct {
	lane *lane
	job  *job
}

func newRunners(stop <-chan struct{}) *runners {
	return &runners{tasks: make(chan task), places: make(chan struct{}, maxIdleRunners), stop: stop}
}

// start does not wait.
func (r *runners) start(t task) {
	select {
	case r.tasks <- t:
	default:
		go r.run(t)
	}
}

func (r *runners) run(t task) {
	for {
		t.lane.run(t.job)
		select {
		case r.places <- struct{}{}:
		default:
			return
		}
		select {
		case t = <-r.tasks:
			<-r.places
		case <-r.stop:
			return
		}
	}
}
