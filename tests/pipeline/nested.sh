#!/bin/sh
# Archives inside archives, JSON lines, and the limit against bombs. $1: mb-data
set -u
. "$(dirname "$0")/shell.sh"

same() { # WANT ARGUMENTS...: cat gives the bytes of WANT
    want=$1
    shift
    "$mb_data" cat "$@" > got 2> err || fail "cat $*: $(cat err)"
    cmp got "$want" || fail "cat $* differs from $want"
}
refused() { # PATTERN ARGUMENTS...: cat fails with one line
    pattern=$1
    shift
    "$mb_data" cat "$@" > got 2> err
    [ $? = 1 ] || fail "cat $*: no failure"
    sed -i "/io_uring is refused/d" err # a note of its own, where it is
    [ "$(wc -l < err)" = 1 ] || fail "cat $*: not one line: $(cat err)"
    grep -q -e "$pattern" err || fail "cat $*: $(cat err)"
}
names() { # WANT ARGUMENTS...: ls shows these names
    want=$1
    shift
    "$mb_data" ls --json "$@" | sed -n 's/.*"name": "\(.*\)".*/\1/p' | tr '\n' ' ' > got
    [ "$(cat got)" = "$want" ] || fail "ls $*: $(cat got)"
}

tool tar gzip bzip2 xz zstd lz4 bsdtar
mkdir s
for i in 1 2 3 4 5; do seq 1 ${i}0000 > s/$i; done
cd s || exit 1
gzip -k 1 && bzip2 -k 2 && zstd -q 3 && lz4 -q 4 4.lz4
tar -cf in.tar 1 2 && tar -cJf in.tar.xz 2 3
bsdtar -cf in.zip --format=zip in.tar.xz 4 && bsdtar -cf in.7z --format=7zip 5
gzip -c 1.gz > twice.gz
cd .. || exit 1

# Every kind in a tar; the same bytes from a pipe of one.
tar -cf all.tar -C s 5 1.gz 2.bz2 3.zst 4.lz4 in.tar in.zip in.7z twice.gz
(cd s && cat 5 1 2 3 4 1 2 2 3 4 5 1.gz) > want
same want all.tar
plain='5 1.gz 2.bz2 3.zst 4.lz4 in.tar/1 in.tar/2'
names "$plain in.zip/in.tar.xz/2 in.zip/in.tar.xz/3 in.zip/4 in.7z/5 twice.gz " all.tar
cat all.tar | "$mb_data" cat /dev/stdin | cmp - want || fail "from a pipe"
xz -k all.tar && same want all.tar.xz
bsdtar -cf all.zip --format=zip @all.tar && same want all.zip

# The depth, and as they are.
bsdtar -xOf all.tar > raw
same raw --nested 0 all.tar
names "$plain in.zip/in.tar.xz in.zip/4 in.7z/5 twice.gz " --nested 1 all.tar
tar -cf 1.tar all.tar && tar -cf 2.tar 1.tar && tar -cf 3.tar 2.tar
(cd s && cat 5 1 2 3 4 1 2 && bsdtar -xOf in.zip && cat 5 1.gz) > shallow
same shallow --nested 2 1.tar
same raw 3.tar
same all.tar --nested 2 3.tar
same want --nested 6 3.tar
"$mb_data" cat --nested 9 all.tar 2> /dev/null
[ $? = 2 ] || fail "--nested 9 is wrong usage"
# A bare compressed file is one layer; so are a folder's files.
same s/1.gz s/twice.gz
cat s/1 s/1.gz s/2 > raw
mkdir f && cp s/1 s/1.gz s/2 f
same raw f

# A pattern that matches an archive holds for all in it; others look at full names.
names 'in.zip/in.tar.xz/2 in.zip/in.tar.xz/3 in.zip/4 ' --include '*.zip' all.tar
names 'in.tar/2 in.zip/in.tar.xz/2 ' --include '*/2' all.tar
names "$plain in.7z/5 twice.gz " --exclude '*.zip' all.tar
names 'in.zip/4 ' --include '*.zip' --exclude '*.xz' --exclude '*.xz/*' --nested 2 all.tar

# Damage inside names the member; skip goes on behind it.
head -c 400 s/in.tar.xz > s/cut.tar.xz
head -c 3000 s/1.gz > s/cut.gz
tar -cf bad.tar -C s 1 cut.tar.xz 2 cut.gz 3
refused "bad.tar: member 'cut.tar.xz.*nested 0" bad.tar
refused "bad.tar: member 'cut.gz' at byte [0-9]*: the gzip data.*skip" --exclude '*.xz' bad.tar
"$mb_data" cat --on-corrupt skip --exclude '*.gz' bad.tar > got 2> err || fail "skip: $(cat err)"
grep -q '1 damaged' err || fail "skip counts: $(cat err)"
tail -c "$(cat s/2 s/3 | wc -c)" got > tail && cat s/2 s/3 | cmp - tail || fail "skip goes on"
"$mb_data" cat --on-corrupt skip bad.tar > got 2> err || fail "skip: $(cat err)"
grep -q '2 damaged' err || fail "skip counts: $(cat err)"
tail -c "$(wc -c < s/3)" got | cmp - s/3 || fail "skip goes on behind a .gz"

