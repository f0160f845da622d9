#!/bin/sh
# Where nothing in the data is what was asked for, mb-data says so, in a line and with success; what
# it cannot decode is one line, of its own words. $1: mb-data
set -u
. "$(dirname "$0")/shell.sh"

said() { # TEXT COMMAND...: one line that has the text, and nothing on standard output
    text=$1
    shift
    "$mb_data" "$@" > out 2> err || fail "$*: $(cat err)"
    [ "$(wc -l < err)" = 1 ] && grep -q -- "$text" err || fail "$*: not '$text': $(cat err)"
    [ ! -s out ] || fail "$*: wrote $(head -c 100 out)"
    "$mb_data" "$@" --quiet > out 2> err || fail "$* --quiet: $(cat err)"
    [ ! -s err ] || fail "$* --quiet says $(cat err)"
}

tool tar
mkdir d
printf 'FORM\0\0\0\4AIFF' > d/a.aiff
printf 'OggS\0\2' > d/b.ogg
printf 'RIFX\0\0\0\4WAVEfmt ' > d/c.wav
tar -cf d.tar d
for data in d d.tar; do
    said "none of the 3 files in the data is chosen by --include" cat --include 'nosuch*' $data
done
said "none of the 3 files in the data is chosen by --include" ls --include 'nosuch*' d
"$mb_data" cat d > out 2> err || fail "cat d"
[ ! -s err ] || fail "cat d says $(cat err)"
: > nothing
"$mb_data" cat nothing > out 2> err || fail "cat nothing"
[ ! -s err ] || fail "cat nothing says $(cat err)"

"$mb_data" cat --audio nothing > out 2> err
if grep -q 'reads no audio' err; then
    echo "skipped: built without audio"
    exit 0
fi
for data in d d.tar; do
    said "none of the 3 files in the data is chosen: --audio takes WAV and FLAC" cat --audio $data
done
said "none of the 3 files in the data is chosen: --audio takes WAV and FLAC" ls --audio d

# MP3 inside a WAV: libmpg123 would print lines of its own.
printf 'RIFF\0\4\0\0WAVEfmt \36\0\0\0\125\0\1\0\200\76\0\0\240\17\0\0\1\0\0\0' > m.wav
printf '\14\0\1\0\2\0\0\0' >> m.wav
printf '\241\1\1\0\161\5data\0\1\0\0' >> m.wav
head -c 256 /dev/zero >> m.wav
"$mb_data" cat --audio --quiet m.wav > out 2> err && fail "m.wav is read"
[ "$(wc -l < err)" = 1 ] && grep -q 'MP3.*not supported' err || fail "m.wav: $(cat err)"
! grep -q fetch err || fail "m.wav is called damaged: $(cat err)"
"$mb_data" cat --audio --on-corrupt skip m.wav > out 2> err || fail "m.wav is not passed over"
grep -q 'passed over' err || fail "m.wav is passed over in silence"
