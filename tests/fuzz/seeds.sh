#!/bin/sh
# seeds.sh PIPELINE-TEST-MEDIA: makes the seeds in corpus/ anew, small files of every kind.
set -eu
media=$(realpath "$1")
cd "$(dirname "$0")/corpus"
rm -rf archive cursor jsonl image audio safetensors
mkdir archive cursor jsonl image audio safetensors work
cd work
seq 1 30 > a
printf 'b\000\377' > b
: > c
t="--mtime=@1 --owner=0 --group=0 --numeric-owner --sort=name"
tar $t -b 1 -cf tar a b c
bsdtar -cf pax --format=pax a b
bsdtar -cf cpio --format=newc a b
bsdtar -cf zip --format=zip a b
bsdtar -cf 7z --format=7zip a b
bsdtar -cf ar --format=ar a b
gzip -nc tar > tar.gz
bzip2 -c tar > tar.bz2
xz -c tar > tar.xz
zstd -qc tar > tar.zst
lz4 -qc tar > tar.lz4
xz --format=lzma -c a > a.lzma
{ gzip -nc a; gzip -nc b; } > frames.gz
tar $t -cf - zip a.lzma frames.gz | gzip -n > nested.tar.gz
printf '%b' '{"text":"one"}\n\n{"n":[1,{"text":2}],"text":"z\\u00fcrich"}\r\n{"text":3}\n[]\n' \
    > lines
printf '\357\273\277{"text":"mark"}\n{"text":"\\ud83d\\ude00 \\n"}' > mark
cp tar pax cpio zip 7z ar tar.gz tar.bz2 tar.xz tar.zst tar.lz4 a.lzma frames.gz nested.tar.gz \
    ../archive
for f in tar zip tar.zst tar.xz nested.tar.gz a; do
    { printf '\0\1\1\0\1\5\0\0\0\0\0'; cat $f; } > ../cursor/$f
    { printf '\0\0\0\2\0\50\0\0\0\1\2\0'; cat $f; } > ../cursor/$f.in
done
cp lines mark ../jsonl
"$media" .
mv ./*.png ./*.jpg ../image
mv ./*.wav ./*.flac ../audio
tensors() {
    printf "\\$(printf %03o ${#2})\\0\\0\\0\\0\\0\\0\\0%s%s" "$2" "$3" > "$1"
}
tensors ../safetensors/one '{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 12345678
tensors ../safetensors/two \
    '{"__metadata__":{"format":"x"},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}'\
',"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[1,5]}}' 12345
tensors ../safetensors/none '{}' ''
cd ..
rm -rf work
