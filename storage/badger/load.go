package badger

// load is what a transaction weighs in Badger's accounts.
type load struct{ count, size int64 }

func (l load) plus(m load) load     { return load{l.count + m.count, l.size + m.size} }
func (l load) fits(limit load) bool { return l.count <= limit.count && l.size <= limit.size }

// record returns the load of one record, whose key and value have together at most
// size bytes. Badger adds a version to the key and marks to the value.
func record(size int) load { return load{1, int64(size) + 20} }

// records returns the load of n records of at most size bytes each.
func records(n, size int) load { return load{int64(n), int64(n) * (int64(size) + 20)} }

// largestBatch is the most that a batch may bring.
var largestBatch = load{count: 24_000, size: 9 << 18}

// admit says whether l may be written: events, or what else there is to note.
func (c *committer) admit(l load, events bool) error {
	size := l.size
	if !l.fits(c.txnLimit) { // it is written twice
		size *= 2
	}
	return c.s.space.admit(size, events)
}
