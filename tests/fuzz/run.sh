#!/bin/sh
# run.sh TARGET CORPUS RUNS: a target over the committed seeds and what grows out of them. What it
# finds stays in the folder that it names. Threads make no two runs alike: one that comes upon what
# takes long ends after half a minute.
set -u
found=$(mktemp -d) || exit 1
grown=$(mktemp -d) || exit 1
"$1" -runs="$3" -max_total_time=30 -seed=1 -max_len=8192 -timeout=60 -rss_limit_mb=4096 \
    -malloc_limit_mb=8192 -print_final_stats=1 -artifact_prefix="$found/" "$grown" "$2" \
    > "$grown/log" 2>&1
status=$?
grep -E '^(Done|stat::)' "$grown/log"
if [ $status != 0 ]; then
    tail -60 "$grown/log"
    echo "failed: status $status; the input is in $found"
    rm -rf "$grown"
    exit 1
fi
rm -rf "$found" "$grown"
