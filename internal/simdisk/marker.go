package simdisk

import (
	"io/fs"
	"slices"

	"github.com/docusnap/asyncvfs/vfs"
)

var _ vfs.MarkerVFS = Base{}

// The marker of a failed sync tells other processes of it for as long as the system isn't started anew:
// no power cut leaves it to be used. So it isn't on the disk.

// ReadMarker implements [vfs.MarkerVFS].
func (b Base) ReadMarker(name string) ([]byte, error) {
	d, base, err := find(name)
	if err != nil {
		return nil, err
	}
	if content, ok := d.markers.Load(base); ok {
		return slices.Clone(content.([]byte)), nil
	}
	return nil, fs.ErrNotExist
}

// WriteMarker implements [vfs.MarkerVFS].
func (b Base) WriteMarker(name string, content []byte) error {
	d, base, err := find(name)
	if err == nil {
		d.markers.Store(base, slices.Clone(content))
	}
	return err
}

// DeleteMarker implements [vfs.MarkerVFS].
func (b Base) DeleteMarker(name string) error {
	d, base, err := find(name)
	if err != nil {
		return err
	}
	if _, there := d.markers.LoadAndDelete(base); !there {
		return fs.ErrNotExist
	}
	return nil
}
