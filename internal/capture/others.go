//go:build !linux

package capture

import (
	"errors"

	"netlyra/internal/models"
)

var errUnsupported = errors.New("capture: interfaces can be watched on Linux only; capture files can be read everywhere")

// Ring would be a worker's share of live packets; see errUnsupported.
type Ring struct{}

// OpenLive fails: only Linux has packet rings.
func OpenLive(LiveOptions) ([]*Ring, error) { return nil, errUnsupported }

// CheckLive fails as OpenLive does.
func CheckLive(LiveOptions) error { return errUnsupported }

// DefaultInterfaces fails as OpenLive does.
func DefaultInterfaces() (names []string, noRoute bool, err error) { return nil, false, errUnsupported }

// Devices fails as OpenLive does.
func Devices() ([]Device, error) { return nil, errUnsupported }

// Read fails as OpenLive does.
func (r *Ring) Read(*models.Batch) error { return errUnsupported }

// Close has nothing to do.
func (r *Ring) Close() error { return nil }

// Stats is empty.
func (r *Ring) Stats() Stats { return Stats{} }

// Links is empty.
func (r *Ring) Links() []models.Interface { return nil }
