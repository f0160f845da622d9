#!/bin/sh
# Compression that is taken off, and what is packed in ways that are not read, which is named.
# $1: mb-data
set -u
. "$(dirname "$0")/shell.sh"
tool python3 tar

cat > make.py <<'PY'
import lzma, os, struct, tarfile, zlib

def write(name, data):
    with open(name, 'wb') as f:
        f.write(data)

class Codes:
    """Codes of compress (.Z), the lowest bit first, in groups of eight of one width."""
    def __init__(self):
        self.out, self.bits, self.n, self.group = bytearray(), 0, 0, 0
    def put(self, code, width):
        self.bits |= code << self.n
        self.n += width
        self.group += 1
        while self.n >= 8:
            self.out.append(self.bits & 255)
            self.bits >>= 8
            self.n -= 8
    def end_group(self, width):
        while self.group % 8:
            self.put(0, width)
        self.group = 0

def compress(data, most=16, clears=True, every=0):
    codes, first, text = Codes(), 257 if clears else 256, b''
    table, width, following = {bytes([i]): i for i in range(256)}, 9, first
    for i in range(len(data)):
        longer = text + data[i:i + 1]
        if longer in table:
            text = longer
            continue
        codes.put(table[text], width)
        if following < 1 << most:
            table[longer] = following
            following += 1
        if following > 1 << width and width < most: # who decodes has its strings a code later
            codes.end_group(width)
            width += 1
        if clears and every and i % every == 0:
            codes.put(256, width)
            codes.end_group(width)
            table, width, following = {bytes([k]): k for k in range(256)}, 9, first
        text = data[i:i + 1]
    if text:
        codes.put(table[text], width)
    if codes.n:
        codes.out.append(codes.bits & 255)
    return bytes([0x1f, 0x9d, most | (128 if clears else 0)]) + bytes(codes.out)

def lzip(data, log=16):
    filters = [{'id': lzma.FILTER_LZMA1, 'dict_size': 1 << log, 'lc': 3, 'lp': 0, 'pb': 2}]
    raw = lzma.compress(data, lzma.FORMAT_RAW, filters=filters)
    return (b'LZIP\1' + bytes([log]) + raw +
            struct.pack('<IQQ', zlib.crc32(data), len(data), len(raw) + 26))

def alone(data, lc=3, lp=0, pb=2, size=1 << 16):
    filters = [{'id': lzma.FILTER_LZMA1, 'dict_size': size, 'lc': lc, 'lp': lp, 'pb': pb}]
    return lzma.compress(data, lzma.FORMAT_ALONE, filters=filters)

text = b''.join(b'%d\n' % i for i in range(30000))
write('text', text)
tar = open('text.tar', 'rb').read() if os.path.exists('text.tar') else b''
with tarfile.open('text.tar', 'w') as t:
    t.add('text')
tar = open('text.tar', 'rb').read()
for folder in ('z', 'noted', 'lone', 'bad'):
    os.mkdir(folder)
for most in range(9, 17):
    write('z/%d.Z' % most, compress(text, most))
    write('z/%d-old.Z' % most, compress(text, most, False))
write('z/clear.Z', compress(text, 14, True, 30011))
write('z/text.tar.Z', compress(tar))
write('z/text.tar.lz', lzip(tar))
write('z/text.lz', lzip(text))
# An output block of the decoder ends where a member does; one member is empty.
write('z/many.lz', lzip(text[:65536]) + lzip(b'') + lzip(text[65536:131072]) + lzip(text[131072:]))
write('z/zeros.lz', lzip(text) + bytes(3000))
for lc, lp, pb in ((3, 0, 2), (4, 0, 2), (0, 0, 0), (0, 4, 0), (1, 1, 1), (2, 0, 4), (3, 1, 0)):
    for size in (4096, 6144, 1 << 20, 3 << 20, 1 << 23):
        write('z/%d%d%d-%d.lzma' % (lc, lp, pb, size), alone(text, lc, lp, pb, size))
