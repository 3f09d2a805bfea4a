#!/usr/bin/env bash
# Fuzzes one target, or each, under AddressSanitizer: scripts/fuzz.sh TARGET|all [SECONDS]
# Needs cargo-fuzz and a nightly toolchain. A failure leaves its input below fuzz/artifacts and
# prints it; cargo +nightly fuzz run TARGET FILE plays it again, fuzz tmin TARGET FILE shortens it.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:?TARGET or all} seconds=${2:-60}
[ "$target" != all ] || target=$(cargo +nightly fuzz list)
for name in $target; do
    scripts/seeds.py "$name" "fuzz/corpus/$name"
    cargo +nightly fuzz run "$name" -- -max_total_time="$seconds" -max_len=16384 -len_control=0 \
        -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 2>&1 |
        sed '/ Recommended dictionary/,/ End of recommended/d'
done
