package egress

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// trial is the making of one connection or request: from the sources that the region
// picks for a host, and if one of them turns out to be gone, from the next ones.
type trial struct {
	dialer *Dialer
	host   string
	// gone are the sources that were not there.
	gone []*Address
}

// next returns where to try from. It is an [*UnavailableError] if that is nowhere.
func (t *trial) next() (sources, error) {
	region, now := t.dialer.Region, time.Now()
	from := region.pick(t.host, now, t.gone)
	if from == (sources{}) {
		return from, region.unavailable("", now)
	}
	return from, nil
}

// again reports whether what failed with err is to be tried from the next sources.
func (t *trial) again(err error) bool {
	moved, ok := errors.AsType[*movedError](err)
	if !ok {
		return false
	}
	// Each source is given up once at most, so that this ends. One whose time is over
	// is not picked any more in any case.
	if slices.Contains(t.gone, moved.source) {
		return false
	}
	t.gone = append(t.gone, moved.source)
	return true
}

// movedError is that a source cannot be used any more: it is not on this machine, or its
// time is over. Nothing has been sent.
type movedError struct{ source *Address }

func (e *movedError) Error() string {
	return fmt.Sprintf("the address %v cannot be used any more", e.source)
}
