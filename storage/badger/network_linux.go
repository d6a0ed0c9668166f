package badger

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// networkFileSystems are those on which neither locks nor syncs of mapped files can be
// relied on, by the number that statfs(2) gives them.
var networkFileSystems = map[int64]string{
	0x6969:     "NFS",
	0x517B:     "SMB",
	0xFF534D42: "CIFS",
	0xFE534D42: "SMB",
	0x5346414F: "AFS",
	0x73757245: "Coda",
	0x564C:     "NCP",
}

// checkVolume refuses network file systems.
func checkVolume(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("asking for the file system of %s: %w", dir, err)
	}
	return checkFileSystem(dir, int64(st.Type)) //nolint:unconvert // the types differ by architecture
}

func checkFileSystem(dir string, number int64) error {
	if name, ok := networkFileSystems[number&0xFFFFFFFF]; ok {
		return fmt.Errorf("%w: %s is on %s, where what is synced may be lost and two machines may write at once; choose a directory on a disk of this machine",
			ErrNetworkFileSystem, dir, name)
	}
	return nil
}
