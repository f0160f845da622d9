#include "pipeline/container.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"

enum {
    ZEROS = 65536,
    HEADER_BYTES = 64 << 20, /* of one member, where it tells its own length */
    CPIO_TRAILER = 124,      /* the last entry, which has no content */
};

/*
 * Member names must be the same bytes for every user, because the held-out split and the choice of
 * members depend on them; libarchive converts names to the locale of the thread.
 */
static locale_t names_locale;

static void make_locale(void)
{
    names_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static locale_t enter_locale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_locale);
    return names_locale ? uselocale(names_locale) : (locale_t)0;
}

static void leave_locale(locale_t before)
{
    if (before)
        uselocale(before);
}

/* Keeps what is wrong; archive.c says where. */
int pipeline_container_fail(struct container *c, int error, const char *why)
{
    c->error = -error;
    snprintf(c->why, sizeof(c->why), "%s", why);
    return -error;
}

static int fail(struct container *c, int error, const char *why)
{
    return pipeline_container_fail(c, error, why);
}

static int fail_layer(struct container *c, const struct layer *layer)
{
    return fail(c, -layer->error, layer->why[0] ? layer->why : strerror(-layer->error));
}

int pipeline_container_fail_layer(struct container *c)
{
    return fail_layer(c, c->top);
}

/* What libarchive says, or NULL if that is nothing for a user: words about its own insides. */
static const char *reader_said(struct archive *reader)
{
    const char *said = archive_error_string(reader);

    return said && !strcasestr(said, "internal error") && !strstr(said, "rogrammer") ? said : NULL;
}

/* Whether it says that it lacks something. The directory of a 7z has a checksum, which it looks at
 * first: a method there that it does not know is no damage. */
static bool is_unsupported(const char *said)
{
    return said && (strstr(said, "nsupported") || strstr(said, "not supported") ||
                    strstr(said, "codec ID"));
}

/* The method of a 7z that libarchive names by its number, or NULL. */
static const char *method_name(const char *said)
{
    static const struct {
        unsigned long id;
        const char *name;
    } names[] = {
        {0xa, "the ARM64 filter"},
        {0xb, "the RISC-V filter"},
        {0x40109, "Deflate64"},
        {0x4f71101, "Zstandard"},
        {0x4f71102, "Brotli"},
        {0x4f71104, "LZ4"},
        {0x4f71105, "LZ5"},
        {0x4f71106, "Lizard"},
        {0x3030401, "PPMd"},
        {0x4f71107, "Fast-LZMA2"},
        {0x30401, "PPMd"},
        {0x40202, "BZip2"},
        {0x3030103, "the x86 filter"},
        {0x303011b, "BCJ2"},
        {0x3, "the Delta filter"},
    };
    const char *at = strstr(said, "ID: "), *filter = strstr(said, "filter ");
    unsigned long id;

    if (!at && !filter)
        return NULL;
    id = strtoul(at ? at + 4 : filter + 7, NULL, 16);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (id == names[i].id)
            return names[i].name;
    }
    return NULL;
}

/* Turns what libarchive says into our errors. */
static int fail_reader(struct container *c)
{
    const char *said = reader_said(c->reader);
    char why[256];

    if (c->broken)
        return fail_layer(c, c->top);
    /* libarchive 3.8 gives the same number to a header that promises too long a name. */
    if (archive_errno(c->reader) == ENOMEM && !(said && strstr(said, "malformed")))
        return fail(c, ENOMEM, "out of memory");
    if (c->encrypted ||
        (said && (strstr(said, "ncrypt") || strstr(said, "assphrase") || strstr(said, "Crypto"))))
        return fail(c, EPROTONOSUPPORT, "it is encrypted: no password can be given");
    if (is_unsupported(said)) {
        const char *method = method_name(said), *version = archive_version_string();

        version += strcspn(version, "0123456789");
        snprintf(why, sizeof(why), "%s is not supported by libarchive %s (%s)",
                 method ? method : "the way that it is packed", version, said);
        return fail(c, EPROTONOSUPPORT, why);
    }
    snprintf(why, sizeof(why), "the %s archive is damaged or cut short (%s)",
             pipeline_format_name(c->format), said ? said : "it ends early");
    return fail(c, EBADMSG, why);
}

