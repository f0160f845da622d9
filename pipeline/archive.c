#include "pipeline/archive.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "pipeline/bounds.h"
#include "pipeline/container.h"
#include "pipeline/content.h"
#include "pipeline/folder.h"
#include "pipeline/internal.h"

enum {
    LOOK_BYTES = 512,     /* of a member, to see whether it is an archive */
    HELD_BYTES = 1 << 28, /* a zip or 7z inside an archive is held in memory up to this size */
    MAX_NAME = 65536,     /* of a member, with the names of the archives that it is in */
    MOST_TOLD = 8,        /* notes on single members, of a source */
};
#define BOMB_FLOOR (8ull << 30)

/* An archive that is open: the source itself, or a member of the level below. */
struct level {
    struct container *container;
    char *name;    /* "" for the source; "a.tar/b.zip" inside; ends without '/' */
    bool whole;    /* params.enter took all that is in it */
    int64_t time;  /* of the member that it is ... */
    uint32_t mode; /* ... and which what is only compressed keeps */
};

struct pipeline_archive {
    struct pipeline_io *io;
    const struct pipeline_source *source;
    struct pipeline_archive_params params;
    struct level levels[PIPELINE_MAX_NESTED + 1];
    uint32_t top;                  /* levels[top] is the one that is read */
    struct pipeline_member member; /* the present one ... */
    bool standing;                 /* ... if there is one */
    uint64_t wanted;               /* members of the source before this one are not looked into */
    char *name;                    /* the present one's, if it is not that of its container */
    struct layer *leaf;            /* the present one's content, or NULL ... */
    struct layer *raw;             /* ... and its bytes, of which that is made or which it is */
    bool decoding;                 /* leaf is the content */
    const uint8_t *rest;           /* bytes that the leaf gave and that are to be given again */
    size_t rest_size;
    uint64_t input; /* bytes of a folder's files that are done with */
    uint64_t given; /* bytes of all members that were given */
    bool ended;
    uint32_t told;           /* notes on single members */
    struct foreign_noted foreign;
    struct pipeline_hint hint;     /* of the source's own member */
    bool inside;                   /* it stands in an archive inside, or at its opening */
    char known[PIPELINE_MAX_NAME]; /* the present name, for messages */
};

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

/* What is cut short may be the first of several parts. */
static bool is_named_part(const struct pipeline_archive *a)
{
    return pipeline_detect_part(a->source->path) || pipeline_detect_part(a->known);
}

static const char *what_to_do(const struct pipeline_archive *a, int error)
{
    switch (error) {
    case EBADMSG:
        if (is_named_part(a))
            return "; by its name it is one of several parts: put them together first (cat PARTS > "
                   "WHOLE)";
        return "; fetch or make it again, or pass over what is damaged with --on-corrupt skip";
    case EPROTONOSUPPORT:
        return "; pack it in another way, or leave such members out with --exclude or "
               "--on-corrupt skip";
    case ENOTSUP: /* why says what to do */
        return ", or leave such members out with --exclude or --on-corrupt skip";
    default:
        return "";
    }
}

static bool is_damage(int result)
{
    return result == -EBADMSG || result == -EPROTONOSUPPORT || result == -ENOTSUP;
}

static const char *or_else(const struct pipeline_archive *a, int error)
{
    if (!a->inside || !is_damage(-error) || (error == ENOTSUP && a->leaf != a->raw))
        return "";
    return ", or take archives inside archives as they are with --nested 0";
}

/* Keeps "SOURCE: member 'M' at byte N: why; what to do"; how: "member" or "after member". */
static int fail_at(struct pipeline_archive *a, int error, const char *why, const char *how,
                   uint64_t offset)
{
    const char *to_do = what_to_do(a, error), *or_to_do = or_else(a, error);
    char path[PIPELINE_MAX_NAME];

    if (error == ENOTSUP)
        error = EPROTONOSUPPORT; /* which is told, and passed over, as damage is */
    pipeline_printable(a->source->path, path, sizeof(path));
    if (error == ECANCELED)
        return pipeline_fail(error, "interrupted");
    if (error == ENOMEM)
        return pipeline_fail(error, "%s: out of memory", path);
    if (!a->known[0] || pipeline_archive_single(a))
        return pipeline_fail(error, "%s: at byte %llu: %s%s", path, (unsigned long long)offset, why,
                             to_do);
    return pipeline_fail(error, "%s: %s '%s' at byte %llu: %s%s%s", path, how, a->known,
                         (unsigned long long)offset, why, to_do, or_to_do);
}

