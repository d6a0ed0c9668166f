//go:build darwin || freebsd

package badger

func checkVolume(string) error { return nil }
