package http2

import (
	"context"
	"time"
)

// ring is called when time has passed: for requests, for a ping, for the whole connection.
func (c *conn) ring() {
	c.mu.Lock()
	now, heard := time.Now(), c.lastHeard()
	var err error
	doubt := false
	for _, st := range c.streams {
		switch {
		case !st.waits() || now.Before(st.deadline):
			continue
		case c.writer == st:
			err = errStuck
		case c.silent(st.began):
			// It may have been dead for long: firewalls forget connections and tell nobody. What
			// is under way here waits for the answer to a ping, and what comes takes another one.
			c.closing, doubt = true, true
		}
		st.end(context.DeadlineExceeded)
	}
	ping := false
	switch t := c.transport; {
	case len(c.streams)+c.reserved == 0 && now.Sub(c.idle) >= t.idleTimeout():
		err = errRetired
	case !heard.Before(c.pinged): // or there was none
		c.pinged = time.Time{}
		if ping = doubt || now.Sub(heard) >= t.pingAfter(); ping {
			c.pinged = now
		}
	case now.Sub(c.pinged) >= t.pingTimeout():
		err = errSilent
	}
	switch {
	case err != nil:
		c.closing = true // from now on
	case c.err == nil:
		c.schedule(now)
	}
	c.mu.Unlock()
	switch {
	case err != nil:
		c.fail(err)
	case ping:
		_ = c.write(func() error { return c.framer.WritePing(false, [8]byte{}) })
	}
}

// schedule sets the alarm. The lock is held.
func (c *conn) schedule(now time.Time) {
	t := c.transport
	next := c.lastHeard().Add(t.pingAfter())
	if !c.pinged.IsZero() {
		next = c.pinged.Add(t.pingTimeout())
	}
	if len(c.streams)+c.reserved == 0 {
		next = earlier(next, c.idle.Add(t.idleTimeout()))
	}
	for _, st := range c.streams {
		if st.waits() {
			next = earlier(next, st.deadline)
		}
	}
	c.rings = next
	c.alarm.Reset(next.Sub(now))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