static int fail(struct pipeline_archive *a, int error, const char *why)
{
    return fail_at(a, error, why, "member", a->leaf ? a->leaf->position : 0);
}

/* A part of the present member cannot be decoded: see pipeline_archive_params.damaged. */
static int tell_damage(void *user, uint64_t part, const char *why)
{
    struct pipeline_archive *a = user;
    int result = fail(a, EBADMSG, why);

    return a->params.damaged ? a->params.damaged(a->params.user, part) : result;
}

/* As tell_damage, of what is whole and cannot be decoded here. */
static int tell_refusal(void *user, uint64_t part, const char *why)
{
    struct pipeline_archive *a = user;
    int result = -EBADMSG;

    fail(a, ENOTSUP, why);
    if (a->params.damaged)
        result = a->params.damaged(a->params.user, part);
    return result == -EBADMSG ? -ENOTSUP : result;
}

/* A member is read in another way than its header says. */
static void tell_oddity(void *user, const char *why)
{
    struct pipeline_archive *a = user;
    char path[PIPELINE_MAX_NAME];

    if (a->params.again || a->told++ > MOST_TOLD)
        return;
    pipeline_printable(a->source->path, path, sizeof(path));
    if (a->told > MOST_TOLD)
        pipeline_note("%s: further notes on its members are left out", path);
    else if (pipeline_archive_single(a))
        pipeline_note("%s: %s", path, why);
    else
        pipeline_note("%s: member '%s': %s", path, a->known, why);
}

static struct content_damage damage_to(struct pipeline_archive *a)
{
    return (struct content_damage){.tell = tell_damage,
                                   .refuse = tell_refusal,
                                   .note = tell_oddity,
                                   .user = a,
                                   .seen = a->params.seen};
}

/* The files of a folder are taken as they are: a note, once, if the present one is packed. */
static int note_folder(struct pipeline_archive *a)
{
    struct pipeline_seen *seen = a->params.seen;
    const uint8_t *head;
    size_t n;
    int result;

    if (!a->source->folder || !seen || a->params.again || seen->folder == a->source)
        return 0;
    result = pipeline_layer_peek(a->raw, LOOK_BYTES, &head, &n);
    if (result < 0)
        return fail(a, -result, a->raw->why);
    if (pipeline_folder_note(a->source, a->member.name, head, n))
        seen->folder = a->source;
    return 0;
}

static int fail_container(struct pipeline_archive *a, int result, const struct container *c)
{
    return fail(a, -result, c && c->why[0] ? c->why : strerror(-result));
}

/* The next member cannot be had. The place is that behind the member before, in the archive. */
static int fail_next(struct pipeline_archive *a, int result, const struct container *c)
{
    return fail_at(a, -result, c->why[0] ? c->why : strerror(-result),
                   c->next_index > 1 ? "after member" : "member", c->at);
}

/* A failure was told. So was what broke an archive on the way to it; it is not told again. */
static void mark_told(struct pipeline_archive *a)
{
    for (uint32_t i = 0; i <= a->top; i++) {
        struct container *c = a->levels[i].container;

        if (c && c->broken)
            c->told = true;
    }
}

/* What is plainly packed in a way that is not read is noted, unless it is left out for not being an
 * image or sound. */
static void tell_foreign(struct pipeline_archive *a, const char *kind, const char *member)
{
    const struct pipeline_content *content = &a->params.content;

    if (kind && !a->params.again && !content->image_size && !content->audio_rate)
        pipeline_foreign_note(&a->foreign, a->source->path, member, kind);
}

static void tell_note(struct pipeline_archive *a, struct container *c)
{
    char path[PIPELINE_MAX_NAME], name[PIPELINE_MAX_NAME];
    const char *inside = a->levels[a->top].name;

    tell_foreign(a, c->foreign, inside);
    c->foreign = NULL;
    if (!c->note[0])
        return;
    pipeline_printable(a->source->path, path, sizeof(path));
    if (*inside)
        pipeline_note("%s: member '%s': %s", path, pipeline_printable(inside, name, sizeof(name)),
                      c->note);
    else
        pipeline_note("%s: %s", path, c->note);
    c->note[0] = 0;
}

static void leave_member(struct pipeline_archive *a)
{
    if (a->leaf && a->source->folder)
        a->input += a->raw->position;
    pipeline_layer_destroy(&a->leaf);
    a->raw = NULL;
    a->decoding = false;
    free(a->name);
    a->name = NULL;
    a->rest_size = 0;
    a->standing = false;
}

