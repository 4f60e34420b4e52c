#!/usr/bin/env bash
# Builds target/plugins/js-filter.wasm. Needs node and npm; fetches componentize-qjs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../../.." && pwd)
tools=$repo/target/guests/js

mkdir -p "$tools" "$repo/target/plugins"
if [ ! -x "$tools/node_modules/.bin/componentize-qjs" ]; then
  cp "$here/package.json" "$tools/"
  npm install --prefix "$tools" --no-package-lock --no-audit --no-fund
fi
# --sync: no asynchronous ABI; --stub-wasi: no WASI imports, what would need them traps.
"$tools/node_modules/.bin/componentize-qjs" --sync --stub-wasi \
  --wit "$repo/wit" --world filter-plugin --js "$here/filter.js" --output "$tools/filter.wasm"
mv "$tools/filter.wasm" "$repo/target/plugins/js-filter.wasm"
