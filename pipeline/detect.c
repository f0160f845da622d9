#include "pipeline/detect.h"

#include <string.h>
#include <strings.h>
#ifdef PIPELINE_HAVE_LZMA
#include <lzma.h>
#endif

#include "pipeline/internal.h"

enum { LZMA_TRIED = 65536 }; /* bytes that are decoded to see whether it is lzma */

/* A dictionary of lzma that tools write: 2^n or 2^n + 2^(n-1), from 4 KiB on. */
static bool is_dictionary(uint32_t size)
{
    uint32_t base = size % 3 ? size : size / 3;

    return size >= 4096 && !(base & (base - 1));
}

/* Whether it is dense as compressed data is, and can be decoded as far as it is there. libarchive
 * and xz take anything for lzma that begins like it. */
static bool decodes_as_lzma(const uint8_t *h, size_t n)
{
    size_t zeros = 0, looked = n - 14 < 64 ? n - 14 : 64;

    for (size_t i = 14; i < 14 + looked; i++)
        zeros += h[i] == 0;
    if (zeros * 4 > looked)
        return false;
#ifdef PIPELINE_HAVE_LZMA
    lzma_stream stream = LZMA_STREAM_INIT;
    lzma_ret code = lzma_alone_decoder(&stream, 1ull << 30);
    uint8_t out[4096];

    stream.next_in = h;
    stream.avail_in = n;
    while (code == LZMA_OK && stream.total_out < LZMA_TRIED) {
        size_t before = stream.avail_in;

        stream.next_out = out;
        stream.avail_out = sizeof(out);
        code = lzma_code(&stream, LZMA_RUN);
        if (stream.avail_in == before && stream.avail_out == sizeof(out))
            break;
    }
    n = stream.total_out;
    lzma_end(&stream);
    return n > 0 && (code == LZMA_OK || code == LZMA_STREAM_END || code == LZMA_BUF_ERROR ||
                     code == LZMA_MEMLIMIT_ERROR);
#else
    return false;
#endif
}

/* The old .lzma has no magic number. Take what the tools that wrote it write: a dictionary as
 * above, a size below 1 TiB or "unknown", and the default properties; or other properties, if that
 * can be decoded as far as it is at hand. */
static bool is_lzma(const uint8_t *h, size_t n)
{
    uint32_t low, high;

    if (n < 14 || h[0] >= 225 || h[0] % 9 + h[0] / 9 % 5 > 4 || h[13] != 0)
        return false;
    low = pipeline_little32(h + 5);
    high = pipeline_little32(h + 9);
    if (!is_dictionary(pipeline_little32(h + 1)))
        return false;
    if (high >= 256 && (high != UINT32_MAX || low != UINT32_MAX))
        return false;
    return h[0] == 0x5d || (n >= 24 && (low || high) && decodes_as_lzma(h, n));
}

/* Two bytes of magic are few: what follows must make sense too, so far as the first code, which has
 * nine bits and is a byte. */
static bool is_compress(const uint8_t *h, size_t n)
{
    if (n < 3 || h[0] != 0x1f || h[1] != 0x9d || (h[2] & 0x60) || (h[2] & 31) < 9 ||
        (h[2] & 31) > 16)
        return false;
    return n == 3 || (n > 4 && !(h[4] & 1));
}

enum detect_filter pipeline_detect_filter(const uint8_t *h, size_t n)
{
    if (n >= 4 && h[0] == 0x1f && h[1] == 0x8b && h[2] == 8 && !(h[3] & 0xe0))
        return FILTER_GZIP;
    if (n >= 10 && !memcmp(h, "BZh", 3) && h[3] >= '1' && h[3] <= '9' &&
        (!memcmp(h + 4, "1AY&SY", 6) || !memcmp(h + 4, "\x17\x72\x45\x38\x50\x90", 6)))
        return FILTER_BZIP2;
    if (n >= 6 && !memcmp(h,
                          "\xfd"
                          "7zXZ",
                          6))
        return FILTER_XZ;
    if (n >= 6 && !memcmp(h, "LZIP", 4) && h[4] <= 1 && (h[5] & 31) >= 12 && (h[5] & 31) <= 29)
        return FILTER_LZIP;
    if (is_compress(h, n))
        return FILTER_COMPRESS;
    if (is_lzma(h, n))
        return FILTER_LZMA;
    /* Frames to be skipped may stand before either of these; they carry their own length. */
    for (size_t at = 0; at + 4 <= n;) {
        uint32_t magic = pipeline_little32(h + at);

        if (magic == 0xfd2fb528)
            return FILTER_ZSTD;
        if (magic == 0x184d2204 || (magic == 0x184c2102 && at == 0))
            return FILTER_LZ4;
        if ((magic & 0xfffffff0) != 0x184d2a50)
            break;
        if (at + 8 > n || pipeline_little32(h + at + 4) > n - at - 8)
            return FILTER_ZSTD;
        at += 8 + pipeline_little32(h + at + 4);
    }
    return FILTER_NONE;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i])
            return false;
    }
    return true;
}

