package postgrestest

import "syscall"

// dieWithParent leaves no server behind where tests panic or are killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
