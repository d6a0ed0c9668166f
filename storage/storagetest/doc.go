// Package storagetest holds what every storage engine is measured by: [Run], the
// conformance suite, and [Memory], a plain store in memory that is the reference
// the engines are compared with. Memory also serves tests in virtual time: it has
// no goroutines and knows the time only from its clock.
package storagetest
