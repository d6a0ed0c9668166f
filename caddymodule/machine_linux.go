package caddymodule

import (
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// filesystems are names of magic numbers, as statfs(2) gives them.
var filesystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	0x2fc12fc1:                 "zfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.RAMFS_MAGIC:           "ramfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.FUSE_SUPER_MAGIC:      "fuse",
}

// lookAround fills in what the kernel tells.
func (c *machineCheck) lookAround(directory string) {
	var fs unix.Statfs_t
	if err := unix.Statfs(directory, &fs); err == nil {
		c.Filesystem = filesystems[int64(fs.Type)] //nolint:unconvert // another type on other machines
	}
	var clock unix.Timex // it only reads
	if _, err := unix.Adjtimex(&clock); err == nil {
		c.Clock = clockSynchronised
		if clock.Status&unix.STA_UNSYNC != 0 {
			c.Clock = clockUnsynchronised
		}
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		c.OpenFiles = limit.Cur
	}
	if groups, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		c.Unit = unitOf(string(groups))
	}
}

// unitOf returns the systemd service in the text of /proc/self/cgroup, or nothing.
func unitOf(groups string) string {
	for line := range strings.Lines(groups) {
		if name := path.Base(strings.TrimSpace(line)); strings.HasSuffix(name, ".service") {
			return name
		}
	}
	return ""
}
