#!/bin/sh
# Where a zip or 7z begins and ends: comments, what comes before and behind, nothing in it, cut.
# $1: mb-data
set -u
. "$(dirname "$0")/shell.sh"
tool python3 tar gzip

cat > make.py <<'PY'
import io, os, struct, tarfile, zipfile

def make(n=3, comment=b'', kind=zipfile.ZIP_DEFLATED, pipe=False):
    out = io.BytesIO()
    class Pipe:
        write = staticmethod(out.write)
        flush = staticmethod(lambda: None)
    with zipfile.ZipFile(Pipe() if pipe else out, 'w', kind) as z:
        for i in range(n):
            z.writestr('m%d' % i, b'member %d\n' % i * 1000)
        z.comment = comment
    return out.getvalue()

def large(data): # with the records of a zip of more than 4 GiB
    end = data.rindex(b'PK\5\6')
    n, = struct.unpack('<H', data[end + 10:end + 12])
    place = struct.unpack('<II', data[end + 12:end + 20])
    return (data[:end] + struct.pack('<4sQHHIIQQQQ', b'PK\6\6', 44, 45, 45, 0, 0, n, n, *place) +
            struct.pack('<4sIQI', b'PK\6\7', 0, end, 1) +
            struct.pack('<4sHHHHIIH', b'PK\5\6', 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0))

def moved(data, by): # offsets count from the first byte of the program before it
    data = bytearray(data)
    at = end = data.rindex(b'PK\5\6')
    at = data.index(b'PK\1\2')
    while at != end:
        struct.pack_into('<I', data, at + 42, struct.unpack_from('<I', data, at + 42)[0] + by)
        at += 46 + sum(struct.unpack_from('<HHH', data, at + 28))
    struct.pack_into('<I', data, end + 16, struct.unpack_from('<I', data, end + 16)[0] + by)
    return bytes(data)

def write(name, data):
    with open(name, 'wb') as f:
        f.write(data)

good = make()
stub = b'#!/bin/sh\nexit 0\n' + b'PK\3\4 PK\5\6 x\n' * 500
write('want', b''.join(b'member %d\n' % i * 1000 for i in range(3)))
write('want2', b''.join(b'member %d\n' % i * 1000 for i in range(2)))
write('nothing', b'')
os.mkdir('whole') # read in full without a word
for name, data in {
    'plain': good, 'piped': make(pipe=True), 'stored': make(kind=zipfile.ZIP_STORED),
    '16k': make(comment=b'c' * 16384), '16k-1': make(comment=b'c' * 16362),
    '64k': make(comment=b'c' * 65535),
    'end': make(comment=b'c' * 20000 + b'PK\5\6' + b'\0' * 40000),
    'in-comment': make(comment=b'x' + make(1) + b'y'), 'zeros': good + bytes(70000),
    'large': large(good),
}.items():
    write('whole/%s.zip' % name, data)
os.mkdir('noted') # and what is beside it is told
for name, data in {
    'behind': good + b'tail' * 50000, 'far': good + b'0123456789abcdef' * (5 << 16),
    'behind-comment': make(comment=b'c' * 60000) + b'T' * 30000,
    'large': large(good) + b't' * 40000,
    'before': b'q' * 777 + good, 'stub': stub + good, 'moved': stub + moved(good, len(stub)),
    'stub-large': stub + large(good), 'stub-64k': stub + make(comment=b'c' * 65535) + b'signed',
    'cut-comment': make(comment=b'c' * 1000)[:-200], 'second': make(2) + good,
    'windows': b'MZ' + bytes(300000) + good,
}.items():
    write('noted/%s.zip' % name, data)
write('noted/nameless', stub + good)
os.mkdir('empty')
for name, data in {'no': make(0), 'comment': make(0, b'hello'), 'tail': make(0) + b'tail'}.items():
    write('empty/%s.zip' % name, data)
os.mkdir('bad')
out = io.BytesIO()
with zipfile.ZipFile(out, 'w') as z:
    z.writestr('inner.zip', good)
    z.writestr('x', 'y' * 100)