# JSON lines.
{
    printf '{"text":"one\\n"}\n\n'
    printf '{"n":[1,{}],"text":"\\u00e9\\u0000\\ud83d\\ude00"}\r\n{"text":""}\n{"text":"3"}'
} > a.jsonl
printf 'one\n\303\251\0\360\237\230\2003' > texts
same texts --jsonl-field text a.jsonl
same a.jsonl a.jsonl
same a.jsonl --nested 0 a.jsonl
zstd -q a.jsonl && same texts --jsonl-field text a.jsonl.zst
cp a.jsonl by-content && same texts --jsonl-field text by-content
printf '{\n "text": "no lines"\n}\n' > pretty.json
same pretty.json --jsonl-field text pretty.json
printf '{"title":"other"}\n' > other.json && same other.json --jsonl-field text other.json
printf '\357\273\277{"text":"mark"}\n' > mark.jsonl && printf mark > want
same want --jsonl-field text mark.jsonl
# One line without an end, of any length, is told apart by its content.
for size in 1 2030 2048 3000 4080 4096 9000 70000; do
    head -c $size /dev/zero | tr '\0' x > want
    { printf '{"text":"'; cat want; printf '"}'; } > one-line
    timeout 60 "$mb_data" cat --jsonl-field text one-line > got && cmp want got ||
        fail "a line of $size bytes without an end"
    timeout 60 "$mb_data" cat --jsonl-field other one-line > got && cmp one-line got ||
        fail "$size bytes that are no JSON lines"
done
: > empty.jsonl && same empty.jsonl --jsonl-field text empty.jsonl
tar -cf j.tar a.jsonl.zst s/5 by-content && cat texts s/5 texts > want
same want --jsonl-field text j.tar
# Half of a surrogate pair is JSON: U+FFFD in its place.
printf '{"\\udc00":0,"text":"a\\ud83d"}\n{"text":"\\ude00b\\ud83d\\u0063"}\n' > half.jsonl
printf 'a\357\277\275\357\277\275b\357\277\275c' > want
same want --jsonl-field text half.jsonl
# A line longer than any buffer.
(printf '{"text":"' && head -c 3000000 /dev/zero | tr '\0' x && printf '"}\n') > long.jsonl
head -c 3000000 /dev/zero | tr '\0' x > want
same want --jsonl-field text long.jsonl
{
    printf '{"text":"a"}\n{"text":7}\n{"other":""}\n[1]\n'
    printf 'no\n{"text":"\\q"}\n{"text":"b"}\n'
} > bad.jsonl
refused "bad.jsonl: at byte 1: line 2 has a field 'text' that is not a text" \
    --jsonl-field text bad.jsonl
"$mb_data" cat --on-corrupt skip --jsonl-field text bad.jsonl > got 2> err ||
    fail "skip: $(cat err)"
[ "$(cat got)" = ab ] || fail "skip passes over lines: $(cat got)"
grep -q '5 damaged' err || fail "skip counts lines: $(cat err)"
grep -q "line 3 has no field 'text'" err &&
    grep -q 'line 4 is JSON, but not' err || fail "$(cat err)"
"$mb_data" cat --jsonl-field '' bad.jsonl 2> /dev/null
[ $? = 2 ] || fail "an empty field name is wrong usage"

# What unfolds without end is refused, and what is merely large is not. No disk is filled.
truncate -s 9G hole && tar -cSf hole.tar hole && rm hole
"$mb_data" cat hole.tar 2> err > /dev/null
[ $? = 1 ] && grep -q 'hole.tar: .*decompression bomb.*--max-ratio' err || fail "a bomb: $(cat err)"
tar -cf in-hole.tar hole.tar s/1
"$mb_data" cat in-hole.tar 2> err > /dev/null
[ $? = 1 ] && grep -q "in-hole.tar: member 'hole.tar/hole'.*bomb" err || fail "inside: $(cat err)"
"$mb_data" cat --on-corrupt skip hole.tar s/1 2> err > /dev/null || fail "behind a bomb: $(cat err)"
grep -q '1 damaged' err || fail "a bomb is counted: $(cat err)"
"$mb_data" cat --max-ratio inf hole.tar > /dev/null || fail "--max-ratio inf"
"$mb_data" cat --max-size 1M hole.tar 2> err > /dev/null
[ $? = 1 ] && grep -q 'hole.tar: .*more than 1048576 bytes.*--max-size' err ||
    fail "--max-size: $(cat err)"
"$mb_data" cat --max-size 10G --max-ratio inf hole.tar > /dev/null || fail "--max-size 10G"
"$mb_data" cat --max-ratio 0 hole.tar 2> /dev/null
[ $? = 2 ] || fail "--max-ratio 0 is wrong usage"
finish
