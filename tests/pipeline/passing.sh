#!/bin/sh
# Members that are passed over unread, of archives in which the ones behind them lean on them, or
# that cannot be read at all. $1: mb-data
set -u
. "$(dirname "$0")/shell.sh"

# Bytes that do not look like each other's and hardly shrink, for any size.
number() { # SIZE: so many bytes
    seq 1 "$1" | head -c "$1"
}

# 7z: libarchive up to 3.7 lost its place where the members before were a multiple of 64 KiB long.
sevens() { # NAME OPTIONS...: each member alone is the member
    archive=$1
    shift
    rm -f "$archive"
    (cd 7 && 7z a -bd -bso0 -bsp0 "$@" "../$archive" ./* > 7z.log 2>&1) || {
        rm -f "$archive" 7/7z.log
        echo "7z $* is not offered"
        return
    }
    rm -f 7/7z.log
    # In one list: a member that is asked for with the members before it passed over.
    for member in 7/*; do
        name=${member#7/}
        "$mb_data" cat --nested 0 --include "$name" "$archive" > got 2> err ||
            fail "$archive $name: $(cat err)"
        cmp -s got "$member" || fail "$archive: $name is $(wc -c < got) bytes"
    done
    cat 7/* > want
    "$mb_data" cat --nested 0 "$archive" | cmp - want || fail "$archive"
}
if command -v 7z > /dev/null; then
    mkdir 7
    i=0
    for size in 131072 131072 65536 0 65535 65537 196608 1 131072 3 131071 0 65536; do
        i=$((i + 1))
        number $size > 7/$((100 + i))
    done
    for method in LZMA LZMA2 PPMd BZip2 Copy Deflate; do
        for solid in on off; do
            sevens "$method-$solid.7z" -m0=$method -ms=$solid
        done
    done
    cp "$(command -v cat)" 7/200 # a program, for the filter of programs
    head -c 65536 7/200 > 7/201
    sevens bcj.7z -m0=BCJ -m1=LZMA2
    sevens delta.7z -m0=Delta:4 -m1=LZMA
    rm 7/*
    number 131072 > 7/1.txt && number 131072 > 7/2.txt && number 131072 > 7/3.txt
    sevens few.7z
    "$mb_data" ls few.7z | wc -l | grep -q '^3$' || fail "ls few.7z"
fi
finish
