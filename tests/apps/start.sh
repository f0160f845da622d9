#!/bin/sh
# A second start compiles nothing: what the first left on disk is all that it needs, on every Vulkan
# device. $1...: the programs
set -u
. "$(dirname "$0")/shell.sh"

unset MESA_SHADER_CACHE_DIR # where others leave compiled kernels (tools/check)
head -c 4000 "$mb_train" > data.bin
"$mb_train" --list-devices | grep -o '^vulkan:[0-9]*' > devices || skipped "no Vulkan device"
told=0
for device in $(cat devices); do
    rm -rf cache
    for start in 1 2; do
        rm -rf run
        "$mb_train" --device "$device" $tiny --steps 1 --out run data.bin 2> log ||
            fail "$device: $(cat log)"
        sed -n 's/.*; \([0-9]*\) kernels made in .*, \([0-9]*\) from the cache$/\1 \2/p' log \
            > made.$start
        [ -s made.$start ] || fail "$device: no line about the start: $(cat log)"
        (cd cache && find . -type f ! -name index | sort) > files.$start
        cksum cache/megabyte/*.pipelines > ours.$start || fail "$device: no cache of ours"
    done
    read -r made cached < made.2
    [ "$made" -gt 9 ] || fail "$device: $made kernels"
    # Mesa keeps compiled kernels by itself, a file each; others leave that to us, and say so.
    if [ "$(grep -c mesa_shader_cache files.1)" -gt 9 ]; then
        cmp files.1 files.2 || fail "$device: the second start compiled kernels"
        echo "$device: no new kernel among $made, by the driver's files"
    elif [ "$cached" -gt 0 ]; then
        [ "$cached" = "$made" ] || fail "$device: $cached of $made kernels from the cache"
        echo "$device: all $made kernels from the cache"
    else
        echo "$device: not tried, its driver keeps no compiled kernels"
        continue
    fi
    cmp ours.1 ours.2 || fail "$device: the second start wrote the cache again"
    told=$((told + 1))
done
[ $told -gt 0 ] || skipped "no driver here keeps compiled kernels"
exit 0
