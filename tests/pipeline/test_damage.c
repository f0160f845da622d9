/*
 * Every format with random bytes changed. One format a run: its name is the argument.
 */
#include "tests/pipeline/flips.h"

static const struct {
    const char *name, *make;
    enum flips_promise promise;
} formats[] = {
    {"t.tar", "tar -cf t.tar m", FLIPS_ENDS},
    {"t.pax", "bsdtar -cf t.pax --format=pax m", FLIPS_ENDS},
    {"t.cpio", "bsdtar -cf t.cpio --format=newc m", FLIPS_ENDS},
    {"t.zip", "bsdtar -cf t.zip --format=zip m", FLIPS_ENDS},
    {"t.7z", "bsdtar -cf t.7z --format=7zip --options=compression-level=0 m", FLIPS_BYTES},
    {"t.ar", "bsdtar -cf t.ar --format=ar -C m a b d", FLIPS_ENDS},
    {"t.iso", "bsdtar -cf t.iso --format=iso9660 m", FLIPS_ENDS},
    {"t.tar.gz", "tar -czf t.tar.gz m", FLIPS_BYTES},
    {"t.tar.bz2", "tar -cjf t.tar.bz2 m", FLIPS_BYTES},
    {"t.tar.xz", "tar -cJf t.tar.xz m", FLIPS_BYTES},
    {"t.tar.zst", "tar -cf - m | zstd -q --check --zstd=wlog=17 -o t.tar.zst", FLIPS_BYTES},
    {"t.tar.lz4", "tar -cf - m | lz4 -q > t.tar.lz4", FLIPS_BYTES},
    {"t.tar.lzma", "tar -cf - m | xz --format=lzma > t.tar.lzma", FLIPS_ENDS},
    {"t.tar.Z", "bsdtar -cf t.tar.Z --compress m", FLIPS_ENDS},
#ifdef PIPELINE_HAVE_LZMA
    {"t.tar.lz", "bsdtar -cf t.tar.lz --lzip m", FLIPS_BYTES},
#endif
    {"run.zip",
     "bsdtar -cf r.zip --format=zip m && { printf '#!/bin/sh\n'; cat s r.zip s; } > run.zip",
     FLIPS_ENDS},
    {"b.gz", "gzip -c s > b.gz && gzip -c s >> b.gz", FLIPS_BYTES},
    {"b.bz2", "bzip2 -c s > b.bz2 && bzip2 -c s >> b.bz2", FLIPS_BYTES},
    {"b.xz", "xz -c s > b.xz && xz -c s >> b.xz", FLIPS_BYTES},
    {"b.zst", "zstd -q -c s > b.zst && zstd -q -c s >> b.zst", FLIPS_BYTES},
    {"b.lz4", "lz4 -q -c s > b.lz4 && lz4 -q -c s >> b.lz4", FLIPS_BYTES},
    {"nested.tar.gz",
     "xz -c s > m/s.xz && bsdtar -cf m/i.zip --format=zip m/a m/s.xz && gzip -c m/b > m/b.gz && "
     "tar -czf nested.tar.gz m",
     FLIPS_BYTES},
    {"lines.jsonl.gz",
     "for i in 1 2 3 4 5 6 7 8 9; do echo '{\"text\": \"line '$i'\", \"n\": [1, {}]}'; done | "
     "gzip > lines.jsonl.gz",
     FLIPS_BYTES},
    {"lines.jsonl",
     "for i in 1 2 3 4 5 6 7 8 9; do echo '{\"text\": \"l\\u00e4ne '$i'\", \"n\": [1, {}]}'; "
     "done > lines.jsonl",
     FLIPS_ENDS},
};

int main(int argc, char **argv)
{
    struct pipeline_choice choice = mixed_choice;

    enter_scratch();
    run_or_skip(
        "mkdir m && seq 1 150 > m/a && seq 1 9999 | gzip -n | tail -c 700 > m/b && : > m/c && "
        "seq 1 40 > m/d && seq 9 90 > s && touch -d @1 m/* m");
    choice.max_ratio = 1000;
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (argc > 1 && strcmp(argv[1], formats[i].name))
            continue;
        run_or_skip(formats[i].make);
        flips_try(formats[i].name, choice, formats[i].promise);
    }
    return 0;
}
