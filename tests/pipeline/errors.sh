#!/bin/sh
# Bad input and wrong usage: one line on standard error, the right status. $1: mb-data
set -u
. "$(dirname "$0")/shell.sh"

# STATUS PATTERN ARGUMENTS...
expect() {
    want=$1 pattern=$2
    shift 2
    "$mb_data" "$@" > out 2> err
    got=$?
    [ $got = "$want" ] || fail "mb-data $*: status $got, not $want: $(cat err)"
    sed -i "/io_uring is refused/d" err # a note of its own, where it is
    [ "$(wc -l < err)" = 1 ] || fail "mb-data $*: not one line: $(cat err)"
    grep -q -e "$pattern" err || fail "mb-data $*: $(cat err)"
}

tool tar gzip
seq 1 100000 > text
tar -cf good.tar text
gzip -c good.tar > good.tar.gz
head -c 100000 good.tar.gz > cut.tar.gz
expect 1 'No such file' cat missing
expect 1 'none matches' cat 'missing*'
expect 2 'weight' cat text=0
expect 1 "cut.tar.gz: member 'text' at byte [0-9]*: the gzip data is damaged or cut" cat cut.tar.gz
head -c 100 good.tar.gz > stub.tar.gz # less comes out than a tar's first header is long
expect 1 'stub.tar.gz: at byte 0: the gzip data is damaged or cut' cat stub.tar.gz
[ ! -s out ] || fail "a part of a tar's header is no data"
expect 2 'ls, cat or stat'
expect 2 'ls, cat or stat' dog text
expect 2 'DATA' cat
expect 2 'val-fraction 2' cat --val-fraction 2 text
expect 2 'needs --val-fraction' cat --side val text
"$mb_data" cat --val-fraction 0.5 text > one
"$mb_data" cat --val-fraction 0.5 --side train text > two
cmp one two || fail "cat gives what training sees: the training side"
expect 2 'on-corrupt' cat --on-corrupt maybe text
expect 2 'no JSON' cat --json text
expect 2 'io fast' cat --io fast text
"$mb_data" cat --bogus text 2> /dev/null
[ $? = 2 ] || fail "an unknown option is wrong usage"
"$mb_data" cat --seed 1 text 2> err | cmp - text && grep -q 'no effect' err ||
    fail "an option that all programs share is not taken"
"$mb_data" --help | grep -q -e --include || fail "--help"
"$mb_data" --version | grep -q '^mb-data [0-9]' || fail "--version"

tar -cf nothing.tar -T /dev/null
"$mb_data" cat nothing.tar > out || fail "an empty archive is no error for cat"
[ ! -s out ] || fail "an empty archive has no bytes"
"$mb_data" cat --on-corrupt skip cut.tar.gz good.tar > out 2> err || fail "skip: $(cat err)"
tail -c 588895 out | cmp - text || fail "skip goes on with the next source"
grep -q '1 damaged' err || fail "skip counts: $(cat err)"
if [ "$(id -u)" != 0 ]; then
    chmod 0 text
    expect 1 'Permission denied' cat text
    chmod 644 text
fi
# A name that says it is 2 GiB long is not gathered in memory.
{
    printf '070701000000010000816400000000000000000000000100000000000000010000000000000000'
    printf '00000000000000007fffffff00000000'
    head -c 70000000 /dev/zero
} | gzip -1 > name.cpio.gz
# (libarchive 3.8 looks at the length by itself)
expect 1 'header of a member is longer than 64 MiB\|pathname exceeds 1 megabyte' cat name.cpio.gz
if command -v zip > /dev/null; then
    zip -q -P secret secret.zip text
    expect 1 "secret.zip: member 'text' at byte 0: it is encrypted" cat secret.zip
fi
if command -v 7z > /dev/null; then
    7z a -bd -bso0 -psecret secret.7z text > /dev/null
    expect 1 "secret.7z: member 'text' at byte 0: it is encrypted" cat secret.7z
    7z a -bd -bso0 -psecret -mhe=on names.7z text > /dev/null
    expect 1 "names.7z: .*encrypted" cat names.7z
fi
# A full disk.
if [ -c /dev/full ]; then
    "$mb_data" cat text > /dev/full 2> err
    [ $? = 1 ] || fail "a full disk fails"
    grep -q 'No space left' err || fail "a full disk: $(cat err)"
fi
# JSON is whole and alone on standard output.
"$mb_data" stat --json good.tar > out 2> err || fail "stat --json"
grep -q '"bytes": 588895' out || fail "stat --json: $(cat out)"
"$mb_data" ls --json good.tar | grep -q '"size": 588895' || fail "ls --json"
finish