static la_ssize_t give(struct archive *reader, void *user, const void **data)
{
    struct container *c = user;
    struct recovery *r = &c->recovery;
    size_t n = r->again_size;
    int result = pipeline_recovery_keep(c);

    if (result == 0 && n) {
        *data = r->again;
        r->again_size = 0;
    } else if (result == 0) {
        if (pipeline_layer_read(c->top, data, &n) < 0) {
            c->broken = true;
            archive_set_error(reader, EIO, "%s", c->top->why);
            return -1;
        }
        result = pipeline_recovery_patch(c, c->top->position - n, data, n);
    }
    if (result < 0) {
        archive_set_error(reader, ENOMEM, "out of memory");
        return -1;
    }
    if (n) {
        c->given = *data;
        c->given_size = n;
    }
    c->given_total += n;
    if (c->header_limit && c->given_total > c->header_limit) {
        archive_set_error(reader, EIO, "the header of a member is longer than %d MiB",
                          HEADER_BYTES >> 20);
        return -1;
    }
    return (la_ssize_t)n;
}

static la_int64_t skip(struct archive *reader, void *user, la_int64_t n)
{
    struct container *c = user;
    uint64_t skipped = 0;

    (void)reader;
    if (n > 0 && c->recovery.again_size == 0)
        skipped = pipeline_layer_skip(c->top, (uint64_t)n);
    c->given_total += skipped;
    if (skipped)
        c->given_size = 0; /* what was given before does not end where it goes on */
    return (la_int64_t)skipped;
}

static la_int64_t seek(struct archive *reader, void *user, la_int64_t offset, int whence)
{
    struct container *c = user;
    la_int64_t size = (la_int64_t)c->top->size;

    if (whence == SEEK_CUR)
        offset += (la_int64_t)c->top->position;
    else if (whence == SEEK_END)
        offset += size;
    if (offset < 0 || offset > size || pipeline_layer_seek(c->top, (uint64_t)offset) < 0) {
        c->recovery.misplaced = true;
        c->broken = c->top->error != 0;
        archive_set_error(reader, EINVAL, "it points to a place outside of the file");
        return ARCHIVE_FATAL;
    }
    return offset;
}

static int support(struct archive *reader, enum detect_format format, bool seekable)
{
    switch (format) {
    case FORMAT_TAR:
        return archive_read_support_format_tar(reader);
    case FORMAT_CPIO:
        return archive_read_support_format_cpio(reader);
    case FORMAT_ZIP:
        /* The directory at the end is what makes a zip whole; only a pipe has to do without. */
        return seekable ? archive_read_support_format_zip_seekable(reader)
                        : archive_read_support_format_zip_streamable(reader);
    case FORMAT_7ZIP:
        return archive_read_support_format_7zip(reader);
    case FORMAT_AR:
        return archive_read_support_format_ar(reader);
    case FORMAT_ISO:
        return archive_read_support_format_iso9660(reader);
    case FORMAT_PLAIN:
        break;
    }
    return ARCHIVE_FATAL;
}

int pipeline_container_reader(struct container *c)
{
    bool seekable = c->top->seek != NULL;
    int result;

    if (c->format == FORMAT_7ZIP && !seekable)
        return fail(c, EPROTONOSUPPORT, "a 7z archive can only be read from a plain file");
    c->reader = archive_read_new();
    if (!c->reader)
        return pipeline_fail(ENOMEM, "out of memory");
    support(c->reader, c->format, seekable);
    archive_read_set_read_callback(c->reader, give);
    archive_read_set_skip_callback(c->reader, skip);
    if (seekable)
        archive_read_set_seek_callback(c->reader, seek);
    archive_read_set_callback_data(c->reader, c);
    result = archive_read_open1(c->reader);
    return result == ARCHIVE_OK ? 0 : fail_reader(c);
}

int pipeline_container_open(struct pipeline_io *io, struct layer *base, const char *name,
                            struct container **out)
{
    struct container *c = calloc(1, sizeof(*c));
    locale_t before;
    int result;

