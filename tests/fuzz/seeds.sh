#!/bin/sh
# seeds.sh PIPELINE-TEST-MEDIA: makes the seeds in corpus/ anew, small files of every kind.
set -eu
media=$(realpath "$1")
cd "$(dirname "$0")/corpus"
rm -rf archive cursor jsonl image audio safetensors checkpoint state
mkdir archive cursor jsonl image audio safetensors checkpoint state work
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
bsdtar -cf tar.Z --compress a b
bsdtar -cf tar.lz --lzip a b
{ printf '#!/bin/sh\n'; cat a zip a; } > run.zip
printf 'PK\005\006\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' > empty.zip
{ printf MZ; cat a 7z; } > run.exe
xz --format=lzma -c a > a.lzma
{ gzip -nc a; gzip -nc b; } > frames.gz
tar $t -cf - zip a.lzma frames.gz | gzip -n > nested.tar.gz
printf '%b' '{"text":"one"}\n\n{"n":[1,{"text":2}],"text":"z\\u00fcrich"}\r\n{"text":3}\n[]\n' \
    > lines
printf '\357\273\277{"text":"mark"}\n{"text":"\\ud83d\\ude00 \\n"}' > mark
cp tar pax cpio zip 7z ar tar.gz tar.bz2 tar.xz tar.zst tar.lz4 tar.Z tar.lz a.lzma frames.gz \
    run.zip empty.zip run.exe nested.tar.gz ../archive
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
lane=
for name in epoch block window given source member inner offset header frame_in frame_out check \
    check_bytes; do
    lane="$lane${lane:+, }\"$name\": 0"
done
run() {
    printf '{"step": 4, "bytes": 9, "steps": 8, "seed": "1", "precision": "fp32", '
    printf '"bits_per_byte": 1.5, "line_nats": 0.0, "line_bytes": 0, "made_on": {"threads": 2}, '
    printf '"data": {"cursor": {"epoch": 0, "lanes": [%s]}, "choice": {}, ' "$1"
    printf '"sources": [{"path": "a", "size": 3, "head": "0f", "tail": "1"}]}}'
}
run "{$lane}" > ../state/one
run "{$lane}, {$lane}" > ../state/two
run '' > ../state/none
run "$(echo "{$lane}" | sed 's/"window": 0/"window": 2/')" > ../state/window
run "$(echo "{$lane}" | sed 's/"offset": 0/"offset": 16/; s/"block": 0/"block": 1/')" \
    > ../state/block
seal='{\n "xxh64": "0000000000000000", "format": "megabyte-checkpoint", "version": 1'
file='{"size": 9, "xxh64": "0123456789abcdef"}'
printf "$seal"', "step": 5, "files": {"model.safetensors": %s}, "state": {"a": [1, "b"]}}' \
    "$file" > ../checkpoint/model
printf "$seal"', "step": 5, "files": {"model.safetensors": %s, "optimizer.safetensors": %s}, '\
'"state": {}}' "$file" "$file" > ../checkpoint/both
printf '{"seq_len": 64, "patch_size": 4, "lr": 1e-3, "preset": "x"}' > ../checkpoint/settings
cd ..
rm -rf work
