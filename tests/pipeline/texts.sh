#!/bin/sh
# What is JSON lines and what only looks so, which is said; and folders, whose files are not opened.
# $1: mb-data
set -u
. "$(dirname "$0")/shell.sh"

tool tar gzip zstd xz bsdtar
as_it_is='its bytes are taken as they are'

# STATUS WANT ARGUMENTS...: what cat gives; its notes stay in err.
gives() {
    status=$1
    printf "$2" > want
    shift 2
    "$mb_data" cat "$@" > got 2> err
    [ $? = "$status" ] || fail "cat $*: not status $status: $(cat err)"
    cmp -s got want || fail "cat $* gave $(cat got)"
    sed -i '/io_uring is refused/d' err
}
says() { # PATTERN: in just one line of err
    [ "$(grep -c -e "$1" err)" = 1 ] || fail "not once '$1': $(cat err)"
}
silent() {
    [ ! -s err ] || fail "$1: $(cat err)"
}
# WANT...: the bytes of the file itself, with these notes and no others
itself() {
    file=$1
    "$mb_data" cat --jsonl-field text "$file" 2> err | cmp -s - "$file" || fail "$file is itself"
    sed -i '/io_uring is refused/d' err
    shift
    for pattern in "$@"; do
        says "$pattern"
    done
    [ "$(wc -l < err)" = $# ] || fail "$file: $(cat err)"
}

# By content, whatever the name and the packing.
printf '{"text":"a","url":"u"}\n{"url":"v","text":"b"}\r\n' > c4.json
cp c4.json plain && gzip -k c4.json && zstd -qk c4.json && xz -k c4.json
cp c4.json c4.NDJSON && tar -cf in.tar c4.json c4.json.gz && bsdtar -cf in.zip --format=zip c4.json
for f in c4.json plain c4.json.gz c4.json.zst c4.json.xz c4.NDJSON in.zip; do
    gives 0 ab --jsonl-field text $f && silent $f
    gives 1 '' --jsonl-field txet $f
    says "^mb-data: $f: .*line 1 has no field 'txet' (it has text, url): name one"
    [ "$(wc -l < err)" = 1 ] || fail "$f: $(cat err)"
    gives 0 '' --jsonl-field txet --on-corrupt skip $f
    says "no member has a text under 'txet' (--jsonl-field); the fields .* are: text, url"
    says '2 damaged'
done
gives 0 abab --jsonl-field text in.tar && silent in.tar
gives 1 '' --jsonl-field txet in.tar
says "in.tar: member 'c4.json' at byte 0: line 1 has no field"
printf '\357\273\277 \n\n\t{"text":"mark"}\n\n{"text":"."}' > mark.json
gives 0 mark. --jsonl-field text mark.json && silent mark.json

# The first line has no text, and the second makes it JSON lines all the same.
for line in '{"url":"u"}' '{}' '{"text":null}' '{"text":7,"n":1}' '{"text":["a"]}' '{"text":"cut' \
    '{"a":1,"text":"\q"}'; do
    printf '%s\n\n{"text":"b"}\n' "$line" > first.json
    gives 1 '' --jsonl-field text first.json && says 'first.json: at byte 0: line 1 '
    gives 0 b --jsonl-field text --on-corrupt skip first.json && says '1 damaged'
    [ "$(wc -l < err)" = 2 ] || fail "$line: $(cat err)"
done
printf '{"a":1}\n{"b":2}\n' > others.json
gives 1 '' --jsonl-field text others.json && says "line 1 has no field 'text' (it has a)"
printf '{"meta":{"text":"x"}}\n{"meta":{"text":"y"}}\n' > inside.json
gives 1 '' --jsonl-field text inside.json && says "line 1 has no field 'text' (it has meta)"
# Lines longer than what is looked at first.
for size in 100 5000 70000; do
    { printf '{"pad":"' && head -c $size /dev/zero | tr '\0' x && printf '"}\n{"text":"b"}\n'; } > l
    gives 1 '' --jsonl-field text l && says "line 1 has no field 'text' (it has pad)"
    gives 0 b --jsonl-field text --on-corrupt skip l
done

# Other JSON is no damage: its bytes, and it is said.
none="no member holds JSON lines with a text under 'text'"
printf '{\n  "text": "x",\n  "b": 1\n}\n' > pretty
itself pretty "several lines.*$as_it_is" "$none"
printf '{"items": [\n{"text":"a"}\n]}\n' > pretty2 && itself pretty2 'several lines' "$none"
printf '{ "text":\n"x"}\n' > pretty3 && itself pretty3 'several lines' "$none"
printf '{"name":"n","v":1}\n' > one.json
itself one.json "first line has no field 'text' (it has name, v): $as_it_is" \
    "no member has a text under 'text' (--jsonl-field); the fields .* are: name, v"
printf '{"name":"n"}\nand more\n' > front && itself front 'no JSON lines follow' 'are: name'
printf '{"name":"n"}\n{\n"text":"x"}\n' > two
itself two 'no JSON lines follow' 'are: name'
printf '{"text":"cut' > cut && itself cut "first line is not JSON.*$as_it_is" "$none"
printf '[{"text":"a"},\n {"text":"b"}]\n' > array && itself array "a JSON array.*$as_it_is" "$none"
printf '[\n  {\n "text":"a"}]' > array2 && itself array2 'a JSON array' "$none"
# What is no JSON only has no texts.
printf '{ int x;\n}\n{ }\n' > code.c && itself code.c "$none"
printf '[1] a note\n' > notes && itself notes "$none"
printf 'a\n{"text":"b"}\n' > text && itself text "$none"
: > nothing && itself nothing "$none"
"$mb_data" cat pretty one.json array 2> err > /dev/null || fail "$(cat err)"
sed -i '/io_uring is refused/d' err && silent "without --jsonl-field"

# Beside texts others stay what they are; no line says that there were none.
mkdir m && cp c4.json text pretty m && tar -cf m.tar m/c4.json m/text m/pretty
{ printf ab && cat text pretty; } > all
"$mb_data" cat --jsonl-field text m.tar 2> err | cmp - all || fail "a mixture: $(cat err)"
says "m.tar: member 'm/pretty': is JSON over several lines" && ! grep -q 'no member' err ||
    fail "a mixture: $(cat err)"
"$mb_data" cat --quiet --jsonl-field text pretty 2> err > /dev/null
[ ! -s err ] || fail "--quiet: $(cat err)"
# Many of a kind are told of a few times.
mkdir many && for i in 1 2 3 4 5 6 7 8 9 10 11 12; do cp pretty many/$i; done
"$mb_data" cat --jsonl-field text many 2> err > /dev/null
[ "$(grep -c 'several lines' err)" = 8 ] && says 'further notes on its members are left out' ||
    fail "many notes: $(cat err)"

# ls and stat say it too.
for command in ls stat; do
    "$mb_data" $command --jsonl-field text pretty one.json > got 2> err ||
        fail "$command: $(cat err)"
    says 'pretty: is JSON over several lines' && says 'first object are: name, v'
    "$mb_data" $command --json --jsonl-field text m.tar one.json > got 2> err || fail "$(cat err)"
    ! grep -q 'no member' err || fail "$command: $(cat err)"
    says "one.json: is no JSON lines"
done
"$mb_data" ls --jsonl-field txet c4.NDJSON > got 2> err || fail "ls: $(cat err)"
says "no member has a text under 'txet'.*are: text, url"
"$mb_data" ls --jsonl-field text c4.NDJSON c4.json > got 2> err || fail "ls: $(cat err)"
! grep -q 'no member' err || fail "ls: $(cat err)"

# Files of a folder are taken as they are. That is said once, and how to have them opened.
mkdir -p d/sub && cp c4.json.gz d/a.json.gz && cp c4.json.zst d/b.jsonl.zst && cp text d/c
cat d/a.json.gz d/b.jsonl.zst d/c > all
told="d: the files of a folder are not opened, and 'a.json.gz' is gzip (2 of its 3 files"
for options in '' '--jsonl-field text'; do
    "$mb_data" cat $options d 2> err | cmp - all || fail "a folder: $(cat err)"
    says "$told have such names): to have them opened, name 'd/\*'"
done
"$mb_data" ls d/ 2> err > /dev/null && says "name 'd/\*'"
gives 0 'ababa\n{"text":"b"}\n' --jsonl-field text 'd/*'
! grep -q 'not opened' err || fail "a glob: $(cat err)"
"$mb_data" cat --exclude '*.gz' --exclude '*.zst' d 2> err > /dev/null
sed -i '/io_uring is refused/d' err && silent "what is not chosen"
mkdir -p e/x/y && cp text e/a && tar -cf e/x/y/t.tar c4.json
"$mb_data" cat e 2> err > /dev/null
says "e: the files of a folder are not opened, and 'x/y/t.tar' is tar: .* name 'e/\*/\*/\*'"
mkdir f && cp text pretty f && "$mb_data" cat f 2> err > /dev/null
sed -i '/io_uring is refused/d' err && silent "a folder of texts"
"$mb_data" cat --images 8 d 2> err > /dev/null
grep -q 'reads no images' err || says "$told"
"$mb_data" cat --audio d 2> err > /dev/null
grep -q 'reads no audio' err || says "$told"
finish