    *out = c;
    if (!c) {
        pipeline_layer_destroy(&base);
        return pipeline_fail(ENOMEM, "out of memory");
    }
    c->io = io;
    c->base = c->top = base;
    c->member.name = name;
    before = enter_locale();
    result = pipeline_container_look(c, name);
    leave_locale(before);
    return result;
}

int pipeline_container_open_folder(struct pipeline_io *io, const struct pipeline_source *folder,
                                   struct container **out)
{
    struct container *c = calloc(1, sizeof(*c));

    *out = c;
    if (!c)
        return pipeline_fail(ENOMEM, "out of memory");
    c->io = io;
    c->folder = folder;
    return 0;
}

void pipeline_container_destroy(struct container **c)
{
    struct container *dead = *c;

    if (!dead)
        return;
    archive_read_free(dead->reader);
    pipeline_recovery_finish(dead);
    pipeline_layer_destroy(&dead->window);
    pipeline_layer_destroy(&dead->filter);
    pipeline_layer_destroy(&dead->base);
    free(dead);
    *c = NULL;
}

/* What is left in the top layer behind the archive's last entry. */
static int rest_of_layer(struct container *c, uint64_t *nonzero, uint64_t *rest)
{
    uint64_t left = c->given_total - (uint64_t)archive_filter_bytes(c->reader, 0);
    const uint8_t *p = c->given;
    size_t n = c->given_size;

    *nonzero = *rest = 0;
    if (left > n)
        left = n;
    p = left ? p + n - left : NULL;
    n = left;
    do {
        const void *data;

        *rest += n;
        for (size_t i = 0; i < n; i++)
            *nonzero += p[i] != 0;
        /* A decompressor goes on to its end, which is where it notices damage. */
        if (*nonzero && !c->filter)
            return 0;
        if (pipeline_layer_read(c->top, &data, &n) < 0) {
            c->broken = true;
            return fail_layer(c, c->top);
        }
        p = data;
    } while (n);
    return 0;
}

/* At the end of the entries: was it the end of the archive? `before` is how much the reader had
 * used before it looked for one more entry, behind one that is there in full if `whole`. */
static int check_end(struct container *c, uint64_t before, bool whole)
{
    uint64_t used = (uint64_t)archive_filter_bytes(c->reader, 0);
    uint64_t nonzero = 0, rest = 0;
    int result = 0;

    c->ended = true;
    if (!whole && c->format == FORMAT_AR) /* which has no end marker either */
        return fail_reader(c);
    if (c->format == FORMAT_TAR && used < before + 512)
        return fail(c, EBADMSG, "the tar archive has no end marker: it was cut short");
    if (c->filter || c->format == FORMAT_TAR || c->format == FORMAT_CPIO || c->format == FORMAT_AR)
        result = rest_of_layer(c, &nonzero, &rest);
    if (result < 0)
        return result;
    if (c->format == FORMAT_AR && rest > 1)
        return fail(c, EBADMSG, "the ar archive ends inside a header: it was cut short");
    if (c->format == FORMAT_TAR && nonzero)
        snprintf(c->note, sizeof(c->note),
                 "more follows after the tar archive's end marker and is not read");
    else if (c->format == FORMAT_CPIO && nonzero)
        snprintf(c->note, sizeof(c->note),
                 "more follows after the cpio archive's last entry and is not read: if that is an "
                 "archive too, as in an initramfs, cut it off into a file of its own");
    return 0;
}

static void describe(struct container *c, struct archive_entry *e)
{
    struct pipeline_member *m = &c->member;
    const char *name = archive_entry_pathname(e);

    /* A name that no conversion can bring to bytes is rare; it must still be a name. */
    if (!name || !*name)
        name = archive_entry_pathname_utf8(e);
    if (!name || !*name) {
        snprintf(c->no_name, sizeof(c->no_name), "unnamed-%llu", (unsigned long long)c->next_index);
        name = c->no_name;
    }
    m->name = name;
    m->target = archive_entry_hardlink(e);
    m->mode = archive_entry_perm(e);
    m->size = archive_entry_size_is_set(e) ? archive_entry_size(e) : -1;
    m->time = archive_entry_mtime_is_set(e) ? archive_entry_mtime(e) : -1;
    if (m->target) {
        m->type = 'h';
        m->has_bytes = m->size != 0;
        return;
    }
    switch (archive_entry_filetype(e)) {
    case AE_IFREG:
    case 0: /* ar, and zips from systems without types */
        m->type = '-';
        break;
    case AE_IFDIR:
        m->type = 'd';
        break;
    case AE_IFLNK:
        m->type = 'l';
        m->target = archive_entry_symlink(e);
        break;
    default:
        m->type = 'o';
    }
    m->has_bytes = m->type == '-';
}

