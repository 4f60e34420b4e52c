#!/usr/bin/env bash
# Builds target/plugins/go-transform.wasm. Needs Go 1.26 or later and, for the last step, Rust.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../../.." && pwd)
work=$repo/target/guests/go
mkdir -p "$work" "$repo/target/plugins"

cd "$here"
GOOS=wasip1 GOARCH=wasm go build -trimpath -buildmode=c-shared \
  -ldflags='-s -w -checklinkname=0' -o "$work/core.wasm" .

export CARGO_TARGET_DIR=$repo/target/guests
cargo run --quiet --locked --release --manifest-path "$repo/tools/componentize/Cargo.toml" -- \
  --wit "$repo/wit" --world transform-plugin --adapter "$here/adapter.wat" \
  --output "$work/go-transform.wasm" "$work/core.wasm"
mv "$work/go-transform.wasm" "$repo/target/plugins/go-transform.wasm"
