#!/usr/bin/env bash
# Builds the program without shared libraries and prints its path: scripts/build-static.sh [PROFILE]. It runs on
# any Linux, and alone in a container.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
target=$(rustc -vV | sed -n 's/^host: //p')
folder=$profile
[ "$profile" != dev ] || folder=debug
# The flags are for the target alone: what runs while it is built is built as ever.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile "$profile" --target "$target" >&2
echo "$PWD/target/$target/$folder/kvcache"