static bool ends_with(const char *name, size_t length, const char *suffix)
{
    size_t n = strlen(suffix);

    return length > n && !strncasecmp(name + length - n, suffix, n);
}

size_t pipeline_detect_bare_length(const char *name)
{
    static const char *const suffixes[] = {".gz",  ".bz2", ".xz", ".lzma",
                                           ".zst", ".lz4", ".lz", ".Z"};
    size_t length = strlen(name);

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (ends_with(name, length, suffixes[i]))
            return length - strlen(suffixes[i]);
    }
    return length;
}

static bool promises_tar(const char *name)
{
    static const char *const suffixes[] = {".tgz", ".tbz",  ".tbz2", ".txz",
                                           ".tlz", ".tzst", ".tlz4", ".taz"};
    size_t length = strlen(name);

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (ends_with(name, length, suffixes[i]))
            return true;
    }
    return ends_with(name, pipeline_detect_bare_length(name), ".tar");
}

/* A tar header carries a checksum of itself; old tars summed signed bytes. */
static bool tar_checksum_holds(const uint8_t *h)
{
    long plain = 8 * ' ', with_sign = 8 * ' ', stored = 0;
    size_t i = 148;

    while (i < 154 && h[i] == ' ')
        i++;
    if (h[i] < '0' || h[i] > '7')
        return false;
    for (; i < 156 && h[i] >= '0' && h[i] <= '7'; i++)
        stored = stored * 8 + (h[i] - '0');
    for (i = 0; i < 512; i++) {
        if (i >= 148 && i < 156)
            continue;
        plain += h[i];
        with_sign += (int8_t)h[i];
    }
    return stored == plain || stored == with_sign;
}

static bool is_tar(const uint8_t *h, size_t n, const char *name, bool *damaged)
{
    if (n < 512)
        return false;
    if (all_zero(h, 512))
        return promises_tar(name);
    if (tar_checksum_holds(h))
        return true;
    *damaged = !memcmp(h + 257, "ustar", 5) && (h[262] == 0 || h[262] == ' ');
    return *damaged;
}

/* The old binary header has only 16 bits of magic, so the fields must make sense as well. */
static bool is_binary_cpio(const uint8_t *h, size_t n)
{
    bool big = n >= 26 && h[0] == 0x71 && h[1] == 0xc7;
    unsigned mode, name_size;

    if (n < 26 || (!big && !(h[0] == 0xc7 && h[1] == 0x71)))
        return false;
    mode = big ? h[6] << 8 | h[7] : h[7] << 8 | h[6];
    name_size = big ? h[20] << 8 | h[21] : h[21] << 8 | h[20];
    if (name_size < 2 || name_size > 4096 || 26 + name_size > n)
        return false;
    return h[26 + name_size - 1] == 0 && !memchr(h + 26, 0, name_size - 1) &&
           ((mode & 0170000) != 0 || !memcmp(h + 26, "TRAILER!!!", name_size));
}

static bool is_cpio(const uint8_t *h, size_t n)
{
    size_t digits = 0;

    if (is_binary_cpio(h, n))
        return true;
    if (n < 6 || memcmp(h, "07070", 5) || (h[5] != '1' && h[5] != '2' && h[5] != '7'))
        return false;
    /* "070701" may also begin a text: the header goes on in (hexa)decimal digits. */
    while (6 + digits < n && digits < 70 && strchr("0123456789abcdefABCDEF", h[6 + digits]) &&
           h[6 + digits])
        digits++;
    return digits == 70 || 6 + digits == n;
}

