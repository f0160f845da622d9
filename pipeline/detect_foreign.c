/*
 * What is plainly an archive or compressed and is not read here: its bytes would be trained on, and
 * a note says so. A mark of a few bytes may begin anything, so that what follows must make sense.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "pipeline/detect.h"
#include "pipeline/internal.h"

/* Formats that show themselves in marks alone. */
static const struct {
    const char *what;
    size_t at, n;
    const char *mark;
} marks[] = {
    {"a RAR archive", 0, 7, "Rar!\x1a\7\0"},
    {"a RAR archive", 0, 8, "Rar!\x1a\7\1\0"},
    {"a cabinet archive (.cab)", 0, 8, "MSCF\0\0\0\0"},
    {"an ACE archive", 7, 7, "**ACE**"},
    {"a Zoo archive", 20, 4, "\xdc\xa7\xc4\xfd"},
    {"a Windows image (.wim)", 0, 8, "MSWIM\0\0\0"},
    {"an EGG archive", 0, 6, "EGGA\0\1"},
    {"an ALZ archive", 0, 8, "ALZ\1\x0a\0\0\0"},
    {"a StuffIt archive", 0, 16, "StuffIt (c)1997-"},
    {"an RPM package", 0, 4, "\xed\xab\xee\xdb"},
    {"a Nix archive", 0, 21, "\r\0\0\0\0\0\0\0nix-archive-1"},
    {"an AIX archive", 0, 8, "<bigaf>\n"},
    {"an AIX archive", 0, 8, "<aiaff>\n"},
    {"the first part of a zip in several files", 0, 8, "PK\7\10PK\3\4"},
    {"a WARC file of web pages", 0, 7, "WARC/0."},
    {"a WARC file of web pages", 0, 7, "WARC/1."},
    {"lzop data", 0, 9, "\211LZO\0\r\n\x1a\n"},
    {"lrzip data", 0, 5, "LRZI\0"},
    {"rzip data", 0, 5, "RZIP\2"},
    {"grzip data", 0, 12, "GRZipII\0\2\4:)"},
    {"bzip3 data", 0, 5, "BZ3v1"},
    {"snappy data", 0, 10, "\xff\6\0\0sNaPpY"},
    {"a zpaq archive", 0, 16, "7kSt\xa0\x31\x83\xd3\x8c\xb2\x28\xb0\xd3zPQ"},
    {"LZFSE data", 0, 4, "bvx2"},
    {"zstd data of before version 0.8", 1, 3, "\xb5\x2f\xfd"},
    {"a squashfs image", 0, 4, "hsqs"},
    {"a cramfs image", 16, 16, "Compressed ROMFS"},
    {"a Parquet table", 0, 4, "PAR1"},
};

static uint32_t big32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Whether what follows a mark that is short makes sense. */
static bool fits(const char *what, const uint8_t *h, size_t n)
{
    if (strstr(what, "RPM"))
        return n >= 96 && h[4] >= 2 && h[4] <= 4 && h[6] == 0 && h[7] <= 1;
    if (strstr(what, "cabinet"))
        return n >= 36 && h[25] == 1 && pipeline_little32(h + 16) < pipeline_little32(h + 8);
    if (strstr(what, "squashfs"))
        return n >= 96 && h[28] == 4 && h[29] == 0 && h[30] == 0 && h[31] == 0;
    if (strstr(what, "Parquet")) /* a page's header follows, in Thrift */
        return n >= 12 && (h[4] == 0x15 || h[4] == 0x18 || h[4] == 0x19 || h[4] == 0x1c);
    if (strstr(what, "LZFSE"))
        return n >= 32 && big32(h + 4) != 0;
    if (strstr(what, "before version"))
        return h[0] >= 0x22 && h[0] <= 0x27;
    if (strstr(what, "lrzip"))
        return n >= 24 && h[5] <= 11;
    if (strstr(what, "WARC"))
        return n >= 10 && h[7] >= '0' && h[7] <= '9' &&
               (h[8] == '\r' || h[8] == '\n' || h[9] == '\r');
    return true;
}

static bool is_lha(const uint8_t *h, size_t n)
{
    uint8_t sum = 0;

    if (n < 32 || h[2] != '-' || h[3] != 'l' || (h[4] != 'h' && h[4] != 'z') || h[6] != '-' ||
        !memchr("01234567dsx", h[5], 11) || h[20] > 3)
        return false;
    if (h[20] >= 2)
        return h[20] == 3 ? h[0] == 4 && h[1] == 0 : (h[0] | h[1] << 8) >= 26;
    if (h[0] < 20 || n < (size_t)h[0] + 2)
        return false;
    for (size_t i = 2; i < (size_t)h[0] + 2; i++)
        sum = (uint8_t)(sum + h[i]);
    return sum == h[1];
}

