/*
 * Going on behind damage: an archive with a byte changed here and there is read to its end, the
 * same way each time, from any place on, and each damage is counted once.
 */
#include "tests/every.h"
#include "tests/pipeline/mixed.h"

static const char *const makes[][2] = {
    {"b.tar", "tar -cf b.tar -C b ."},
    {"b.pax", "bsdtar -cf b.pax --format=pax -C b ."},
    {"b.cpio", "bsdtar -cf b.cpio --format=newc -C b ."},
    {"b.odc", "bsdtar -cf b.odc --format=odc -C b ."},
    {"b.ar", "bsdtar -cf b.ar --format=ar -C b 1 2 3 4 5"},
    {"b.zip", "bsdtar -cf b.zip --format=zip -C b ."},
    {"b.7z", "bsdtar -cf b.7z --format=7zip --options=compression=deflate -C b ."},
    {"b.iso", "bsdtar -cf b.iso --format=iso9660 -C b 1 2 3 4 5"},
    {"b.tar.gz", "gzip -c b.tar > b.tar.gz"},
    {"b.tar.zst", "zstd -q b.tar -o b.tar.zst"},
    {"in.tar", "tar -cf in.tar b.zip b.tar.gz b.7z b.tar b.cpio -C b 3"},
    {"in.zip", "bsdtar -cf in.zip --format=zip b.tar b.zip in.tar -C b 4"},
};

static const struct pipeline_choice skip = {
    .nested = 3,
    .on_corrupt = PIPELINE_CORRUPT_SKIP,
    .content = {.jsonl_field = "text"},
};

/* Reads all, and keeps the place of each piece and its first byte. */
struct pieces {
    struct pipeline_position at[4096];
    size_t from[4096], n, size;
    uint8_t *bytes;
    uint64_t damaged;
};

static void read_pieces(struct opened *o, struct pieces *p)
{
    const uint8_t *data;
    size_t n, room = 8 << 20;

    p->n = p->size = 0;
    do {
        struct pipeline_position at = pipeline_stream_tell(o->stream);

        if (p->n < 4096) {
            p->at[p->n] = at;
            p->from[p->n++] = p->size;
        }
        CHECK_EQUAL(pipeline_stream_next(o->stream, &data, &n), 0);
        CHECK(p->size + n <= room);
        if (n)
            memcpy(p->bytes + p->size, data, n);
        p->size += n;
    } while (n);
    if (p->n < 4096) { /* behind what was passed over last */
        p->at[p->n] = pipeline_stream_tell(o->stream);
        p->from[p->n++] = p->size;
    }
    p->damaged = pipeline_stream_stats(o->stream).damaged;
}

static void check_one(const char *path, struct pieces *whole, struct pieces *again, uint64_t *seed)
{
    struct opened o = open_data(&path, 1, &skip, NULL);

    read_pieces(&o, whole);
    /* Once more on the same stream. */
    CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){0}), 0);
    read_pieces(&o, again);
    CHECK_EQUAL(again->size, whole->size);
    CHECK(!memcmp(again->bytes, whole->bytes, whole->size));
    CHECK_EQUAL(again->damaged, whole->damaged);
    close_data(&o);
    for (int i = 0; i < 3; i++) {
        size_t k = random_next(seed) % whole->n, from = whole->from[k];

        o = open_data(&path, 1, &skip, NULL);
        CHECK_EQUAL(pipeline_stream_seek(o.stream, whole->at[k]), 0);
        read_pieces(&o, again);
        if (again->size != whole->size - from ||
            memcmp(again->bytes, whole->bytes + from, again->size)) {
            fprintf(stderr,
                    "%s: from piece %zu of %zu, member %llu, inner %llu, byte %llu: %zu "
                    "bytes, not %zu\n",
                    path, k, whole->n, (unsigned long long)whole->at[k].member,
                    (unsigned long long)whole->at[k].inner, (unsigned long long)whole->at[k].offset,
                    again->size, whole->size - from);
            exit(1);
        }
        close_data(&o);
    }
}

int main(void)
{
    static struct pieces whole, again;
    uint64_t seed = 11;
    char path[64];

    enter_scratch();
    run_or_skip("mkdir b");
    for (size_t i = 1; i < 6; i++) {
        snprintf(path, sizeof(path), "b/%zu", i);
        write_noise(path, i * 1237, i);
    }
    write_jsonl("b/6.jsonl", 5, 3);
    run_or_skip("gzip -k b/6.jsonl");
    whole.bytes = malloc(8 << 20);
    again.bytes = malloc(8 << 20);
    CHECK(whole.bytes && again.bytes);
    for (size_t i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
        const char *name = makes[i][0];
        FILE *f;
        uint8_t *file = malloc(1 << 21);
        size_t size;

        run_or_skip(makes[i][1]);
        f = fopen(name, "rb");
        CHECK(f && file);
        size = fread(file, 1, 1 << 21, f);
        fclose(f);
        check_one(name, &whole, &again, &seed);
        CHECK_EQUAL(whole.damaged, 0);
        for (int k = 0; k < 120 / tests_every(); k++) {
            size_t at[3];
            uint8_t was[3];
            int n = 1 + k % 3;

            for (int j = 0; j < n; j++) {
                at[j] = random_next(&seed) % size;
                was[j] = file[at[j]];
                file[at[j]] ^= (uint8_t)(1 + random_next(&seed) % 255);
            }
            snprintf(path, sizeof(path), "bad.%s", name);
            write_file(path, file, size);
            check_one(path, &whole, &again, &seed);
            for (int j = n; j--;)
                file[at[j]] = was[j];
        }
        free(file);
    }
    free(whole.bytes);
    free(again.bytes);
    return 0;
}
