#!/bin/sh
# mb-data cat gives what bsdtar -xOf gives for archives, the decompressed bytes for compressed
# files, and the files' bytes in name order for a folder. $1: mb-data
set -u
. "$(dirname "$0")/shell.sh"

mkdir -p "d/sub dir/deep" d/empty.d
seq 1 50000 > d/text
head -c 300000 /dev/urandom > "d/sub dir/random"
: > d/nothing
printf 'spaces' > "d/a name with spaces"
printf 'newline' > "d/sub dir/new
line"
printf 'latin1' > "d/$(printf 'caf\351')"
printf 'utf8' > "d/sub dir/deep/naïve"
printf '\0\0\0zeros' > d/zeros
ln d/text d/hard
ln -s text d/soft
cp d/text d/last

same() { # ARCHIVE: as bsdtar
    bsdtar -xOf "$1" > want 2> want.err || skipped "bsdtar cannot read $1: $(head -1 want.err)"
    "$mb_data" cat "$1" > got || fail "cat $1"
    cmp got want || fail "cat $1 differs from bsdtar"
    "$mb_data" cat --io threads "$1" | cmp - want || fail "cat --io threads $1 differs"
    "$mb_data" cat --direct "$1" 2> /dev/null | cmp - want || fail "cat --direct $1 differs"
}