/* The present header cannot be read, as `why` says. */
static int lose_entry(struct container *c, int failure, bool fatal)
{
    c->in_entry = false;
    c->recovery.lost = true;
    c->recovery.fatal = fatal;
    return failure;
}

/* libarchive looks for the next header of a cpio by itself, which it calls a warning or, at the
 * last entry, nothing; and it misses some. */
static bool passed_over_bytes(const struct container *c, int result, uint64_t before)
{
    const char *said = archive_error_string(c->reader);

    if (c->format != FORMAT_CPIO)
        return false;
    if (result == ARCHIVE_EOF)
        return (uint64_t)archive_filter_bytes(c->reader, 0) > before + CPIO_TRAILER;
    return result == ARCHIVE_WARN && said && !strncmp(said, "Skipped ", 8);
}

static int take_entry(struct container *c, struct archive_entry *entry)
{
    c->opened = c->in_entry = true;
    c->encrypted = archive_entry_is_encrypted(entry) > 0;
    c->header = c->origin + (uint64_t)archive_read_header_position(c->reader);
    describe(c, entry);
    return 1;
}

/* Reads one header. */
static int read_header(struct container *c)
{
    struct archive_entry *entry = NULL;
    bool whole = true;
    uint64_t before;
    int result;

    /* Done apart from the header, so that we know where the header begins. Who reads a member hears
     * of damage in it; what is only passed over must not stop the others, if there are any. */
    if (c->in_entry) {
        result = archive_read_data_skip(c->reader);
        whole = result >= ARCHIVE_WARN || c->entry_failed;
        c->recovery.stuck |= result == ARCHIVE_FATAL;
        if (pipeline_recovery_free_7z(c) == 0)
            return 0;
    }
    c->in_entry = c->encrypted = c->entry_failed = false;
    before = (uint64_t)archive_filter_bytes(c->reader, 0);
    c->at = c->origin + before;
    /* These tell the length of what libarchive then holds, a name say. */
    if (c->format == FORMAT_TAR || c->format == FORMAT_CPIO || c->format == FORMAT_AR)
        c->header_limit = c->given_total + HEADER_BYTES;
    pipeline_recovery_begin(c);
    result = archive_read_next_header(c->reader, &entry);
    pipeline_recovery_end(c);
    c->header_limit = 0;
    if (passed_over_bytes(c, result, before))
        return lose_entry(c, fail(c, EBADMSG, "a cpio header is damaged"), true);
    if (result == ARCHIVE_EOF && c->recovery.unsure)
        return lose_entry(c, 0, true);
    if (result == ARCHIVE_EOF) {
        c->member_ended = true;
        return check_end(c, before, whole);
    }
    if (result == ARCHIVE_RETRY)
        return lose_entry(c, fail(c, EBADMSG, "a tar header is damaged"), false);
    /* Other warnings are about a name or an attribute; the bytes are there. */
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) {
        c->encrypted = entry && archive_entry_is_metadata_encrypted(entry) > 0;
        return lose_entry(c, fail_reader(c), result == ARCHIVE_FATAL);
    }
    return take_entry(c, entry);
}

static int next_entry(struct container *c)
{
    int result = 1;

    if (!c->reader && !c->recovery.lost)
        return lose_entry(c, fail(c, EBADMSG, "the first tar header is damaged"), true);
    do {
        if (c->recovery.lost)
            result = pipeline_recovery_go_on(c);
        if (result <= 0)
            return result;
        c->recovery.lost = false;
        result = read_header(c);
    } while (result == 0 && c->recovery.lost);
    return result;
}

