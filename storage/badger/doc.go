// Package badger is the default storage engine: a [relay.Store] in one directory,
// on Badger.
//
// # Layout
//
// Keys are a letter and big-endian numbers:
//
//	M<name>                  the store's identity, and what trimming must not forget
//	E<seq8>                  event
//	N<name>                  id of a subscription
//	L<sub4><pos8>            entries of a subscription's log, from pos on
//	P<sub4>                  progress of a subscription
//	X<class1><sub4><from8>   exception
//	R<n4>                    part of a group that is larger than a transaction
//	T<seq8><sub4><number4>   attempt
//	W<sub4><pos/64:8><n8>    attempts of deliveries at neighbouring positions
//	I<hash16>                idempotency key
//	J<seq8><hash16>          the same by age
//
// A record is a version byte, fields in protocol buffers' wire format, and a CRC32C
// over key and record. Unknown fields are skipped; a record that cannot be read is an
// error that names its key.
//
// # Writing
//
// Badger syncs once for each transaction. One goroutine, the committer, therefore
// takes everything that waits into one transaction; while that is synced, the next
// group gathers. A request that is larger than a transaction is a group of its own, which is
// written ahead as a whole. Nothing else writes.
package badger
