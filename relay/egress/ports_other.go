//go:build !linux

package egress

import "errors"

// EphemeralPorts returns how many ports the kernel chooses from. Only Linux tells.
func EphemeralPorts() (int, error) { return 0, errors.ErrUnsupported }
