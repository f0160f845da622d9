#!/bin/sh
# Images and audio from one command each: trained on, scored and generated. $1...: the programs
set -u
. "$(dirname "$0")/shell.sh"
tool tar python3

python3 - << 'EOF'
import math, os, struct, wave, zlib

def png(path, width, height, pixel):
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in pixel(x, y))
                    for y in range(height))
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2,
                                                                   0, 0, 0))
                + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))

os.mkdir("media")
for i in range(30):
    png("media/%02d.png" % i, 8 + i % 3, 8 + i % 5, lambda x, y: (x * 20, y * 20, i * 8))
for i in range(4):
    with wave.open("media/%d.wav" % i, "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16000)
        f.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(0.01 * (i + 1) * t)))
                               for t in range(2000 + i)))
open("media/text.txt", "w").write("neither\n")
png("exact.png", 8, 8, lambda x, y: (x, y, 8 * y + x))
EOF
tar -C media -cf media.tar .

"$mb_data" cat --images 8 exact.png > exact 2> err
grep -q 'reads no images' err && skipped "built without images"
# Row by row, and in patches of 2 by 2 pixels.
python3 - exact << 'EOF' || fail "raster"
import sys
assert open(sys.argv[1], "rb").read() == bytes(
    v for y in range(8) for x in range(8) for v in (x, y, 8 * y + x))
EOF
"$mb_data" cat --images 8 --image-patch 2 exact.png > exact || fail "--image-patch"
python3 - exact << 'EOF' || fail "patches"
import sys
assert open(sys.argv[1], "rb").read() == bytes(
    v for by in range(0, 8, 2) for bx in range(0, 8, 2) for y in (by, by + 1)
    for x in (bx, bx + 1) for v in (x, y, 8 * y + x))
EOF

# A window is an image; the patches are the model's.
image="$tiny --set seq_len=192 --set patch_size=12 --set global.dim=48"
"$mb_train" $cpu $image --steps 12 --val-fraction 0.3 --images 8 --out images media.tar 2> notes ||
    fail "mb-train --images: $(cat notes)"
grep -q 'images: 8 by 8 pixels, in patches of 2 by 2' notes || fail "no note: $(cat notes)"
"$mb_eval" $cpu --quiet --json --images 8 --side all images media.tar > all.json ||
    fail "mb-eval --images"
json all.json 'o["bytes"] == 30 * 192 and 0 < o["bits_per_byte"] < 9'
# Without an option as the run was trained, and of its own data what it held out.
"$mb_eval" $cpu --json images media.tar > own.json 2> notes || fail "mb-eval: $(cat notes)"
grep -q 'trained: --images 8 --image-patch 2' notes || fail "no note: $(cat notes)"
grep -q 'scoring what it held out' notes || fail "no note: $(cat notes)"
"$mb_eval" $cpu --quiet --json --images 8 --image-patch 2 --val-fraction 0.3 images media.tar \
    > said.json || fail "mb-eval with options"
python3 -c 'import json
own, said = json.load(open("own.json")), json.load(open("said.json"))
assert own["nats"] == said["nats"] and own["side"] == said["side"] == "val", (own, said)
assert 0 < own["bytes"] < 30 * 192 and own["bytes"] % 192 == 0, own' || fail "other bytes"
"$mb_eval" $cpu --quiet --json images exact.png > one.json || fail "mb-eval of an image"
json one.json 'o["bytes"] == 192 and o["side"] == "all"'
"$mb_eval" $cpu --quiet --json --ignore-run images exact.png > one.json || fail "--ignore-run"
json one.json "o['bytes'] == $(wc -c < exact.png)"
"$mb_generate" $cpu --quiet --bytes 192 images > made || fail "mb-generate"
[ "$(wc -c < made)" = 192 ] || fail "$(wc -c < made) bytes were made"