tool bsdtar tar gzip bzip2 xz zstd lz4 cpio
tar -cf gnu.tar d && same gnu.tar
bsdtar -cf pax.tar --format=pax d && same pax.tar
bsdtar -cf ustar.tar --format=ustar d && same ustar.tar
tar --format=v7 -cf v7.tar d && same v7.tar
cat gnu.tar pax.tar > two.tar && same two.tar
for pair in gz:gzip bz2:bzip2 xz:xz zst:zstd lz4:lz4; do
    ${pair#*:} -q -c < gnu.tar > gnu.tar.${pair%:*} && same gnu.tar.${pair%:*}
    cp gnu.tar.${pair%:*} no-suffix && same no-suffix
done
xz --format=lzma -q -c < gnu.tar > gnu.tar.lzma && same gnu.tar.lzma
for format in newc odc bin; do
    (cd d && find . | LC_ALL=C sort | cpio -o -H $format) > $format.cpio 2> /dev/null
    same $format.cpio
    gzip -q -c < $format.cpio > $format.cpio.gz && same $format.cpio.gz
done
bsdtar -cf iso.iso --format=iso9660 d 2> /dev/null && same iso.iso
bsdtar -cf ar.ar --format=ar -C d text zeros nothing && same ar.ar

# Links and names that zip and 7z tools treat each in their own way are left out of these.
rm "d/$(printf 'caf\351')" d/soft
bsdtar -cf bsd.zip --format=zip d && same bsd.zip
bsdtar -cf bsd.7z --format=7zip d && same bsd.7z
if command -v zip > /dev/null; then
    zip -q -r info.zip d && same info.zip
    zip -q -0 -r stored.zip d && same stored.zip
else
    echo "skipped: zip"
fi
if command -v 7z > /dev/null; then
    7z a -bd -bso0 p7.7z d > /dev/null && same p7.7z
else
    echo "skipped: 7z"
fi

# Bare compressed files: also several frames, streams or blocks.
cat d/text d/text > twice
for pair in gz:gzip bz2:bzip2 xz:xz zst:zstd lz4:lz4; do
    ${pair#*:} -q -c < d/text > one.${pair%:*}
    "$mb_data" cat one.${pair%:*} | cmp - d/text || fail "cat one.${pair%:*}"
    cat one.${pair%:*} one.${pair%:*} > two.${pair%:*}
    "$mb_data" cat two.${pair%:*} | cmp - twice || fail "cat of two frames of ${pair%:*}"
    ${pair#*:} -q -c < /dev/null > none.${pair%:*}
    [ "$("$mb_data" cat none.${pair%:*} | wc -c)" = 0 ] || fail "cat of nothing in ${pair%:*}"
done
xz -q --block-size=10000 -c < d/text > blocks.xz
"$mb_data" cat blocks.xz | cmp - d/text || fail "cat of xz blocks"
lz4 -q -B4 -BD -c < d/text > blocks.lz4
"$mb_data" cat blocks.lz4 | cmp - d/text || fail "cat of lz4 blocks"
# One layer of compression is one layer.
gzip -q -c < one.gz > twice.gz.gz
"$mb_data" cat twice.gz.gz | cmp - one.gz || fail "cat of .gz.gz"

# What only looks like an archive is plain bytes.
plain() {
    "$mb_data" cat --quiet "$1" | cmp - "$1" || fail "$1 is plain bytes"
}
head -c 100000 /dev/zero > zeros.bin && plain zeros.bin
printf '070701 is how a cpio begins' > cpio.txt && plain cpio.txt
printf 'PK is how a zip begins' > zip.txt && plain zip.txt
printf '#mtree\n./a type=file size=3\n' > mtree.txt && plain mtree.txt
printf 'BZh9 is how bzip2 begins' > bz.txt && plain bz.txt
printf 'no archive' > wrong.tar.gz && plain wrong.tar.gz
printf 'one line\n' > wrong.tar && plain wrong.tar
: > empty && plain empty
printf '\037' > byte && plain byte

# Folders: bytewise order of the whole relative path, at any depth; links are not followed.
mkdir -p f/a f/B
printf 1 > f/B/z; printf 2 > f/a-; printf 3 > f/a/b; printf 4 > "f/a/b c"; printf 5 > f/ab
ln -s ab f/link; ln -s a f/dirlink
[ "$("$mb_data" cat f)" = 12345 ] || fail "folder order: $("$mb_data" cat f)"
[ "$("$mb_data" cat f/)" = 12345 ] || fail "folder with a slash"
[ "$("$mb_data" cat 'f/a*')" = 3425 ] || fail "glob order: $("$mb_data" cat 'f/a*')"
[ "$("$mb_data" cat --include '*b*' f)" = 345 ] || fail "include"
[ "$("$mb_data" cat --include 'a/*' --include ab --exclude '*c' f)" = 35 ] || fail "exclude wins"
[ "$("$mb_data" cat f/ab f/a- f/ab)" = 525 ] || fail "order of arguments"

# A pipe, and a reader that has had enough.
mkfifo p
(cat gnu.tar.zst > p) & bsdtar -xOf gnu.tar > want
"$mb_data" cat p | cmp - want || fail "cat of a pipe"
wait
"$mb_data" cat d/text d/random twice 2> err | head -c 10 > /dev/null
[ ! -s err ] || grep -q random err || fail "a broken pipe is no error: $(cat err)"

# The member at the top is not matched by */Documentation/*, one at any depth is.
mkdir -p t/x/y/Documentation && printf D > t/x/y/Documentation/a.rst && printf x > t/x/y/b.rst
tar -cf t.tar t
[ "$("$mb_data" cat --include '*/Documentation/*.rst' t.tar)" = D ] || fail "include at depth"
for side in train val; do
    "$mb_data" cat --val-fraction 0.5 --side $side gnu.tar | wc -c
done | { read -r a; read -r b; [ $((a + b)) = "$(bsdtar -xOf gnu.tar | wc -c)" ]; } || fail "sides"
[ "$("$mb_data" ls gnu.tar | wc -l)" = "$(bsdtar -tf gnu.tar | wc -l)" ] || fail "ls counts"
# Past the page cache files are read in whole blocks, whatever their size.
head -c 600000 d/random > part
for size in 1 4095 4096 4097 262143 262144 262145 600000; do
    head -c $size part > few
    "$mb_data" cat --direct few 2> /dev/null | cmp - few || fail "--direct: $size bytes"
    "$mb_data" cat --direct --io threads few 2> /dev/null | cmp - few || fail "threads: $size"
done
finish
