// Package export_trommel_plugin_transform is where the generated exports find the plugin: its init
// fills the hook.
package export_trommel_plugin_transform

import (
	"trommel.example/go-transform/bind/imports/trommel_plugin_transform"
	"trommel.example/go-transform/bind/imports/trommel_plugin_types"
)

// ApplyFn answers apply.
var ApplyFn func(batch trommel_plugin_types.Batch) trommel_plugin_transform.Outcomes

// Apply is called by the generated exports.
func Apply(batch trommel_plugin_types.Batch) trommel_plugin_transform.Outcomes {
	return ApplyFn(batch)
}
