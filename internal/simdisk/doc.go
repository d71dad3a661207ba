// Package simdisk simulates disks that lose power.
//
// [Disk] is a simulated disk, with [Base] as the VFS of its files. It keeps a trace of every write, truncate,
// create, delete, start and end of a sync, and of what the application was told.
// [Crash] makes from a trace the states that a power cut leaves after any number of its events.
// Of what was written and not yet durable they hold nothing, all, or a random choice:
// each 512-byte sector is as it was after one of the writes to it, or before, or torn;
// each truncate, create and delete happened or not. A sync covers what was written before it started.
// A directory entry takes a sync of the directory, or, on some disks, a sync of a file after it, as with ext4.
//
// A failed sync is reported once to each handle that was open by then, as with Linux, whichever process it belongs to.
//
// An [Injector] lets operations fail. A [Lockstep] runs the goroutines that use a disk one at a time, so that a seed stands for one order of events.
package simdisk
