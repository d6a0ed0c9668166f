//go:build !(linux || darwin || freebsd)

package badger

import "io/fs"

func freeBytes(string) int64 { return -1 }

func sizeOnDisk(info fs.FileInfo) int64 { return info.Size() }

func ownerOf(fs.FileInfo) (uid, gid int, ok bool) { return 0, 0, false }

func checkVolume(string) error { return nil }

func checkWritable(string) error { return nil }