/* A folder's files are layers of their own, opened when first read. */
static int next_in_folder(struct container *c)
{
    const struct pipeline_source *s = c->folder;

    if (c->next_index >= s->n_entries)
        return 0;
    c->member = (struct pipeline_member){
        .name = s->entries[c->next_index].name,
        .type = '-',
        .has_bytes = true,
        .size = (int64_t)s->entries[c->next_index].size,
        .time = -1,
    };
    return 1;
}

static int next_plain(struct container *c)
{
    if (c->next_index > 0)
        return 0;
    c->member = (struct pipeline_member){
        .name = c->member.name,
        .type = '-',
        .has_bytes = true,
        .size = c->top->seek ? (int64_t)c->top->size : -1,
        .time = -1,
    };
    return 1;
}

int pipeline_container_next(struct container *c)
{
    locale_t before = enter_locale();
    int result = 0;

    c->error = 0;
    if (c->told || (c->recovery.lost && c->broken))
        c->ended = true;
    if (!c->ended && c->folder)
        result = next_in_folder(c);
    else if (!c->ended && c->format != FORMAT_PLAIN)
        result = next_entry(c);
    else if (!c->ended)
        result = next_plain(c);
    leave_locale(before);
    if (result == 0)
        c->ended = true;
    if (result < 0)
        c->next_index++;
    if (result <= 0)
        return result;
    c->member.index = c->next_index++;
    c->offset = c->hole = c->pending_size = 0;
    c->member_ended = false;
    return 1;
}

/* The next block of an entry: sets hole and pending. */
static int read_entry(struct container *c)
{
    const void *data = NULL;
    la_int64_t at = 0;
    size_t n = 0;
    int result = archive_read_data_block(c->reader, &data, &n, &at);

    /* Members of a 7z that were passed over before the first is read are decoded only now, and up
     * to 3.7 libarchive takes it for the end if they fill its buffer to the last byte. It goes on
     * when it is asked again; what is really damaged fails again. */
    if (result == ARCHIVE_FATAL && c->format == FORMAT_7ZIP && !c->decoded && c->next_index > 1 &&
        !is_unsupported(reader_said(c->reader)))
        result = archive_read_data_block(c->reader, &data, &n, &at);
    if (result != ARCHIVE_OK && result != ARCHIVE_EOF) {
        bool again = c->format == FORMAT_7ZIP && c->decoded && c->offset == 0;

        /* What fails may be a member before, which was passed over. */
        c->recovery.stuck = true;
        if (again && pipeline_recovery_free_7z(c) > 0 && !c->decoded)
            return read_entry(c);
    }
    c->decoded = true;
    if (result != ARCHIVE_OK && result != ARCHIVE_EOF)
        return fail_reader(c);
    if (result == ARCHIVE_EOF) {
        n = 0;
        c->member_ended = true;
    }
    if (at < (la_int64_t)c->offset && (n || at > 0))
        return n ? fail(c, EBADMSG, "its parts overlap") : 0;
    c->hole = at > (la_int64_t)c->offset ? (uint64_t)at - c->offset : 0;
    c->pending = data;
    c->pending_size = n;
    return 0;
}

/* The next bytes of an entry. */
static int read_member(struct container *c, const void **data, size_t *size)
{
    static const uint8_t zeros[ZEROS];
    int result = 0;

    *size = 0;
    while (result == 0 && !c->hole && !c->pending_size && !c->member_ended)
        result = read_entry(c);
    if (result < 0)
        return result;
    if (c->hole) {
        *data = zeros;
        *size = c->hole < ZEROS ? (size_t)c->hole : ZEROS;
        c->hole -= *size;
    } else {
        *data = c->pending;
        *size = c->pending_size;
        c->pending_size = 0;
    }
    c->offset += *size;
    if (*size == 0 && c->member.size > 0 && c->offset < (uint64_t)c->member.size)
        return fail(c, EBADMSG, "the member is shorter than its header says");
    return 0;
}

/* A member as a layer: an entry of libarchive's, or the container's own top layer. */
struct member_layer {
    struct layer layer;
    struct container *container;
};