outer = out.getvalue()
write('nest.zip', outer)
write('nest.want', open('want', 'rb').read() + b'y' * 100)
inner_end = outer.index(b'PK\5\6') + 22
for name, data in {
    'end': good[:-22], 'record': good[:-1], 'half': good[:len(good) // 2],
    'directory': good[:good.index(b'PK\1\2') + 20], 'inner': outer[:inner_end],
    'inner-more': outer[:inner_end + 50], 'front': good[:4] + good[40:],
}.items():
    write('bad/%s.zip' % name, data)
parts = bytearray(good)
parts[parts.rindex(b'PK\5\6') + 4] = parts[parts.rindex(b'PK\5\6') + 6] = 1
write('part.zip', parts)
with tarfile.open('all.tar', 'w') as t:
    for folder in ('whole', 'empty', 'noted'):
        for file in sorted(os.listdir(folder)):
            t.add(folder + '/' + file)
PY
python3 make.py || fail "make.py"

# NAME WANT NOTES: the bytes of NAME, with so many lines
gives() {
    "$mb_data" cat "$1" > got 2> err || fail "$1: $(cat err)"
    cmp -s got "$2" || fail "$1: $(wc -c < got) bytes, not those of $2"
    sed -i "/io_uring is refused/d" err
    [ "$(wc -l < err)" = "$3" ] || fail "$1: not $3 notes: $(cat err)"
}
for f in whole/*; do
    gives "$f" want 0
    gzip -c "$f" > x.zip.gz # where it cannot be read from its end
    gives x.zip.gz want 0
    rm x.zip.gz
done
for f in noted/*; do
    gives "$f" want 1
done
grep -q 'a zip too' err && fail "a program is no zip"
"$mb_data" cat noted/second.zip 2>&1 > /dev/null | grep -q 'a zip too' ||
    fail "the first of two zips"
gives nest.zip nest.want 0
gives empty/no.zip nothing 0
gives empty/comment.zip nothing 0
gives empty/tail.zip nothing 1
for f in empty/*; do
    gzip -c "$f" > x.gz
    "$mb_data" cat x.gz > got 2> err || fail "$f: $(cat err)"
    [ ! -s got ] || fail "$f is a zip of nothing"
done
for f in bad/*; do
    "$mb_data" cat "$f" > got 2> err
    [ $? = 1 ] || fail "$f is damaged"
    grep -q 'damaged or cut short' err || fail "$f: $(cat err)"
    [ ! -s got ] || [ "$f" = bad/front.zip ] || fail "$f gives bytes"
done
"$mb_data" cat part.zip 2>&1 | grep -q 'several files: make one' || fail "a part of a zip"

# Inside a tar, held in memory: the same, and what follows comes.
: > all.want
for f in whole/* noted/*; do
    cat want >> all.want
done
"$mb_data" cat all.tar > got 2> err || fail "all.tar: $(cat err)"
cmp got all.want || fail "zips in a tar"
"$mb_data" cat --nested 0 all.tar > got 2> err || fail "--nested 0: $(cat err)"
[ ! -s err ] || sed -i "/io_uring is refused/d" err
[ ! -s err ] || fail "what is not opened is not told of: $(cat err)"
[ "$(wc -c < got)" = "$(cat whole/* empty/* noted/* | wc -c)" ] || fail "--nested 0"

# A program that carries a 7z, and one that carries nothing.
if command -v 7z > /dev/null; then
    7z a -bd -bso0 -bsp0 x.7z want want2 > /dev/null
    { printf 'MZ'; head -c 200000 /dev/zero; printf "7z\274\257'\034 no"; cat x.7z; } > setup.exe
    cat want want2 > both
    gives x.7z both 0
    gives setup.exe both 1
    tar -cf exe.tar setup.exe want
    cat want >> both
    gives exe.tar both 1
fi
{ printf '#!/bin/sh\n'; cat want; } > script
gives script script 0
tar -cf script.tar script
gives script.tar script 0
finish
