#include "pipeline/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"
#include "pipeline/layer.h"

enum { ZEROS = 65536 };

struct pipeline_archive {
    struct pipeline_io *io;
    const struct pipeline_source *source;
    struct layer *file, *filter, *top; /* top is one of the other two, and is not freed */
    enum detect_filter filter_kind;
    enum detect_format format;
    struct archive *reader;        /* NULL for plain bytes and folders */
    const void *given;             /* the last bytes given to reader ... */
    size_t given_size;             /* ... and their number */
    uint64_t given_total;          /* all bytes given to reader */
    uint64_t next_index;           /* of the member that pipeline_archive_next will give */
    struct pipeline_member member; /* the present one, if next_index > 0 */
    uint64_t offset;               /* bytes of the present member that were given */
    uint64_t hole;                 /* zeros to give before `pending` */
    const uint8_t *pending;        /* bytes of the present member behind a hole */
    size_t pending_size;
    uint64_t folder_input; /* bytes of a folder's files that are done with */
    bool opened;           /* reader has found its format */
    bool member_ended, ended;
    char no_name[32];              /* stands for a name that cannot be read */
    char known[PIPELINE_MAX_NAME]; /* the present name, for messages: it outlives the entry */
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

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

static const char *what_to_do(int error)
{
    switch (error) {
    case EBADMSG:
        return "; fetch or make it again, or pass over what is damaged with --on-corrupt skip";
    case EPROTONOSUPPORT:
        return "; pack it in another way, or pass over such members with --on-corrupt skip";
    default:
        return "";
    }
}

/* Keeps "SOURCE: member 'M' at byte N: why; what to do". */
static int fail(struct pipeline_archive *a, int error, const char *why)
{
    char path[PIPELINE_MAX_NAME];

    pipeline_printable(a->source->path, path, sizeof(path));
    if (error == ECANCELED)
        return pipeline_fail(error, "interrupted");
    if (a->next_index == 0 || (!a->reader && !a->source->folder))
        return pipeline_fail(error, "%s: at byte %llu: %s%s", path, (unsigned long long)a->offset,
                             why, what_to_do(error));
    return pipeline_fail(error, "%s: %s '%s' at byte %llu: %s%s", path,
                         a->member_ended ? "after member" : "member", a->known,
                         (unsigned long long)a->offset, why, what_to_do(error));
}

static int fail_layer(struct pipeline_archive *a, const struct layer *layer)
{
    char why[sizeof(layer->why)];

    memcpy(why, layer->why, sizeof(why));
    return fail(a, -layer->error, why[0] ? why : strerror(-layer->error));
}

/* Turns what libarchive says into our errors. */
static int fail_reader(struct pipeline_archive *a)
{
    const char *said = archive_error_string(a->reader);
    char why[256];

    if (a->top->error)
        return fail_layer(a, a->top);
    if (archive_errno(a->reader) == ENOMEM)
        return fail(a, ENOMEM, "out of memory");
    /* Asking before a format was found is not safe in libarchive 3.6. */
    if ((a->opened && archive_read_has_encrypted_entries(a->reader) > 0) ||
        (said && (strstr(said, "ncrypt") || strstr(said, "assphrase") || strstr(said, "Crypto"))))
        return fail(a, EPROTONOSUPPORT, "it is encrypted: no password can be given");
    snprintf(why, sizeof(why), "the %s archive is damaged or cut short (%s)",
             pipeline_format_name(a->format), said ? said : "it ends early");
    if (said && (strstr(said, "nsupported") || strstr(said, "not supported")))
        return fail(a, EPROTONOSUPPORT, said);
    return fail(a, EBADMSG, why);
}

static la_ssize_t give(struct archive *reader, void *user, const void **data)
{
    struct pipeline_archive *a = user;
    size_t n;

    if (pipeline_layer_read(a->top, data, &n) < 0) {
        archive_set_error(reader, EIO, "%s", a->top->why);
        return -1;
    }
    if (n) {
        a->given = *data;
        a->given_size = n;
    }
    a->given_total += n;
    return (la_ssize_t)n;
}

static la_int64_t skip(struct archive *reader, void *user, la_int64_t n)
{
    struct pipeline_archive *a = user;
    uint64_t skipped = n > 0 ? pipeline_layer_skip(a->top, (uint64_t)n) : 0;

    (void)reader;
    a->given_total += skipped;
    return (la_int64_t)skipped;
}

static la_int64_t seek(struct archive *reader, void *user, la_int64_t offset, int whence)
{
    struct pipeline_archive *a = user;
    la_int64_t size = (la_int64_t)a->top->size;

    if (whence == SEEK_CUR)
        offset += (la_int64_t)a->top->position;
    else if (whence == SEEK_END)
        offset += size;
    if (offset < 0 || offset > size || pipeline_layer_seek(a->top, (uint64_t)offset) < 0) {
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

static int open_reader(struct pipeline_archive *a)
{
    bool seekable = a->top->seek != NULL;
    int result;

    if (a->format == FORMAT_7ZIP && !seekable)
        return fail(a, EPROTONOSUPPORT, "a 7z archive can only be read from a plain file");
    a->reader = archive_read_new();
    if (!a->reader)
        return pipeline_fail(ENOMEM, "out of memory");
    support(a->reader, a->format, seekable);
    archive_read_set_read_callback(a->reader, give);
    archive_read_set_skip_callback(a->reader, skip);
    if (seekable)
        archive_read_set_seek_callback(a->reader, seek);
    archive_read_set_callback_data(a->reader, a);
    result = archive_read_open1(a->reader);
    return result == ARCHIVE_OK ? 0 : fail_reader(a);
}

/* An ISO image says in its first descriptor how many sectors of 2048 bytes it has. */
static int check_iso_size(struct pipeline_archive *a, const uint8_t *head)
{
    const uint8_t *p = head + 32768 + 80;
    uint64_t sectors = p[0] | p[1] << 8 | p[2] << 16 | (uint64_t)p[3] << 24;

    if (!a->top->seek || a->top->size >= sectors * 2048)
        return 0;
    return fail(a, EBADMSG, "the iso9660 image is shorter than it says: it was cut short");
}

/* Looks at the first bytes and puts the layers together. */
static int open_file(struct pipeline_archive *a)
{
    const char *path = a->source->path;
    const char *promised;
    const uint8_t *head;
    size_t n;
    bool bad;
    int result = pipeline_layer_file_create(a->io, path, &a->file);

    if (result < 0)
        return result;
    a->top = a->file;
    result = pipeline_layer_peek(a->top, DETECT_BYTES, &head, &n);
    if (result < 0)
        return fail_layer(a, a->top);
    a->filter_kind = pipeline_detect_filter(head, n);
    if (a->filter_kind != FILTER_NONE) {
        char why[256];

        result = pipeline_layer_filter_create(a->file, a->filter_kind, &a->filter);
        if (result < 0) {
            snprintf(why, sizeof(why), "%s", pipeline_error());
            return fail(a, -result, why);
        }
        a->top = a->filter;
        result = pipeline_layer_peek(a->top, DETECT_BYTES, &head, &n);
        if (result < 0)
            return fail_layer(a, a->top);
    }
    a->format = pipeline_detect_format(head, n, last_part(path), &bad);
    if (bad)
        return fail(a, EBADMSG, "the first tar header is damaged");
    if (a->format == FORMAT_ISO && (result = check_iso_size(a, head)) < 0)
        return result;
    if (a->format != FORMAT_PLAIN)
        return open_reader(a);
    if (a->filter_kind != FILTER_NONE)
        return 0;
    promised = pipeline_detect_promise(head, n, last_part(path), &bad);
    if (bad)
        return fail(a, EBADMSG, "it is shorter than its first header: it was cut short");
    if (promised && n) {
        char shown[PIPELINE_MAX_NAME];

        pipeline_note("%s: is named like %s data but is not: its bytes are taken as they are",
                      pipeline_printable(path, shown, sizeof(shown)), promised);
    }
    return 0;
}

/* Everything but io and source goes back to the beginning. */
static void shut(struct pipeline_archive *a)
{
    struct pipeline_io *io = a->io;
    const struct pipeline_source *source = a->source;

    archive_read_free(a->reader);
    pipeline_layer_destroy(&a->filter);
    pipeline_layer_destroy(&a->file);
    *a = (struct pipeline_archive){.io = io, .source = source};
}

/* (Re)opens at the beginning. */
static int open_again(struct pipeline_archive *a)
{
    locale_t before = enter_locale();
    int result;

    shut(a);
    result = a->source->folder ? 0 : open_file(a);
    leave_locale(before);
    return result;
}

int pipeline_archive_open(struct pipeline_io *io, const struct pipeline_source *source,
                          struct pipeline_archive **out)
{
    struct pipeline_archive *a = calloc(1, sizeof(*a));
    int result;

    if (!a)
        return pipeline_fail(ENOMEM, "out of memory");
    a->io = io;
    a->source = source;
    result = open_again(a);
    if (result < 0)
        pipeline_archive_close(&a);
    else
        *out = a;
    return result;
}

void pipeline_archive_close(struct pipeline_archive **archive)
{
    if (!*archive)
        return;
    shut(*archive);
    free(*archive);
    *archive = NULL;
}

/* What is left in the top layer behind the archive's last entry. */
static int rest_of_layer(struct pipeline_archive *a, uint64_t *nonzero, uint64_t *rest)
{
    uint64_t left = a->given_total - (uint64_t)archive_filter_bytes(a->reader, 0);
    const uint8_t *p = a->given;
    size_t n = a->given_size;

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
        if (*nonzero && !a->filter)
            return 0;
        if (pipeline_layer_read(a->top, &data, &n) < 0)
            return fail_layer(a, a->top);
        p = data;
    } while (n);
    return 0;
}

/* At the end of the entries: was it the end of the archive? `before` is how much the reader had
 * used before it looked for one more entry. */
static int check_end(struct pipeline_archive *a, uint64_t before)
{
    uint64_t used = (uint64_t)archive_filter_bytes(a->reader, 0);
    uint64_t nonzero = 0, rest = 0;
    char path[PIPELINE_MAX_NAME];
    int result = 0;

    a->ended = true;
    if (a->format == FORMAT_TAR && used < before + 512)
        return fail(a, EBADMSG, "the tar archive has no end marker: it was cut short");
    if (a->filter || a->format == FORMAT_TAR || a->format == FORMAT_AR)
        result = rest_of_layer(a, &nonzero, &rest);
    if (result < 0)
        return result;
    if (a->format == FORMAT_AR && rest > 1)
        return fail(a, EBADMSG, "the ar archive ends inside a header: it was cut short");
    if (a->format == FORMAT_TAR && nonzero)
        pipeline_note("%s: more follows after the tar archive's end marker and is not read",
                      pipeline_printable(a->source->path, path, sizeof(path)));
    return 0;
}

static void describe(struct pipeline_archive *a, struct archive_entry *e)
{
    struct pipeline_member *m = &a->member;
    const char *name = archive_entry_pathname(e);

    /* A name that no conversion can bring to bytes is rare; it must still be a name. */
    if (!name || !*name)
        name = archive_entry_pathname_utf8(e);
    if (!name || !*name) {
        snprintf(a->no_name, sizeof(a->no_name), "unnamed-%llu", (unsigned long long)a->next_index);
        name = a->no_name;
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

static int next_entry(struct pipeline_archive *a)
{
    struct archive_entry *entry;
    uint64_t before;
    int result;

    /* Done apart from the header, so that we know where the header begins. */
    if (a->next_index > 0 && archive_read_data_skip(a->reader) < ARCHIVE_OK)
        return fail_reader(a);
    before = (uint64_t)archive_filter_bytes(a->reader, 0);
    result = archive_read_next_header(a->reader, &entry);
    if (result == ARCHIVE_EOF) {
        a->member_ended = true;
        return check_end(a, before);
    }
    /* A warning here is about a name or an attribute; the bytes are there. */
    if (result < ARCHIVE_WARN)
        return fail_reader(a);
    a->opened = true;
    describe(a, entry);
    return 1;
}

/* A folder's files are layers of their own, opened when first read. */
static int next_in_folder(struct pipeline_archive *a)
{
    const struct pipeline_source *s = a->source;

    if (a->file)
        a->folder_input += a->file->position;
    pipeline_layer_destroy(&a->file);
    a->top = NULL;
    if (a->next_index >= s->n_entries)
        return 0;
    a->member = (struct pipeline_member){
        .name = s->entries[a->next_index].name,
        .type = '-',
        .has_bytes = true,
        .size = (int64_t)s->entries[a->next_index].size,
        .time = -1,
    };
    return 1;
}

static int next_single(struct pipeline_archive *a)
{
    if (a->next_index > 0)
        return 0;
    a->member = (struct pipeline_member){
        .name = last_part(a->source->path),
        .type = '-',
        .has_bytes = true,
        .size = a->filter || !a->file->seek ? -1 : (int64_t)a->file->size,
        .time = -1,
    };
    return 1;
}

int pipeline_archive_next(struct pipeline_archive *a, struct pipeline_member *member)
{
    locale_t before = enter_locale();
    int result = 0;

    if (!a->ended && a->source->folder)
        result = next_in_folder(a);
    else if (!a->ended && a->reader)
        result = next_entry(a);
    else if (!a->ended)
        result = next_single(a);
    leave_locale(before);
    if (result == 0)
        a->ended = true;
    if (result <= 0)
        return result;
    a->member.index = a->next_index++;
    a->offset = a->hole = a->pending_size = 0;
    a->member_ended = false;
    pipeline_printable(a->member.name, a->known, sizeof(a->known));
    *member = a->member;
    return 1;
}

/* Opens the present file of a folder. */
static int open_entry(struct pipeline_archive *a)
{
    const char *slash = a->source->path[strlen(a->source->path) - 1] == '/' ? "" : "/";
    char *path;
    int result;

    if (asprintf(&path, "%s%s%s", a->source->path, slash, a->member.name) < 0)
        return pipeline_fail(ENOMEM, "out of memory");
    result = pipeline_layer_file_create(a->io, path, &a->file);
    a->top = a->file;
    free(path);
    return result;
}

static int read_layer(struct pipeline_archive *a, const uint8_t **data, size_t *size)
{
    const void *bytes;
    int result = a->top ? 0 : open_entry(a);

    if (result < 0)
        return result;
    if (pipeline_layer_read(a->top, &bytes, size) < 0)
        return fail_layer(a, a->top);
    *data = bytes;
    return 0;
}

/* The next block of an entry: sets hole and pending. */
static int read_entry(struct pipeline_archive *a)
{
    const void *data = NULL;
    la_int64_t at = 0;
    size_t n = 0;
    int result = archive_read_data_block(a->reader, &data, &n, &at);

    if (result != ARCHIVE_OK && result != ARCHIVE_EOF)
        return fail_reader(a);
    if (result == ARCHIVE_EOF) {
        n = 0;
        a->member_ended = true;
    }
    if (at < (la_int64_t)a->offset && (n || at > 0))
        return n ? fail(a, EBADMSG, "its parts overlap") : 0;
    a->hole = at > (la_int64_t)a->offset ? (uint64_t)at - a->offset : 0;
    a->pending = data;
    a->pending_size = n;
    return 0;
}

int pipeline_archive_read(struct pipeline_archive *a, const uint8_t **data, size_t *size)
{
    static const uint8_t zeros[ZEROS];
    int result = 0;

    *size = 0;
    if (!a->member.has_bytes || a->next_index == 0)
        return 0;
    if (!a->reader && !a->pending_size) {
        result = read_layer(a, data, size);
        a->offset += *size;
        return result;
    }
    while (a->reader && result == 0 && !a->hole && !a->pending_size && !a->member_ended)
        result = read_entry(a);
    if (result < 0)
        return result;
    if (a->hole) {
        *data = zeros;
        *size = a->hole < ZEROS ? (size_t)a->hole : ZEROS;
        a->hole -= *size;
    } else {
        *data = a->pending;
        *size = a->pending_size;
        a->pending_size = 0;
    }
    a->offset += *size;
    if (*size == 0 && a->member.size > 0 && a->offset < (uint64_t)a->member.size)
        return fail(a, EBADMSG, "the member is shorter than its header says");
    return 0;
}

static int no_such_place(struct pipeline_archive *a, uint64_t index, uint64_t offset)
{
    char path[PIPELINE_MAX_NAME];

    return pipeline_fail(ESTALE,
                         "%s: has no byte %llu of member %llu: it is not the data that the "
                         "run was started with",
                         pipeline_printable(a->source->path, path, sizeof(path)),
                         (unsigned long long)offset, (unsigned long long)index);
}

/* The last `back` bytes, which end at `end`, are to be given once more. They are still there: no
 * layer was read since. */
static void give_again(struct pipeline_archive *a, const uint8_t *end, uint64_t back)
{
    a->offset -= back;
    if (a->hole || a->pending_size) {
        a->hole += back; /* it was a hole; what is pending comes after it */
    } else {
        a->pending = end - back;
        a->pending_size = back;
    }
}

/* Passes over bytes of the present member. */
static int discard(struct pipeline_archive *a, uint64_t offset)
{
    if (!a->reader && !a->filter) {
        int result = a->top ? 0 : open_entry(a);

        if (result < 0)
            return result;
        if (a->top->seek && offset <= a->top->size) {
            result = pipeline_layer_seek(a->top, offset);
            a->offset = offset;
            return result;
        }
    }
    while (a->offset < offset) {
        const uint8_t *data;
        size_t n;
        int result = pipeline_archive_read(a, &data, &n);

        if (result < 0)
            return result;
        if (n == 0)
            return no_such_place(a, a->member.index, offset);
        if (a->offset > offset)
            give_again(a, data + n, a->offset - offset);
    }
    return 0;
}

int pipeline_archive_seek(struct pipeline_archive *a, uint64_t index, uint64_t offset,
                          struct pipeline_member *member)
{
    struct pipeline_member m;
    int result = 1;

    if (a->next_index > index) {
        result = open_again(a);
        if (result < 0)
            return result;
        result = 1;
    }
    if (a->source->folder && index < a->source->n_entries)
        a->next_index = index;
    while (result > 0 && a->next_index <= index)
        result = pipeline_archive_next(a, &m);
    if (result == 0)
        return no_such_place(a, index, offset);
    if (result > 0)
        result = offset ? discard(a, offset) : 0;
    if (result == 0 && member)
        *member = a->member;
    return result;
}

const char *pipeline_archive_format(const struct pipeline_archive *a)
{
    return a->source->folder ? "folder" : pipeline_format_name(a->format);
}

const char *pipeline_archive_filter(const struct pipeline_archive *a)
{
    return pipeline_filter_name(a->filter_kind);
}

bool pipeline_archive_single(const struct pipeline_archive *a)
{
    return !a->source->folder && !a->reader;
}

bool pipeline_archive_random(const struct pipeline_archive *a)
{
    return a->source->folder ||
           (!a->filter && (a->format == FORMAT_ZIP || a->format == FORMAT_ISO));
}

uint64_t pipeline_archive_input(const struct pipeline_archive *a)
{
    return a->folder_input + (a->file ? a->file->position : 0);
}