static int entry_layer_read(struct layer *layer, const void **data, size_t *size)
{
    struct member_layer *m = (struct member_layer *)layer;
    int result = read_member(m->container, data, size);

    if (result < 0)
        memcpy(layer->why, m->container->why, sizeof(layer->why));
    m->container->entry_failed = result < 0;
    return result;
}

static void member_layer_close(struct layer *layer)
{
    (void)layer;
}

static int plain_layer_read(struct layer *layer, const void **data, size_t *size)
{
    struct container *c = ((struct member_layer *)layer)->container;
    int result = pipeline_layer_read(c->top, data, size);

    if (result < 0)
        memcpy(layer->why, c->top->why, sizeof(layer->why));
    return result;
}

static int plain_layer_restart(struct layer *layer, uint64_t offset)
{
    struct container *c = ((struct member_layer *)layer)->container;
    int result = pipeline_layer_jump(c->top, offset);

    if (result < 0)
        memcpy(layer->why, c->top->why, sizeof(layer->why));
    return result < 0 ? result : 1;
}

static uint64_t plain_layer_made(const struct layer *layer)
{
    return ((const struct member_layer *)layer)->container->top->position;
}

static int plain_layer_seek(struct layer *layer, uint64_t offset)
{
    struct container *c = ((struct member_layer *)layer)->container;
    int result = pipeline_layer_seek(c->top, offset);

    if (result < 0)
        memcpy(layer->why, c->top->why, sizeof(layer->why));
    return result;
}

static int open_file(struct container *c, struct layer **out)
{
    const char *slash = c->folder->path[strlen(c->folder->path) - 1] == '/' ? "" : "/";
    char *path;
    int result;

    if (asprintf(&path, "%s%s%s", c->folder->path, slash, c->member.name) < 0)
        return pipeline_fail(ENOMEM, "out of memory");
    result = pipeline_layer_file_create(c->io, path, out);
    free(path);
    return result;
}

int pipeline_container_member(struct container *c, struct layer **out)
{
    struct member_layer *m;

    if (c->folder)
        return open_file(c, out);
    m = calloc(1, sizeof(*m));
    if (!m)
        return pipeline_fail(ENOMEM, "out of memory");
    m->container = c;
    m->layer.close = member_layer_close;
    m->layer.read = c->reader ? entry_layer_read : plain_layer_read;
    if (!c->reader) {
        m->layer.restart = plain_layer_restart;
        m->layer.made = plain_layer_made;
    }
    if (!c->reader && c->top->seek) {
        m->layer.seek = plain_layer_seek;
        m->layer.size = c->top->size;
    }
    *out = &m->layer;
    return 0;
}

bool pipeline_container_plain(const struct container *c)
{
    return !c->folder && c->format == FORMAT_PLAIN;
}

bool pipeline_container_packs(const struct container *c)
{
    return !c->folder && c->format != FORMAT_PLAIN;
}

void pipeline_container_skip_to(struct container *c, uint64_t index)
{
    if (c->folder && index < c->folder->n_entries && index > c->next_index)
        c->next_index = index;
}

int pipeline_container_restart(struct container *c, uint64_t index,
                               const struct pipeline_hint *hint)
{
    int result;

    if (c->format != FORMAT_TAR || !hint->header || index <= c->next_index)
        return 0;
    if (!c->base->seek || (c->filter && !c->filter->restart))
        return 0;
    if (c->top->seek && hint->header >= c->top->size)
        return 0; /* a hint of other data: reading on will find that the place is not there */
    if (c->filter && c->filter->learn)
        c->filter->learn(c->filter, (struct layer_point){hint->in, hint->out});
    archive_read_free(c->reader);
    c->reader = NULL;
    c->opened = c->in_entry = c->decoded = false;
    c->recovery.again_size = 0;
    c->recovery.lost = c->recovery.unsure = false;
    result = pipeline_layer_jump(c->top, hint->header);
    if (result < 0)
        return fail_layer(c, c->top);
    if (c->top->position != hint->header)
        return fail(c, ESTALE, "it is shorter than the data that the run was started with");
    c->origin = hint->header;
    c->given = NULL;
    c->given_size = c->given_total = 0;
    c->next_index = index;
    result = pipeline_container_reader(c);
    return result < 0 ? result : 1;
}
