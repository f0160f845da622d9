#!/bin/sh
# A disk that is full: one line, the earlier checkpoints stay, and the same command goes on where
# there is room again. $1...: the programs
set -u
. "$(dirname "$0")/shell.sh"

seq 1 20000 > data
steps="--steps 12 --save-every 2 --keep 0 --log-every 1"
"$mb_train" $cpu $tiny --quiet $steps --out whole data || fail "mb-train"
cut -d , -f 1-3 whole/metrics.jsonl > lines
[ "$(wc -l < lines)" = 12 ] && grep -q '"step":12,"bytes":[0-9]*,"bits_per_byte":[0-9]' lines ||
    fail "metrics: $(cat lines)"

# DIR: what is there verifies, and nothing half-written is there beside it
check_rest() {
    for checkpoint in "$1"/checkpoints/*; do
        [ -e "$checkpoint" ] || continue
        "$mb_generate" $cpu --quiet --bytes 1 "$checkpoint" > /dev/null || fail "$checkpoint"
    done
    [ -z "$(ls -A "$1/checkpoints" | grep tmp)" ] || fail "left: $(ls -A "$1/checkpoints")"
}

# DIR: goes on to the end, to the same bits, and the same lines, as a run that had room
check_end() {
    "$mb_train" $cpu $tiny --quiet $steps --out "$1" data || fail "$1: room again"
    for f in model.safetensors optimizer.safetensors state.json; do
        cmp "$1/checkpoints/00000012/$f" "whole/checkpoints/00000012/$f" || fail "$1: $f"
    done
    cut -d , -f 1-3 "$1/metrics.jsonl" | cmp - lines || fail "$1: $(cat "$1/metrics.jsonl")"
}

# A limit on the size of files, in blocks of 512 bytes, is met by everyone.
(
    trap '' XFSZ
    ulimit -f 64
    "$mb_train" $cpu $tiny --quiet $steps --out limit data 2> err
    echo $? > status
)
[ "$(cat status)" = 1 ] && [ "$(wc -l < err)" = 1 ] || fail "a file size limit: $(cat err)"
grep -q '^mb-train: .*File too large' err || fail "a file size limit: $(cat err)"
check_rest limit
check_end limit

# Without memory for a copy training waits for each save, and ends with the same bits.
"$mb_train" $cpu $tiny $steps --save-memory 1K --out waits data 2> err || fail "waits: $(cat err)"
[ "$(grep -c 'training waits while checkpoints are saved' err)" = 1 ] || fail "waits: $(cat err)"
"$mb_train" $cpu $tiny $steps --save-memory 0 --out never data 2> err || fail "never: $(cat err)"
! grep -q 'training waits' err || fail "never: $(cat err)"
for out in waits never; do
    check_rest $out
    check_end $out
done

# A disk of its own where the system lets us have one.
mkdir disk
if mount -t tmpfs -o size=1m tmpfs disk 2> /dev/null; then
    trap 'cd /; umount "$scratch/disk"; rm -rf "$scratch"' EXIT
    expect 1 'No space left' "$mb_train" $cpu $tiny --quiet $steps --out disk/run data
    [ -e disk/run/checkpoints/00000002 ] || fail "the first checkpoint went: $(ls -R disk)"
    check_rest disk/run
    expect 1 'No space left' "$mb_train" $cpu $tiny --quiet $steps --out disk/run data
    check_rest disk/run
    # No room even for a line of the metrics, which has no block of the disk yet.
    mv disk/run/metrics.jsonl metrics.jsonl
    cat /dev/zero > disk/rest 2> /dev/null
    "$mb_train" $cpu $tiny --quiet $steps --out disk/run data 2> err && fail "no room, status 0"
    grep -q '^mb-train: .*metrics.jsonl: No space left.*wait until' err || fail "$(cat err)"
    check_rest disk/run
    mount -o remount,size=8m disk || fail "remount"
    mv metrics.jsonl disk/run/metrics.jsonl
    check_end disk/run
fi
exit 0
