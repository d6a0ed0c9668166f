package egress

import (
	"fmt"
	"os"
)

// EphemeralPorts returns how many ports the kernel chooses from: as many connections can
// one address have to one address and port of a destination.
func EphemeralPorts() (int, error) {
	const file = "/proc/sys/net/ipv4/ip_local_port_range" // for both families
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var first, last int
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		return 0, fmt.Errorf("reading %s: %w", file, err)
	}
	return last - first + 1, nil
}
