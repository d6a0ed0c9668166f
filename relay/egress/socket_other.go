//go:build !linux

package egress

import "syscall"

func prepareBound(syscall.RawConn) error { return nil }