static void leave_level(struct pipeline_archive *a)
{
    struct level *level = &a->levels[a->top];

    leave_member(a);
    pipeline_container_destroy(&level->container);
    free(level->name);
    *level = (struct level){0};
    a->top -= a->top > 0;
}

/* Everything but io, source and params goes back to the beginning. */
static void shut(struct pipeline_archive *a)
{
    struct pipeline_io *io = a->io;
    const struct pipeline_source *source = a->source;
    struct pipeline_archive_params params = a->params;

    while (a->top > 0)
        leave_level(a);
    leave_level(a);
    *a = (struct pipeline_archive){.io = io, .source = source, .params = params};
}

/* (Re)opens at the beginning. */
static int open_again(struct pipeline_archive *a)
{
    struct level *level = &a->levels[0];
    struct layer *file;
    int result;

    shut(a);
    level->name = strdup("");
    if (!level->name)
        return pipeline_fail(ENOMEM, "out of memory");
    if (a->source->folder)
        return pipeline_container_open_folder(a->io, a->source, &level->container);
    result = pipeline_layer_file_create(a->io, a->source->path, &file);
    if (result < 0)
        return result;
    result = pipeline_container_open(a->io, file, last_part(a->source->path), &level->container);
    if (result < 0)
        return fail_container(a, result, level->container);
    tell_note(a, level->container);
    return 0;
}

int pipeline_archive_open(struct pipeline_io *io, const struct pipeline_source *source,
                          const struct pipeline_archive_params *params,
                          struct pipeline_archive **out)
{
    struct pipeline_archive *a;
    int result = params ? pipeline_content_check(&params->content) : 0;

