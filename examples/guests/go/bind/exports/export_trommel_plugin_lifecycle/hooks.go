// Package export_trommel_plugin_lifecycle is where the generated exports find the plugin: its init
// fills the hooks.
package export_trommel_plugin_lifecycle

import (
	"trommel.example/go-transform/bind/imports/trommel_plugin_lifecycle"
	"trommel.example/go-transform/wit/types"
)

// DescribeFn answers describe.
var DescribeFn func() trommel_plugin_lifecycle.Description

// ConfigureFn answers configure.
var ConfigureFn func(config string) types.Result[trommel_plugin_lifecycle.Wants, string]

// Describe is called by the generated exports.
func Describe() trommel_plugin_lifecycle.Description { return DescribeFn() }

// Configure is called by the generated exports.
func Configure(config string) types.Result[trommel_plugin_lifecycle.Wants, string] {
	return ConfigureFn(config)
}
