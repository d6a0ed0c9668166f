// Package egresslist keeps the list of addresses that deliveries come from, as receivers
// are told it: the addresses that are in use, those that will be, those that will be no
// more, and every change of them, ahead of its time where the configuration says so.
//
// A configuration makes a [Declaration]. [Advance] compares it with the [State] that was
// published last, by the clock, and returns the next one: the list with its version, the
// changes that are planned, each with the moment at which it was first announced, and what
// is to be told. It is a pure function; who calls it stores the state, since an
// announcement is only worth something if it is made once and remembered.
//
// [Files] serves the list as JSON, text and an Atom feed.
package egresslist
