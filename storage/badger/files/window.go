package files

import (
	"bytes"
	"os"
)

// window is the part of a file that was read last.
type window struct {
	file *os.File
	size int64
	buf  []byte
	at   int64
}

// windowSize is how much is read at once, in bytes.
const windowSize = 1 << 20

var zeros [4096]byte

// bytes returns n bytes from an offset on, or fewer where the file ends or the disk does
// not give them. They are good until the next call.
func (w *window) bytes(offset int64, n int) []byte {
	n = int(min(int64(n), max(w.size-offset, 0)))
	if offset >= w.at && offset+int64(n) <= w.at+int64(len(w.buf)) {
		return w.buf[offset-w.at:][:n]
	}
	if cap(w.buf) < n {
		w.buf = make([]byte, max(n, windowSize))
	}
	read, err := w.file.ReadAt(w.buf[:cap(w.buf)], offset)
	if read < n && err != nil { // maybe only what stands further behind cannot be read
		read, _ = w.file.ReadAt(w.buf[:n], offset)
	}
	w.buf, w.at = w.buf[:read], offset
	return w.buf[:min(n, read)]
}

// skipZeros returns the offset of the first byte from an offset on that is not zero, or
// cannot be read; the size of the file if there is none.
func (w *window) skipZeros(offset int64) int64 {
	for offset < w.size {
		if offset < w.at || offset >= w.at+int64(len(w.buf)) {
			if len(w.bytes(offset, windowSize)) == 0 {
				return offset
			}
		}
		part := w.buf[offset-w.at:]
		part = part[:min(len(part), len(zeros))]
		if bytes.Equal(part, zeros[:len(part)]) {
			offset += int64(len(part))
			continue
		}
		return offset + int64(len(part)-len(bytes.TrimLeft(part, "\x00")))
	}
	return w.size
}