# The same bytes as an image are that image's bytes.
"$mb_generate" $cpu --quiet --png made.png images || fail "mb-generate --png"
"$mb_data" cat --images 8 --image-patch 2 made.png > back || fail "the image made"
cmp -s made back || fail "the image's bytes are others"
"$mb_generate" $cpu --quiet --png made.png --count 2 --json images > made.json || fail "two images"
json made.json '[s["file"] for s in o["sequences"]] == ["made-1.png", "made-2.png"]'
cmp -s made.png made-1.png || fail "the first of two images is another"
cmp -s made-1.png made-2.png && fail "two images are the same"
# Half of one goes on as the other half.
head -c 96 made > half
"$mb_generate" $cpu --quiet --temperature 0 --prompt-file half --png whole.png images ||
    fail "half an image"
"$mb_data" cat --images 8 --image-patch 2 whole.png | head -c 96 | cmp -s - half ||
    fail "the half that was given is another"
# An image file as a prompt is the image, from a pipe too; what is none are the model's bytes.
"$mb_data" cat --images 8 --image-patch 2 exact.png > exact || fail "exact.png"
"$mb_generate" $cpu --bytes 0 --prompt-file exact.png --png same.png images 2> notes ||
    fail "an image as a prompt: $(cat notes)"
grep -q 'exact.png: an image, taken as 8 by 8 pixels, 192 bytes' notes || fail "$(cat notes)"
"$mb_data" cat --images 8 --image-patch 2 same.png | cmp -s - exact || fail "another image"
for bytes in 200 60; do
    for file in exact.png exact; do
        "$mb_generate" $cpu --quiet --bytes $bytes --prompt-file $file images > from-$file ||
            fail "--prompt-file $file"
        "$mb_generate" $cpu --quiet --bytes $bytes --prompt-file - images < $file > piped ||
            fail "--prompt-file - < $file"
        cmp -s from-$file piped || fail "$file through a pipe is another prompt"
    done
    cmp -s from-exact.png from-exact || fail "an image file is not the prompt that its pixels are"
done
"$mb_generate" $cpu --bytes 5 --prompt-file exact images 2>&1 > made | grep -q \
    'exact: no image file, taken as the model.s own 192 bytes' || fail "no note about bytes"
head -c 96 exact > half
"$mb_generate" $cpu --quiet --temperature 0 --prompt-file half --png one.png images || fail "half"
"$mb_generate" $cpu --quiet --temperature 0 --prompt-file exact.png --prompt-bytes 96 \
    --png two.png images || fail "--prompt-bytes"
cmp -s one.png two.png || fail "half of an image file is another half"
head -c 100 exact.png > cut.png
"$mb_generate" $cpu --quiet --bytes 5 --prompt-file cut.png images > made 2> err
[ $? = 1 ] && grep -q 'cut.png cannot be taken as an image' err || fail "cut.png: $(cat err)"
"$mb_generate" $cpu --quiet --image-size 16 --image-patch 1 --png large.png images || fail "16"
"$mb_data" cat --images 16 large.png > rows || fail "an image in rows"
"$mb_generate" $cpu --quiet --bytes 768 images | cmp -s - rows || fail "rows are others"
expect 2 'takes 192 bytes; prompt 1 has 0, and 100' "$mb_generate" $cpu --quiet --bytes 100 \
    --png no.png images
expect 2 'patches of 3 do not fill' "$mb_generate" $cpu --quiet --image-patch 3 --png no.png images
expect 1 'no/a.png' "$mb_generate" $cpu --quiet --png no/a.png images
[ ! -e no.png ] && [ ! -e made.png.part ] || fail "files that were not to be"
"$mb_data" stat --json --images 8 media.tar > stat.json || fail "mb-data stat"
json stat.json 'o["members"] == 30 and o["left_out"] == 5 and o["bytes"] == 30 * 192'
[ "$("$mb_data" ls --images 8 media.tar | grep -c 'png$')" = 30 ] || fail "mb-data ls"
"$mb_train" $cpu --steps 14 --out images media.tar 2> notes || fail "mb-train: $(cat notes)"
grep -q 'trained: --images 8 --image-patch 2 --val-fraction' notes || fail "note: $(cat notes)"
grep -q 'going on in images after step 12' notes || fail "mb-train: $(cat notes)"
expect 1 'begun with --image-patch 2, and now it is 1' "$mb_train" $cpu $image --quiet --steps 14 \
    --val-fraction 0.3 --images 8 --image-patch 1 --out images media.tar