enum detect_format pipeline_detect_format(const uint8_t *h, size_t n, const char *name,
                                          bool *damaged)
{
    *damaged = false;
    if (n >= 4 && (!memcmp(h, "PK\3\4", 4) || !memcmp(h, "PK\5\6", 4)))
        return FORMAT_ZIP;
    if (n >= 8 && !memcmp(h, "PK00PK\3\4", 8))
        return FORMAT_ZIP;
    if (n >= 6 && !memcmp(h, "7z\xbc\xaf\x27\x1c", 6))
        return FORMAT_7ZIP;
    if (n >= 8 && !memcmp(h, "!<arch>\n", 8))
        return FORMAT_AR;
    if (is_cpio(h, n))
        return FORMAT_CPIO;
    if (n >= DETECT_BYTES && !memcmp(h + 32769, "CD001", 5))
        return FORMAT_ISO;
    if (is_tar(h, n, name, damaged))
        return FORMAT_TAR;
    return FORMAT_PLAIN;
}

/* Names that promise something, how such a file begins, and the least bytes one can have. */
static const struct {
    const char *suffix, *what, *magic;
    size_t magic_bytes, shortest;
} promises[] = {
    {".gz", "gzip", "\x1f\x8b\x08", 3, 18},
    {".tgz", "gzip", "\x1f\x8b\x08", 3, 18},
    {".bz2", "bzip2", "BZh", 3, 14},
    {".tbz", "bzip2", "BZh", 3, 14},
    {".tbz2", "bzip2", "BZh", 3, 14},
    {".xz", "xz",
     "\xfd"
     "7zXZ",
     6, 32},
    {".txz", "xz",
     "\xfd"
     "7zXZ",
     6, 32},
    {".lzma", "lzma", "\x5d", 1, 18},
    {".tlz", "lzma", "\x5d", 1, 18},
    {".zst", "zstd", "\x28\xb5\x2f\xfd", 4, 9},
    {".tzst", "zstd", "\x28\xb5\x2f\xfd", 4, 9},
    {".lz4", "lz4", "\x04\x22\x4d\x18", 4, 11},
    {".lz", "lzip", "LZIP", 4, 36},
    {".Z", "compress", "\x1f\x9d", 2, 3},
    {".taz", "compress", "\x1f\x9d", 2, 3},
    {".zip", "zip", "PK\3\4", 4, 22},
    {".7z", "7z", "7z\xbc\xaf\x27\x1c", 6, 32},
    {".cpio", "cpio", "07070", 5, 76},
    {".a", "ar", "!<arch>\n", 8, 8},
    {".ar", "ar", "!<arch>\n", 8, 8},
    {".deb", "ar", "!<arch>\n", 8, 8},
};

const char *pipeline_detect_promise(const uint8_t *h, size_t n, const char *name, bool *cut)
{
    size_t length = strlen(name);

    *cut = false;
    for (size_t i = 0; i < sizeof(promises) / sizeof(promises[0]); i++) {
        size_t known = promises[i].magic_bytes < n ? promises[i].magic_bytes : n;

        if (!ends_with(name, length, promises[i].suffix))
            continue;
        *cut = n > 0 && n < promises[i].shortest && !memcmp(h, promises[i].magic, known);
        return promises[i].what;
    }
    if (ends_with(name, length, ".iso")) {
        *cut = n > 0 && n < DETECT_BYTES && all_zero(h, n < 32768 ? n : 32768);
        return "iso9660";
    }
    if (!ends_with(name, length, ".tar"))
        return NULL;
    /* A cut header is a name with zeros after it. */
    *cut = n > 0 && n < 512 && (n > 100 ? memchr(h, 0, n) != NULL : !memchr(h, '\n', n));
    return "tar";
}

const char *pipeline_filter_name(enum detect_filter filter)
{
    static const char *const names[] = {"none", "gzip", "bzip2", "xz",      "lzma",
                                        "zstd", "lz4",  "lzip",  "compress"};

    return names[filter];
}

const char *pipeline_format_name(enum detect_format format)
{
    static const char *const names[] = {"plain", "tar", "cpio", "zip", "7z", "ar", "iso9660"};

    return names[format];
}
