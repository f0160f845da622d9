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
"$mb_eval" $cpu --quiet --json --images 8 images media.tar > all.json || fail "mb-eval --images"
json all.json 'o["bytes"] == 30 * 192 and 0 < o["bits_per_byte"] < 9'
"$mb_generate" $cpu --quiet --bytes 192 images > made || fail "mb-generate"
[ "$(wc -c < made)" = 192 ] || fail "$(wc -c < made) bytes were made"
"$mb_data" stat --json --images 8 media.tar > stat.json || fail "mb-data stat"
json stat.json 'o["members"] == 30 and o["left_out"] == 5 and o["bytes"] == 30 * 192'
[ "$("$mb_data" ls --images 8 media.tar | grep -c 'png$')" = 30 ] || fail "mb-data ls"
expect 1 'begun with --images 8, and now it is 0' "$mb_train" $cpu $image --quiet --steps 14 \
    --val-fraction 0.3 --out images media.tar
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
"$mb_data" cat --audio --audio-rate 8000 media/1.wav > half || fail "--audio-rate"
python3 -c 'import os; assert abs(os.path.getsize("half") - 2001) <= 4' || fail "half the rate"
