#!/bin/sh
# run.sh TARGET CORPUS RUNS: a target over the committed seeds and what grows out of them. What it
# finds stays in the folder that it names. Runs with one seed are not alike (six of `image` took 5,
# 5, 6, 7, 36 and 53 seconds), so there is a bound of time as well.
set -u
part=${FUZZ_PART:-1}
found=$(mktemp -d) || exit 1
grown=$(mktemp -d) || exit 1
"$1" -runs=$(($3 / part)) -max_total_time=120 -seed=1 -max_len=8192 -timeout=60 -rss_limit_mb=4096 \
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
