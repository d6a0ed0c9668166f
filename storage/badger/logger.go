package badger

import (
	"strings"

	"go.uber.org/zap"
)

// logger passes Badger's log on. What Badger calls information is of no use to an
// operator.
type logger struct {
	to      *zap.SugaredLogger
	reserve *descriptors // or nil
	merges  *merges      // or nil
}

func (l logger) Errorf(format string, args ...any)   { l.to.Errorf(line(format), args...) }
func (l logger) Warningf(format string, args ...any) { l.to.Warnf(line(format), args...) }

// Infof also tells the reserve how far opening is.
func (l logger) Infof(format string, args ...any) {
	l.to.Debugf(line(format), args...)
	l.reserve.heed(format)
}

// Debugf drops the message: there is one for each write. But it tells of merging.
func (l logger) Debugf(format string, args ...any) { l.merges.heed(format, args) }

func line(format string) string { return strings.TrimRight(format, "\n") }
