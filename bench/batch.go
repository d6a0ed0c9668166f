//go:build linux

package bench

// Bounds of a batch: those of intake are 1,000 events and 2 MiB.
const (
	maxBatch      = 100
	maxBatchBytes = 1 << 20
)

// batchOf returns how many events of the size a request carries where n of them are to be
// there soon: as many as divide n, so that there is no smaller batch at its end.
func batchOf(n, size int) int {
	for batch := min(maxBatch, maxBatchBytes/size); batch > 1; batch-- {
		if n%batch == 0 {
			return batch
		}
	}
	return 1
}