    if (result < 0)
        return result;
    a = calloc(1, sizeof(*a));
    if (!a)
        return pipeline_fail(ENOMEM, "out of memory");
    a->io = io;
    a->source = source;
    if (params)
        a->params = *params;
    if (a->params.nested > PIPELINE_MAX_NESTED)
        a->params.nested = PIPELINE_MAX_NESTED;
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

/*
 * A few bytes that unfold into very many are no data. The floor lets through what is merely large:
 * gigabytes of zeros in a sparse image, say.
 */
static int check_bomb(struct pipeline_archive *a)
{
    uint64_t out = a->given, in = pipeline_archive_input(a);
    char why[160];

    for (uint32_t i = 0; i <= a->top; i++) {
        const struct container *c = a->levels[i].container;

        if (c && c->filter && c->filter->position > out)
            out = c->filter->position;
    }
    if (a->params.max_bytes && out > a->params.max_bytes) {
        snprintf(why, sizeof(why),
                 "it unfolds into more than %llu bytes, which --max-size does not allow",
                 (unsigned long long)a->params.max_bytes);
        return fail(a, EFBIG, why);
    }
    if (!(a->params.max_ratio > 0) || out <= BOMB_FLOOR ||
        (double)out <= a->params.max_ratio * (double)(in + 1))
        return 0;
    snprintf(why, sizeof(why),
             "%llu bytes unfold into more than %llu: it is refused as a decompression bomb; if "
             "it is none, allow more with --max-ratio",
             (unsigned long long)in, (unsigned long long)out);
    return fail(a, EFBIG, why);
}

/* Whether the present member's own bytes are asked for. */
static bool is_wanted(const struct pipeline_archive *a)
{
    return !a->params.wanted || pipeline_archive_single(a) ||
           a->params.wanted(a->params.user, &a->member);
}

/* The first bytes of the present member, to see whether it is an archive. 0 bytes if they cannot be
 * decoded and it is not asked for: what it is shows in its name then, if at all. */
static int look_at(struct pipeline_archive *a, const uint8_t **head, size_t *n)
{
    size_t want = LOOK_BYTES, length = strlen(a->member.name);
    bool cut;
    int result;

    if (length > 4 && !strcasecmp(a->member.name + length - 4, ".iso"))
        want = DETECT_BYTES; /* these show themselves late */
    result = pipeline_layer_peek(a->leaf, want, head, n);
    if (result >= 0)
        return 0;
    *n = 0;
    if (is_damage(result) && !is_wanted(a) &&
        (result != -EBADMSG ||
         !pipeline_detect_promise((const uint8_t *)"", 0, a->member.name, &cut)))
        return 0;
    return fail(a, -result, a->leaf->why);
}

/* Whether the present member is an archive or compressed, and to be opened. */
static int is_container(struct pipeline_archive *a, bool *open, bool *whole)
{
    const struct level *level = &a->levels[a->top];
    enum pipeline_enter enter = PIPELINE_ENTER_TAKE;
    enum detect_format format;
    struct bounds bounds;
    const uint8_t *head;
    size_t n;
    bool bad;
    int result;

    *open = false;
    if (a->top >= a->params.nested || !pipeline_container_packs(level->container) ||
        a->member.index < a->wanted)
        return 0;
    if (!level->whole && a->params.enter)
        enter = a->params.enter(a->params.user, a->member.name);
    if (enter == PIPELINE_ENTER_PASS)
        return 0;
    result = look_at(a, &head, &n);
    if (result < 0 || n == 0)
        return result;
    *whole = enter == PIPELINE_ENTER_TAKE && a->params.enter;
    format = pipeline_detect_format(head, n, a->member.name, &bad);
    *open = format != FORMAT_PLAIN || bad || pipeline_detect_filter(head, n) != FILTER_NONE;
    if (!*open && is_wanted(a))
        tell_foreign(a, pipeline_detect_foreign(head, n, a->member.name), a->member.name);
    if (*open ? format != FORMAT_ZIP && format != FORMAT_7ZIP
              : !pipeline_bounds_may_carry(head, n, a->member.name))
        return 0;
    /* Their directory is at the end. */
    result = pipeline_layer_hold(a->leaf, HELD_BYTES);
    if (!*open && is_damage(result))
        return 0; /* who reads it hears of it, behind the bytes that there are */
    if (result == 0 && !*open && a->leaf->seek) {
        result = pipeline_bounds_find(a->leaf, BOUNDS_PROGRAM, &bounds);
        *open = result == 0 && bounds.format != FORMAT_PLAIN;
        if (result == 0 && is_wanted(a))
            tell_foreign(a, bounds.foreign, a->member.name);
    }
    return result < 0 ? fail(a, -result, a->leaf->why) : 0;
}

/* Whether the present member is to be left out for what it is. */
static int look_inside(struct pipeline_archive *a)
{
    int result;

    a->member.other = false;
    if (a->member.index < a->wanted || !is_wanted(a))
        return 0; /* it is only passed over */
    result = pipeline_content_wants(&a->params.content, a->leaf);
    if (result < 0)
        return fail(a, -result, a->leaf->why);
    a->member.other = result == 0;
    if (!a->member.other ||
        (a->params.enter && a->params.enter(a->params.user, a->member.name) != PIPELINE_ENTER_TAKE))
        return 0;
    return note_folder(a);
}

/* The present member becomes a level of its own. */
static int enter_level(struct pipeline_archive *a, bool whole)
{
    struct level *level = &a->levels[a->top + 1];
    struct layer *leaf = a->leaf;
    const char *bare;
    int result;

    level->name = strdup(a->member.name);
    if (!level->name)
        return pipeline_fail(ENOMEM, "out of memory");
    bare = last_part(level->name);
    level->whole = whole || a->levels[a->top].whole;
    level->time = a->member.time;
    level->mode = a->member.mode;
    a->leaf = a->raw = NULL;
    a->inside = true;
    result = pipeline_container_open(a->io, leaf, bare, &level->container);
    if (result < 0) {
        result = fail_container(a, result, level->container);
        pipeline_container_destroy(&level->container);
        free(level->name);
        *level = (struct level){0};
        return result;
    }
    a->top++;
    tell_note(a, level->container);
    return 0;
}

/* The name of what the top level gave: with the names of the archives that it is in, except that
 * what is only compressed keeps its own. */
static int name_member(struct pipeline_archive *a, const struct container *c)
{
    const char *inside = a->levels[a->top].name;

    a->member.name = c->member.name;
    if (pipeline_container_plain(c) && *inside) {
        a->member.name = inside;
        a->member.time = a->levels[a->top].time;
        a->member.mode = a->levels[a->top].mode;
    } else if (*inside) {
        if (strlen(inside) + strlen(c->member.name) > MAX_NAME)
            return fail(a, EBADMSG, "a name in it is longer than 65536 bytes");
        if (asprintf(&a->name, "%s/%s", inside, c->member.name) < 0) {
            a->name = NULL;
            return pipeline_fail(ENOMEM, "out of memory");
        }
        a->member.name = a->name;
    }
    pipeline_printable(a->member.name, a->known, sizeof(a->known));
    return 0;
}

/* The newest beginnings of frames are soon forgotten: this is for when the header was just read. */
static struct pipeline_hint member_hint(const struct container *c)
{
    struct pipeline_hint hint = {.header = c->header};

