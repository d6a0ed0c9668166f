//go:build !linux

package egress

import "context"

// addressEvents returns nil: addresses are looked at every two seconds.
func addressEvents(context.Context) <-chan struct{} { return nil }
