#!/bin/sh
# tools/bundle: the programs run from a folder with all that they need, also where there is nothing
# but a shell. $1: tools/bundle, $2: the build folder
set -u
bundle=$1 build=$2
scratch=$(mktemp -d) || exit 1
trap 'cd /; rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
fail() {
    echo "failed: $*" >&2
    exit 1
}
[ "$(uname -m)" = x86_64 ] || { echo "skipped: not x86-64"; exit 77; }
chroot=$(PATH=$PATH:/usr/sbin:/sbin command -v chroot) || { echo "skipped: no chroot"; exit 77; }

"$bundle" --build "$build" made > log 2>&1 || fail "tools/bundle: $(cat log)"
mkdir other && : > other/kept
"$bundle" --build "$build" other > log 2>&1 && fail "a folder of another kind was overwritten"
[ -e other/kept ] || fail "a folder of another kind was emptied"

# A system with a shell and the C library that it takes, and no more.
mkdir -p bare/bin bare/lib64 bare/tmp
cp -L "$(command -v sh)" bare/bin/sh
for library in $(ldd bare/bin/sh | grep -o '/[^ ]*'); do
    mkdir -p "bare$(dirname "$library")"
    cp -L "$library" "bare$library"
done
mv made bare/moved
seq 1 3000 > bare/data
env -i "$chroot" bare /bin/sh -c : 2> /dev/null || { echo "skipped: chroot is refused"; exit 77; }
env -i PATH=/bin "$chroot" bare /moved/mb-data cat /data > out 2> err ||
    fail "mb-data in a bare root: $(cat err)"
cmp out bare/data || fail "other bytes"
env -i "$chroot" bare /moved/mb-train --device cpu --quiet --steps 2 --set batch=1 --out /run \
    /data > out 2> err || fail "mb-train in a bare root: $(cat err)"
env -i "$chroot" bare /bin/sh -c 'PATH=/moved && mb-generate --device cpu --quiet --bytes 8 /run' \
    > out 2> err || fail "mb-generate, found by its name: $(cat err)"
[ "$(wc -c < out)" = 8 ] || fail "$(wc -c < out) bytes were made"
