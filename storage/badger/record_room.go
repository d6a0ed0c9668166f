package badger

// recordRoom is where the events of a group are written, one behind the other. When a commit
// returns, Badger has copied them into its log and its memtable, and the next group writes
// over them.
type recordRoom struct{ taken []byte }

// recordRoomLen is enough for most groups, and recordRoomMost what is kept for the next.
const (
	recordRoomLen  = 64 << 10
	recordRoomMost = 512 << 10
)

// begin returns a record like newRecord. The next one is begun when it has ended.
func (r *recordRoom) begin(n int) []byte {
	if n += frameLen; n > cap(r.taken)-len(r.taken) {
		// What the group has written stays where it is.
		r.taken = make([]byte, 0, max(n, recordRoomLen, min(2*cap(r.taken), recordRoomMost)))
	}
	at := len(r.taken)
	return append(r.taken[at:at:at+n], recordVersion)
}

// end takes the room of a record, as far as it has not outgrown it.
func (r *recordRoom) end(rec []byte) {
	r.taken = r.taken[:min(len(r.taken)+len(rec), cap(r.taken))]
}

// reuse is called when nobody needs the records any more.
func (r *recordRoom) reuse() {
	if r.taken = r.taken[:0]; cap(r.taken) > recordRoomMost {
		r.taken = nil
	}
}
