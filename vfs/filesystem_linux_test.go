package vfs

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFileSystemNumbers: those that the kernel's header has are what that says.
func TestFileSystemNumbers(t *testing.T) {
	header, err := os.ReadFile("/usr/include/linux/magic.h")
	if err != nil {
		t.Skip(err)
	}
	numbers := map[string]uint32{}
	for _, m := range regexp.MustCompile(`#define\s+(\w+)_MAGIC\s+(0x[0-9a-fA-F]+)`).FindAllStringSubmatch(string(header), -1) {
		n, err := strconv.ParseUint(m[2], 0, 32)
		require.NoError(t, err)
		numbers[m[1]] = uint32(n)
	}
	for name, want := range map[string]fileSystem{
		"NFS_SUPER": {"nfs", true}, "SMB_SUPER": {"smb", true}, "CIFS_SUPER": {"cifs", true}, "SMB2_SUPER": {"smb2", true},
		"AFS_SUPER": {"afs", true}, "AFS_FS": {"afs", true}, "CODA_SUPER": {"coda", true}, "NCP_SUPER": {"ncpfs", true},
		"CEPH_SUPER": {"ceph", true}, "OCFS2_SUPER": {"ocfs2", true}, "V9FS": {"9p", false}, "FUSE_SUPER": {"fuse", false},
		"EXT4_SUPER": {}, "XFS_SUPER": {}, "BTRFS_SUPER": {}, "TMPFS": {}, "OVERLAYFS_SUPER": {}, "F2FS_SUPER": {},
	} {
		if n, ok := numbers[name]; ok { // an old header has fewer
			require.Equal(t, want, fileSystems[n], name)
		}
	}
}

// TestFileSystemOf: local ones, and a folder that isn't there, are none that matter.
func TestFileSystemOf(t *testing.T) {
	require.Empty(t, fileSystemOf("/no/such/folder"))
	require.Empty(t, fileSystemOf("/proc"))
	if dir := "/dev/shm"; exists(dir) {
		require.Empty(t, fileSystemOf(dir))
	}
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

// TestTrySharedMemory: an ordinary folder has what is needed, and a file in /proc can't be made, which isn't that.
func TestTrySharedMemory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, trySharedMemory(dir))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, trySharedMemory("/proc"))
	require.NoError(t, suitsWAL(filepath.Join(dir, "test.db")))
}