static bool is_arj(const uint8_t *h, size_t n)
{
    size_t size = n >= 4 ? h[2] | (size_t)h[3] << 8 : 0;

    return size >= 30 && size <= 2600 && n >= size + 8 && h[0] == 0x60 && h[1] == 0xea &&
           crc32(0, h + 4, (uInt)size) == pipeline_little32(h + 4 + size);
}

static bool is_xar(const uint8_t *h, size_t n)
{
    return n >= 28 && !memcmp(h, "xar!", 4) && h[4] == 0 && h[5] >= 28 && h[6] == 0 && h[7] == 1;
}

static bool is_zpaq(const uint8_t *h, size_t n)
{
    return n >= 6 && !memcmp(h, "zPQ", 3) && (h[3] == 1 || h[3] == 2) && h[4] == 1;
}

/* "begin 644 NAME" and a line of 45 bytes, which is 61 characters. */
static bool is_uuencoded(const uint8_t *h, size_t n)
{
    const uint8_t *line = n ? memchr(h, '\n', n) : NULL;

    if (n < 80 || memcmp(h, "begin ", 6) || !line || h[9] != ' ')
        return false;
    for (size_t i = 6; i < 9; i++) {
        if (h[i] < '0' || h[i] > '7')
            return false;
    }
    line++;
    if (*line != 'M' || (size_t)(h + n - line) < 62 || (line[61] != '\n' && line[61] != '\r'))
        return false;
    for (size_t i = 0; i < 61; i++) {
        if (line[i] < ' ' || line[i] > '`')
            return false;
    }
    return true;
}

static bool ends_in_digits(const char *name, size_t length, const char *before, size_t digits)
{
    size_t n = strlen(before);

    if (length <= n + digits || strncasecmp(name + length - digits - n, before, n))
        return false;
    for (size_t i = length - digits; i < length; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
    }
    return true;
}

bool pipeline_detect_part(const char *name)
{
    static const char *const before[] = {".7z.",  ".zip.", ".rar.", ".tar.", ".gz.",
                                         ".bz2.", ".xz.",  ".zst.", ".tgz.", ".txz."};
    size_t length = strlen(name);

    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        if (ends_in_digits(name, length, before[i], 3))
            return true;
    }
    return ends_in_digits(name, length, ".z", 2);
}

const char *pipeline_detect_foreign(const uint8_t *h, size_t n, const char *name)
{
    size_t most = n < 512 ? n : 512;

    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        if (n >= marks[i].at + marks[i].n && !memcmp(h + marks[i].at, marks[i].mark, marks[i].n) &&
            fits(marks[i].what, h, n))
            return marks[i].what;
    }
    if (is_lha(h, n))
        return "an LHA archive";
    if (is_arj(h, n))
        return "an ARJ archive";
    if (is_xar(h, n))
        return "a xar archive";
    if (is_zpaq(h, n))
        return "a zpaq archive";
    if (is_uuencoded(h, n))
        return "uuencoded data";
    if (n >= 2 && !memcmp(h, "#!", 2) && memmem(h, most, "generated using Makeself", 24))
        return "a self-extracting archive of makeself";
    /* The parts behind the first begin in the middle of something, which is no text. */
    if (most && memchr(h, 0, most) && pipeline_detect_part(name))
        return "a part of an archive in several files";
    return NULL;
}

void pipeline_foreign_note(struct foreign_noted *noted, const char *source, const char *member,
                           const char *kind)
{
    char path[PIPELINE_MAX_NAME], name[PIPELINE_MAX_NAME], inside[PIPELINE_MAX_NAME + 16] = "";

    for (size_t i = 0; i < noted->n; i++) {
        if (noted->kinds[i] == kind || !strcmp(noted->kinds[i], kind))
            return;
    }
    if (noted->n < sizeof(noted->kinds) / sizeof(noted->kinds[0]))
        noted->kinds[noted->n++] = kind;
    pipeline_printable(source, path, sizeof(path));
    pipeline_printable(member, name, sizeof(name));
    if (*member)
        snprintf(inside, sizeof(inside), " member '%s'", name);
    pipeline_note("%s:%s is %s, which is not read: its bytes are taken as they are; unpack it "
                  "first, or pack it as tar, zip or 7z",
                  path, inside, kind);
}
