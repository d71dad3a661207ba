package vfs

import (
	"fmt"
	"os"
	"syscall"
)

// fileSystems are known by the numbers that statfs returns.
//
// https://man7.org/linux/man-pages/man2/statfs.2.html
var fileSystems = map[uint32]fileSystem{
	0x6969:     {"nfs", true},
	0x517b:     {"smb", true},
	0xff534d42: {"cifs", true},
	0xfe534d42: {"smb2", true},
	0x5346414f: {"afs", true},
	0x6b414653: {"afs", true},
	0x73757245: {"coda", true},
	0x564c:     {"ncpfs", true},
	0x00c36400: {"ceph", true},
	0x0bd00bd0: {"lustre", true},
	0x47504653: {"gpfs", true},
	0x7461636f: {"ocfs2", true},
	0x01161970: {"gfs2", true},
	0x013111a8: {"ibrix", true},
	0x19830326: {"beegfs", true},

	// What a virtual machine or a container has of its host, or a program of its own: some have locks and shared memory, some don't.
	0x01021997: {"9p", false},
	0x65735546: {"fuse", false},
	0x786f4256: {"vboxsf", false},
	0xbacbacbc: {"vmhgfs", false},
	0x7c7c6673: {"prl_fs", false},
}

func fileSystemOf(path string) fileSystem {
	var st syscall.Statfs_t
	for {
		switch err := syscall.Statfs(path, &st); err {
		case nil:
			return fileSystems[uint32(st.Type)]
		case syscall.EINTR:
		default:
			return fileSystem{}
		}
	}
}

// ofdSetLock takes a lock as go-sqlite3 does.
const ofdSetLock = 37

// trySharedMemory tries in a folder what WAL mode needs of a file: memory that is shared, and locks.
func trySharedMemory(dir string) error {
	f, err := os.CreateTemp(dir, ".asyncvfs-*")
	if err != nil {
		return nil // it isn't this that fails
	}
	defer os.Remove(f.Name())
	defer f.Close()
	const size = 32 << 10 // of a part of the WAL-index
	if err := f.Truncate(size); err != nil {
		return nil
	}
	memory, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("it doesn't share memory: mmap: %w", err)
	}
	defer syscall.Munmap(memory)
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: 120, Len: 1}
	if err := syscall.FcntlFlock(f.Fd(), ofdSetLock, &lock); err != nil {
		return fmt.Errorf("it has no locks: fcntl: %w", err)
	}
	return nil
}
