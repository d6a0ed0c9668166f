//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: it reads CPU, memory and disk figures from /proc and so runs on Linux only")
	os.Exit(2)
}
