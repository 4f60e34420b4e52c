#!/usr/bin/env bash
# Makes the bindings in bind/ anew, after a change of wit/. Needs wit-bindgen-cli 0.63 with its
# feature `go`; building the plugin does not.
#
# The generated code expects runtime and types of its maker's Go package. Ours in wit/ take their
# place: they need no download, and their runtime never collects garbage while the host hands over
# arguments, which a component must not.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
module=trommel.example/go-transform
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

wit-bindgen go --world transform-plugin --pkg-name "$module/bind" --generate-stubs \
  --out-dir "$work" "$here/../../../wit"
find "$work" -name '*.go' -exec \
  sed -i -E "s#\"[a-z.]+/pkg/wit/(runtime|types)\"#\"$module/wit/\1\"#" {} +
find "$work" -name empty.s -exec cp "$here/wit/runtime/empty.s" {} \;
# The stubs give way to our hooks, which stay.
rm -rf "$work"/exports/export_* "$here/bind/imports" "$here/bind/exports/wit_exports"
cp -r "$work/imports" "$here/bind/"
cp -r "$work/exports/wit_exports" "$here/bind/exports/"
gofmt -w "$here/bind"