expect 2 'one kind at a time' "$mb_train" $cpu $image --quiet --steps 5 --images 8 --audio \
    --out no media.tar
expect 2 'patches of 5' "$mb_train" $cpu $image --quiet --steps 5 --images 8 --image-patch 5 \
    --out no media.tar
expect 1 'takes PNG and JPEG' "$mb_train" $cpu $image --quiet --steps 5 --images 8 --out no \
    media/text.txt

"$mb_data" cat --audio media/1.wav > samples 2> err
grep -q 'reads no audio' err && skipped "built without audio"
tail -c 4002 media/1.wav | cmp - samples || fail "16-bit samples come out as they are"
"$mb_train" $cpu $tiny --quiet --steps 12 --audio --out audio media.tar || fail "mb-train --audio"
"$mb_eval" $cpu --quiet --json --audio audio media.tar > all.json || fail "mb-eval --audio"
json all.json 'o["bytes"] == 2 * (2000 + 2001 + 2002 + 2003)'
"$mb_train" $cpu $tiny --quiet --steps 12 --audio-rate 8000 --out slow media.tar || fail "8000"
"$mb_eval" $cpu --json slow media.tar > slow.json 2> notes || fail "mb-eval of sounds"
grep -q 'trained: --audio --audio-rate 8000' notes || fail "no note: $(cat notes)"
json slow.json 'abs(o["bytes"] - (2000 + 2001 + 2002 + 2003)) < 40'
"$mb_eval" $cpu --quiet --json --audio slow media.tar > said.json || fail "mb-eval --audio"
python3 -c 'import json; assert json.load(open("slow.json"))["nats"] == json.load(open(
    "said.json"))["nats"]' || fail "--audio alone is at the rate of the run"
"$mb_generate" $cpu --quiet --bytes 3000 audio > made || fail "mb-generate of sounds"
"$mb_generate" $cpu --quiet --bytes 3000 --wav made.wav audio || fail "mb-generate --wav"
"$mb_data" cat --audio made.wav | cmp -s - made || fail "the sound's samples are others"
"$mb_generate" $cpu --quiet --bytes 300 --audio-rate 8000 --wav slow.wav audio || fail "8000"
# A sound file as a prompt is its samples.
"$mb_generate" $cpu --bytes 100 --prompt-file media/1.wav audio > one 2> notes ||
    fail "$(cat notes)"
grep -q '1.wav: a sound, taken as 2001 samples, 16000 a second' notes || fail "$(cat notes)"
"$mb_generate" $cpu --quiet --bytes 100 --prompt-file samples audio > two || fail "samples"
cmp -s one two || fail "a sound file is not the prompt that its samples are"
"$mb_generate" $cpu --bytes 9 --prompt-file media/1.wav slow 2>&1 > made |
    grep -q 'samples, 8000 a second' || fail "the rate of the run"
# A run on bytes takes a file's bytes as they are.
"$mb_train" $cpu $tiny --quiet --steps 3 --out plain media/text.txt || fail "a plain run"
"$mb_generate" $cpu --bytes 5 --prompt-file exact.png plain 2>&1 > made | grep prompt &&
    fail "an image is an image to a run on bytes"
python3 -c 'import wave
for name, rate, frames in (("made.wav", 16000, 1500), ("slow.wav", 8000, 150)):
    f = wave.open(name)
    assert f.getparams()[:4] == (1, 2, rate, frames), (name, f.getparams())' || fail "the header"
expect 2 'samples have two bytes' "$mb_generate" $cpu --quiet --bytes 3 --wav no.wav audio
expect 2 'not trained on images' "$mb_generate" $cpu --quiet --png no.png audio
"$mb_data" cat --audio --audio-rate 8000 media/1.wav > half || fail "--audio-rate"
python3 -c 'import os; assert abs(os.path.getsize("half") - 2001) <= 4' || fail "half the rate"
