package relay

// SetRetriesInMemory lowers the bound on retries in memory for a test; it applies to
// lanes made from then on.
func SetRetriesInMemory(n int) (restore func()) {
	old := retriesInMemory
	retriesInMemory = n
	return func() { retriesInMemory = old }
}

// Trim runs one round of retention.
var Trim = (*Relay).trim