sized = bytearray(alone(text, 4, 0, 2))
sized[5:13] = struct.pack('<Q', len(text))
write('z/sized.lzma', sized)
write('zeros.Z', compress(bytes(500000)))
write('none.Z', compress(b''))
write('empty.lz', lzip(b''))
z = compress(text)
write('bad/inside.Z', z[:len(z) // 2] if len(z) // 2 % 2 else z[:len(z) // 2 + 1])
write('bad/code.Z', z[:3] + b'\x41\xfe\xff\xff')
tarz = compress(tar)
write('bad/cut.tar.Z', tarz[:len(tarz) // 2])
whole = lzip(text)
for name, data in {
    'cut': whole[:-1], 'half': whole[:len(whole) // 2], 'tail': whole[:-20],
    'sum': whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],
    'size': whole[:-16] + bytes([whole[-16] ^ 1]) + whole[-15:],
    'member': whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],
    'second': whole + whole[:-7], 'more': whole + b'more',
}.items():
    write('bad/%s.lz' % name, data)
write('bad/half.lzma', alone(text, 4)[:5000])

# What is not read: a few bytes of each that are true to its format.
def lha():
    body = b'-lh5-' + struct.pack('<IIIBB', 10, 10, 0, 32, 0) + b'\1a' + b'\0\0'
    return bytes([len(body), sum(body) & 255]) + body + b'x' * 40
def arj():
    head = bytes([30, 11, 1, 0, 0, 0, 2, 0]) + bytes(22) + b'\0\0'
    return b'\x60\xea' + struct.pack('<H', len(head)) + head + struct.pack('<I', zlib.crc32(head))
uu = b'begin 644 x\n' + b'M' + b'0' * 60 + b'\n' + b'M' + b'1' * 60 + b'\n`\nend\n'
foreign = {
    'a.rar': b'Rar!\x1a\7\0\xcf\x90\x73' + bytes(50), 'b.rar': b'Rar!\x1a\7\1\0' + bytes(50),
    'a.cab': b'MSCF\0\0\0\0' + struct.pack('<IIIIBB', 99, 0, 44, 0, 3, 1) + bytes(80),
    'a.lzh': lha(), 'a.arj': arj(), 'a.uu': uu,
    'a.xar': b'xar!\0\x1c\0\1' + bytes(60), 'a.rpm': b'\xed\xab\xee\xdb\3\0\0\0' + bytes(100),
    'a.lzo': b'\x89LZO\0\r\n\x1a\n' + bytes(30), 'a.lrz': b'LRZI\0\6' + bytes(30),
    'a.grz': b'GRZipII\0\2\4:)' + bytes(30), 'a.warc': b'WARC/1.0\r\nWARC-Type: x\r\n',
    'a.sz': b'\xff\6\0\0sNaPpY' + bytes(30), 'a.z01': b'PK\7\10PK\3\4' + bytes(60),
    'a.zpaq': b'7kSt\xa0\x31\x83\xd3\x8c\xb2\x28\xb0\xd3zPQ\1\1' + bytes(30),
    'a.ace': b'\0\0\0\0\0\0\0**ACE**' + bytes(30), 'a.parquet': b'PAR1\x15\4' + bytes(60),
    'a.squashfs': b'hsqs' + bytes(24) + b'\4\0\0\0' + bytes(80),
    'a.wim': b'MSWIM\0\0\0' + bytes(60),
    'a.7z.002': bytes(range(256)), 'a.z02': bytes(range(256)),
    'a.dmg': b'x\1' + bytes(range(256)) * 9 + b'koly' + bytes(508),
    'setup.exe': b'MZ' + bytes(5000) + b'Rar!\x1a\7\0\xcf\x90\x73' + bytes(50),
    'old.zst': b'\x27\xb5\x2f\xfd' + bytes(range(60)), 'a.run': b'#!/bin/sh\n# This script was '
    b'generated using Makeself 2.4\n' + bytes(60),
}
for name, data in foreign.items():
    write('noted/' + name, data)
lone = { # and what only begins like it
    'a': b'Rar! is a word', 'b': b'MSCF is no cabinet\0\0', 'c': b'12-lh5- is a method of lha.' * 9,
    'd': b'\x60\xea' + bytes(range(256)), 'e': b'xar!' * 20, 'f': b'hsqs' * 90,
    'g': b'WARC/one is how it begins', 'h': b'LZIP is a program' * 9,
    'i': b'\x1f\x9d' + b'\xff' * 99,
    'j': b'PAR1: the first part of a text' * 3, 'k': bytes(4096), 'l': bytes([0, 0, 0, 1]) * 3000,
    'm': b'\0\0\0\1\0' + bytes(99), 'n': b'begin 644 the day well\nMonday\n' * 9,
    'o': bytes(range(256)),
    'p': b'LRZI' + b'Z' * 99, 'q': struct.pack('<III', 0, 16, 0) * 500, 'r': b'bvx2' + b'\0' * 99,
    's': b'\x01\0\0\1\0' + struct.pack('<Q', 9000) + bytes(9000),
    't': bytes([93 - 9]) + struct.pack('<IQ', 4096, 2**64 - 1) + b'\0' + b'no lzma at all' * 99,
}
for name, data in lone.items():
    write('lone/' + name, data)
with tarfile.open('noted.tar', 'w') as t:
    for i in range(3):
        for name in sorted(foreign):
            t.add('noted/' + name, '%d/%s' % (i, name))
with tarfile.open('lone.tar', 'w') as t:
    t.add('lone')
PY
python3 make.py || fail "make.py"

notes() { # so many lines in err
    sed -i "/io_uring is refused/d" err
    [ "$(wc -l < err)" = "$1" ] || fail "$2: not $1 notes: $(cat err)"
}
lzip=yes
"$mb_data" cat z/text.lz 2> err > /dev/null ||
    ! grep -q 'built* with* liblzma\|build with liblzma' err ||
    lzip=no
for f in z/*; do
    case $f in
    *.lz) [ $lzip = yes ] || continue ;;
    *.lzma) [ $lzip = yes ] || continue ;;
    esac
    "$mb_data" cat "$f" > got 2> err || fail "$f: $(cat err)"
    cmp -s got text || fail "$f: $(wc -c < got) bytes"
    notes 0 "$f"
done
"$mb_data" stat --json z/text.tar.Z | grep -q '"compress"' || fail "the name of compress"
"$mb_data" cat zeros.Z | cmp -n 500000 - /dev/zero || fail "zeros.Z"
[ "$("$mb_data" cat none.Z | wc -c)" = 0 ] || fail "none.Z"
[ $lzip = no ] || [ "$("$mb_data" cat empty.lz | wc -c)" = 0 ] || fail "empty.lz"
tar -cf z.tar z
if [ $lzip = yes ]; then
    for f in z/*; do cat text; done > want
    "$mb_data" cat z.tar > got 2> err || fail "z.tar: $(cat err)"
    cmp got want || fail "compressed members"
    notes 0 z.tar
    "$mb_data" cat --on-corrupt skip --include 'z/text*' z.tar | head -c 168890 | cmp - text ||
        fail "some of z.tar"
fi
for f in bad/*; do
    case $f in
    *.lz | *.lzma) [ $lzip = yes ] || continue ;;
    esac
    "$mb_data" cat "$f" > got 2> err
    [ $? = 1 ] || fail "$f is damaged"
    grep -q 'damaged or cut short' err || fail "$f: $(cat err)"
done

# Taken as they are, with a note; in an archive, one for each kind.
for f in noted/*; do
    "$mb_data" cat "$f" > got 2> err || fail "$f: $(cat err)"
    cmp -s got "$f" || fail "$f: not its bytes"
    notes 1 "$f"
    grep -q 'which is not read: its bytes are taken as they are' err || fail "$f: $(cat err)"
done
for i in 1 2 3; do cat noted/*; done > /dev/null
"$mb_data" cat noted.tar > got 2> err || fail "noted.tar: $(cat err)"
[ "$(wc -c < got)" = "$(($(cat noted/* | wc -c) * 3))" ] || fail "noted.tar: $(wc -c < got) bytes"
sed 's/.*is \(.*\), which.*/\1/' err | sort | uniq -d | grep . && fail "a kind is noted twice"
grep -c 'which is not read' err > n
[ "$(cat n)" -gt 15 ] || fail "only $(cat n) kinds are noted in an archive"
"$mb_data" cat --nested 0 noted.tar 2> err > got && notes 0 "--nested 0"
for f in lone/* lone.tar; do
    "$mb_data" cat "$f" > got 2> err || fail "$f: $(cat err)"
    [ "$f" = lone.tar ] || cmp -s got "$f" || fail "$f: not its bytes"
    notes 0 "$f"
done

# What asks for something that cannot be had is no damage.
refused() { # FILE PATTERN
    "$mb_data" cat "$1" > got 2> err
    [ $? = 1 ] || fail "$1 is refused"
    notes 1 "$1"
    grep -q -e "$2" err || fail "$1: $(cat err)"
    grep -q 'damaged or\|fetch' err && fail "$1 is not damaged: $(cat err)"
    printf x > x
    tar -cf in.tar "$1" x
    "$mb_data" cat --on-corrupt skip in.tar 2> err | tail -c 1 | cmp - x ||
        fail "behind $1: $(cat err)"
    grep -q '1 damaged' err || fail "$1 is counted: $(cat err)"
}
if command -v zstd > /dev/null; then
    zstd -q --ultra -22 --long=31 -c < text > window.zst
    refused window.zst 'window of 2048 MiB, more than the [0-9]* MiB allowed'
    zstd -q --long=27 -c < text > fits.zst
    "$mb_data" cat fits.zst | cmp - text || fail "a window of 128 MiB"
    mkdir train && split -l 100 text train/x
    zstd -q --train train/* --maxdict=4096 -o dictionary 2> /dev/null &&
        zstd -q -D dictionary -c text > dictionary.zst && cp dictionary.zst d.zst && {
        refused d.zst 'the zstd dictionary [1-9][0-9]*, which cannot be given'
        { zstd -qc text; printf 'P*M\030\4\0\0\0abcd'; cat d.zst; } > second.zst
        refused second.zst 'the zstd dictionary [1-9]'
    }
fi
printf '\004\042\115\030\141\100\004\003\002\001\000\000\000\000\000' > d.lz4
refused d.lz4 'the lz4 dictionary 16909060'
if command -v 7z > /dev/null; then
    7z a -bd -bso0 -bsp0 -m0=Deflate64 deflate64.7z text &&
        refused deflate64.7z 'Deflate64 is not supported by'
    7z a -bd -bso0 -bsp0 -tzip -mm=Deflate64 deflate64.zip text &&
        refused deflate64.zip 'the way that it is packed is not supported'
    7z a -bd -bso0 -bsp0 -mx=0 -v100k parts.7z text && refused parts.7z.001 'several files: put'
fi
# Of parts that are cut out of anything, only the name says what to do.
head -c 20000 /dev/urandom > noise
tar -czf cut.tar.gz noise && head -c 9000 cut.tar.gz > cut.tar.gz.001
"$mb_data" cat cut.tar.gz.001 > got 2> err && fail "a part is taken for the whole"
grep -q 'one of several parts: put them together first' err || fail "cut.tar.gz.001: $(cat err)"
finish
