/* utf8.c - text out of bytes in pieces: every cut of some texts, and every sequence of up to three
 * bytes against another way to decide. */
#include "apps/utf8.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void expect(const char *what, const uint8_t *got, size_t size, const char *want)
{
    if (size == strlen(want) && !memcmp(got, want, size))
        return;
    printf("FAIL %s: '%.*s', not '%s'\n", what, (int)size, got, want);
    failures++;
}

/* In two pieces, cut anywhere. */
static void check(const char *bytes, const char *want)
{
    const size_t n = strlen(bytes);
    for (size_t cut = 0; cut <= n; cut++) {
        struct app_utf8 text = {.count = 0};
        uint8_t out[APP_UTF8_ROOM(64)];
        size_t size = app_utf8(&text, (const uint8_t *)bytes, cut, out);
        size += app_utf8(&text, (const uint8_t *)bytes + cut, n - cut, out + size);
        size += app_utf8_end(&text, out + size);
        expect(bytes, out, size, want);
    }
}

#define R "\xef\xbf\xbd"

static void check_texts(void)
{
    check("plain", "plain");
    check("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x99\x82.", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac "
                                                               "\xf0\x9f\x99\x82.");
    check("\xf4\x8f\xbf\xbf \xed\x9f\xbf \xee\x80\x80",
          "\xf4\x8f\xbf\xbf \xed\x9f\xbf \xee\x80\x80");
    check("a\xff\xfe z", "a" R R " z");
    check("\xc3", R);
    check("\xe2\x82", R);
    check("\xe2\x82x", R "x");
    check("\xf0\x9f\x99\xf0\x9f\x99\x82", R "\xf0\x9f\x99\x82");
    check("\x80\xbf", R R);
    /* The Unicode Standard's example of replacing longest beginnings (table 3-8). */
    check("\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64", "a" R R R "b" R "c" R R "d");
    check("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", R R R R R R R R "A"); /* too long (table 3-9) */
    check("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", R R R R R R R R "A"); /* surrogates (3-10) */
    check("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", R R R R R "A" R R "B"); /* too high (3-11) */
}

/* Whether bytes are one character, from what code point they would be. */
static bool is_character(const uint8_t *b, size_t n)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t want = b[0] < 0x80 ? 1 : b[0] < 0xc0 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    if (want != n || b[0] >= 0xf8)
        return false;
    uint32_t point = n == 1 ? b[0] : b[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return false;
        point = point << 6 | (b[i] & 0x3fu);
    }
    return point >= least[n] && point <= 0x10ffff && !(point >= 0xd800 && point < 0xe000);
}

/* Whether bytes are characters and nothing else. */
static bool is_text(const uint8_t *b, size_t n)
{
    if (n == 0)
        return true;
    for (size_t i = 1; i <= 4 && i <= n; i++)
        if (is_character(b, i))
            return is_text(b + i, n - i);
    return false;
}

/* What comes out is text, and the same if what went in was. */
static void check_all(void)
{
    for (uint32_t i = 0; i < 1u << 24; i += i & 0xff0000 ? 3 : 1) {
        const uint8_t bytes[4] = {(uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i, 'x'};
        struct app_utf8 text = {.count = 0};
        uint8_t out[APP_UTF8_ROOM(4)];
        const size_t size = app_utf8(&text, bytes, 4, out);
        const bool same = size == 4 && !memcmp(out, bytes, 4);
        if (!is_text(out, size) || same != is_text(bytes, 4) || out[size - 1] != 'x') {
            printf("FAIL bytes %06x: %zu come out, which are%s text\n", (unsigned)i, size,
                   is_text(out, size) ? "" : " no");
            if (++failures > 20)
                return;
        }
    }
}

int main(void)
{
    check_texts();
    check_all();
    printf("%d failed\n", failures);
    return failures != 0;
}