    if (c->filter && c->filter->point) {
        struct layer_point p = c->filter->point(c->filter, c->header);

        hint.in = p.in;
        hint.out = p.out;
    }
    return hint;
}

struct pipeline_hint pipeline_archive_hint(const struct pipeline_archive *a, uint64_t offset)
{
    const struct container *c = a->levels[0].container;
    struct layer_point p;

    if (!pipeline_archive_single(a) || !c->filter || !c->filter->point || a->leaf != a->raw)
        return a->hint;
    p = c->filter->point(c->filter, offset);
    return (struct pipeline_hint){.in = p.in, .out = p.out};
}

/* The next thing that the top level gives. 1: the present member. 0: a level was left or entered.
 */
static int advance(struct pipeline_archive *a)
{
    struct level *level = &a->levels[a->top];
    struct container *c = level->container;
    uint64_t index = a->member.index, inner = a->member.inner + a->standing;
    bool open, whole = false;
    int result;

    leave_member(a);
    a->inside = a->top > 0;
    result = pipeline_container_next(c);
    tell_note(a, c);
    if (result < 0) {
        /* What fails has a place of its own, as a member has. */
        a->member.index = a->top ? index : c->next_index - 1;
        a->member.inner = a->top ? inner : 0;
        a->standing = true;
        return fail_next(a, result, c);
    }
    if (result == 0 && a->top == 0) {
        a->ended = true;
        return 1;
    }
    if (result == 0) {
        a->member.inner = inner;
        leave_level(a);
        return 0;
    }
    a->member = c->member;
    if (a->top == 0)
        a->hint = member_hint(c);
    if (a->top > 0) {
        a->member.index = index;
        a->member.inner = inner;
        a->member.whole = level->whole;
    }
    a->standing = true;
    result = name_member(a, c);
    if (result == 0 && a->member.has_bytes)
        result = pipeline_container_member(c, &a->leaf);
    a->raw = a->leaf;
    if (result < 0 || !a->member.has_bytes)
        return result < 0 ? result : 1;
    result = is_container(a, &open, &whole);
    if (result == 0 && !open)
        result = look_inside(a);
    if (result < 0 || !open)
        return result < 0 ? result : 1;
    result = enter_level(a, whole);
    a->standing = result < 0; /* what cannot be opened counts as a member, to tell places apart */
    return result;
}

int pipeline_archive_next(struct pipeline_archive *a, struct pipeline_member *member)
{
    int result = check_bomb(a);

    while (result == 0 && !a->ended)
        result = advance(a);
    *member = a->member;
    if (result < 0)
        mark_told(a);
    return result < 0 ? result : !a->ended;
}

/* Members that are only passed over are not decoded. */
static int open_content(struct pipeline_archive *a)
{
    const struct content_damage damage = damage_to(a);
    int result;

    if (a->decoding || !a->leaf || a->member.other)
        return 0;
    result = note_folder(a);
    if (result < 0)
        return result;
    result = pipeline_content_open(&a->params.content, a->member.name, a->leaf, &damage, &a->leaf);
    a->decoding = result == 0;
    return result < 0 ? fail(a, -result, a->leaf->why) : 0;
}

int pipeline_archive_look(struct pipeline_archive *a)
{
    const struct content_damage damage = damage_to(a);
    int result;

    if (a->decoding || !a->leaf || a->member.other)
        return 0;
    result = note_folder(a);
    if (result < 0 || !a->params.content.jsonl_field)
        return result;
    result = pipeline_content_is_jsonl(a->params.content.jsonl_field, a->member.name, a->leaf,
                                       &damage, true);
    return result < 0 ? fail(a, -result, a->leaf->why) : 0;
}

int pipeline_archive_read(struct pipeline_archive *a, const uint8_t **data, size_t *size)
{
    const void *bytes = NULL;
    int result;

    *size = 0;
    if (a->rest_size) {
        *data = a->rest;
        *size = a->rest_size;
        a->rest_size = 0;
        return 0;
    }
    result = open_content(a);
    if (result < 0)
        mark_told(a);
    if (result < 0 || !a->leaf || a->member.other)
        return result;
    result = pipeline_layer_read(a->leaf, &bytes, size);
    if (result < 0) {
        mark_told(a);
        return fail(a, -result, a->leaf->why[0] ? a->leaf->why : strerror(-result));
    }
    a->given += *size;
    *data = bytes;
    return check_bomb(a);
}

static int no_such_place(struct pipeline_archive *a, uint64_t index, uint64_t offset)
{
    char path[PIPELINE_MAX_NAME];

    return pipeline_fail(ESTALE,
                         "%s: has no byte %llu of member %llu: the data has changed since the run "
                         "was started; bring the old data back, or start a new run",
                         pipeline_printable(a->source->path, path, sizeof(path)),
                         (unsigned long long)offset, (unsigned long long)index);
}

/* Passes over bytes of the present member. */
static int discard(struct pipeline_archive *a, uint64_t offset)
{
    int result = open_content(a);

    if (result < 0)
        return result;
    if (a->leaf && (a->leaf->seek ? offset <= a->leaf->size : a->leaf->restart != NULL)) {
        result = pipeline_layer_jump(a->leaf, offset);
        if (result < 0)
            return fail(a, -result, a->leaf->why);
        return a->leaf->position == offset ? 0 : no_such_place(a, a->member.index, offset);
    }
    while (!a->leaf || a->leaf->position < offset) {
        const uint8_t *data;
        size_t n;

        result = pipeline_archive_read(a, &data, &n);
        if (result < 0)
            return result;
        if (n == 0)
            return no_such_place(a, a->member.index, offset);
        if (a->leaf->position > offset) {
            a->rest_size = (size_t)(a->leaf->position - offset);
            a->rest = data + n - a->rest_size;
        }
    }
    return 0;
}

/* Whether a failure on the way to a place is gone past. */
static bool is_passed(const struct pipeline_archive *a, int result)
{
    return is_damage(result) && a->params.past_damage;
}

int pipeline_archive_skip_to(struct pipeline_archive *a, uint64_t index)
{
    struct pipeline_member m;
    int result;

    if (a->levels[0].container->next_index > index) {
        result = open_again(a);
        if (result < 0)
            return result;
    }
    a->wanted = index;
    while (a->top > 0)
        leave_level(a);
    pipeline_container_skip_to(a->levels[0].container, index);
    while (a->levels[0].container->next_index < index) {
        result = pipeline_archive_next(a, &m);
        if (result == 0)
            return no_such_place(a, index, 0);
        if (result < 0 && !is_passed(a, result))
            return result;
    }
    return 0;
}

/* A short cut to member `index`, where there is one. */
static int take_hint(struct pipeline_archive *a, uint64_t index, const struct pipeline_hint *hint)
{
    struct container *c = a->levels[0].container;
    int result;

    if (!hint || a->top > 0 || index < c->next_index)
        return 0;
    if (pipeline_container_plain(c)) {
        if (c->filter && c->filter->learn)
            c->filter->learn(c->filter, (struct layer_point){hint->in, hint->out});
        return 0;
    }
    leave_member(a);
    result = pipeline_container_restart(c, index, hint);
    return result < 0 ? fail_container(a, result, c) : 0;
}

int pipeline_archive_seek(struct pipeline_archive *a, uint64_t index, uint64_t inner,
                          uint64_t offset, const struct pipeline_hint *hint,
                          struct pipeline_member *member)
{
    struct pipeline_member m = {0};
    int result = take_hint(a, index, hint);

    if (result == 0)
        result = pipeline_archive_skip_to(a, index);
    if (result < 0)
        return result;
    do
        result = pipeline_archive_next(a, &m);
    while ((result > 0 || is_passed(a, result)) && m.index == index && m.inner < inner);
    if (result == 0 ||
        ((result > 0 || is_passed(a, result)) && (m.index != index || m.inner != inner)))
        return no_such_place(a, index, offset);
    if (result > 0)
        result = offset ? discard(a, offset) : 0;
    if (result == 0 && member)
        *member = a->member;
    return result;
}

const char *pipeline_archive_format(const struct pipeline_archive *a)
{
    return a->source->folder ? "folder" : pipeline_format_name(a->levels[0].container->format);
}

const char *pipeline_archive_filter(const struct pipeline_archive *a)
{
    return pipeline_filter_name(a->levels[0].container->filter_kind);
}

bool pipeline_archive_single(const struct pipeline_archive *a)
{
    return pipeline_container_plain(a->levels[0].container);
}

uint64_t pipeline_archive_input(const struct pipeline_archive *a)
{
    const struct container *c = a->levels[0].container;

    if (a->source->folder)
        return a->input + (a->raw ? a->raw->position : 0);
    return c && c->base ? c->base->position : 0;
}
