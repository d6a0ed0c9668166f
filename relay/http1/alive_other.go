//go:build !unix

package http1

import (
	"net"
	"syscall"
)

func rawOf(net.Conn) syscall.RawConn { return nil }

// alive leaves it to the request to find out.
func (c *conn) alive() bool { return true }
