#include "pipeline/stream.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "pipeline/content.h"
#include "pipeline/internal.h"
#include "pipeline/split.h"

enum { KEPT_LINES = 64 };

/* Where damage was found: a second pass must not count it again. */
struct damage {
    uint64_t source, member, inner;
    uint64_t part; /* a line, from 1; 0: the member */
};

struct pipeline_stream {
    struct pipeline_io *io;
    const struct pipeline_sources *sources;
    struct pipeline_choice choice;
    struct pipeline_archive *archive; /* of sources->list[at.source], or NULL */
    bool in_member;                   /* the archive stands in member at.member, which is taken */
    bool single;                      /* it is split by blocks */
    int stopped;                      /* the failure at which reading stopped, until it seeks */
    uint64_t name_hash;
    struct pipeline_position at; /* of the next byte to come out of the archive */
    const uint8_t *rest;         /* bytes that came out and were not given yet; they end at `at` */
    size_t rest_size;
    const uint8_t *given; /* the piece given last, until it is remembered ... */
    size_t given_size;
    uint64_t given_at;                  /* ... and its place in the member */
    uint8_t last[PIPELINE_CHECK_BYTES]; /* the bytes before given_at, without a gap ... */
    size_t n_last;                      /* ... so many of them */
    uint64_t last_end;                  /* ... up to this place */
    uint64_t input_before;              /* bytes of the sources that are done with */
    uint64_t sources_seen;              /* so many sources were read to their ends */
    struct pipeline_stream_stats stats;
    pipeline_entered *entered; /* or NULL */
    void *entered_user;
    struct damage *damage; /* (stats.damaged), sorted */
    char *lines[KEPT_LINES];
};

static bool any_matches(const char *const *patterns, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    }
    return false;
}

bool pipeline_choice_takes(const struct pipeline_choice *choice,
                           const struct pipeline_member *member)
{
    return (choice->n_include == 0 || member->whole ||
            any_matches(choice->include, choice->n_include, member->name)) &&
           !any_matches(choice->exclude, choice->n_exclude, member->name);
}

static enum pipeline_enter on_enter(const struct pipeline_choice *choice, const char *name)
{
    if (any_matches(choice->exclude, choice->n_exclude, name))
        return PIPELINE_ENTER_PASS;
    if (choice->n_include == 0 || any_matches(choice->include, choice->n_include, name))
        return PIPELINE_ENTER_TAKE;
    return PIPELINE_ENTER_LOOK;
}

uint64_t pipeline_name_hash(const char *name)
{
    return XXH64(name, strlen(name), 0);
}

bool pipeline_choice_holds(double val_fraction, uint64_t hash)
{
    return (double)(hash >> 11) * 0x1p-53 < val_fraction;
}

bool pipeline_choice_on_side(const struct pipeline_choice *choice, uint64_t hash)
{
    bool val = pipeline_choice_holds(choice->val_fraction, hash);

    return choice->side == PIPELINE_SIDE_ALL || val == (choice->side == PIPELINE_SIDE_VAL);
}

int pipeline_stream_create(struct pipeline_io *io, const struct pipeline_sources *sources,
                           const struct pipeline_choice *choice, struct pipeline_stream **out)
{
    struct pipeline_stream *s;
    int result;

    if (!(choice->val_fraction >= 0 && choice->val_fraction <= 1))
        return pipeline_fail(EINVAL, "the held-out fraction is a number from 0 to 1");
    result = pipeline_content_check(&choice->content);
    if (result < 0)
        return result;
    s = calloc(1, sizeof(*s));
    if (!s)
        return pipeline_fail(ENOMEM, "out of memory");
    s->io = io;
    s->sources = sources;
    s->choice = *choice;
    for (size_t i = 0; i < sources->n; i++)
        s->stats.input_total += sources->list[i].size;
    *out = s;
    return 0;
}

void pipeline_stream_destroy(struct pipeline_stream **stream)
{
    struct pipeline_stream *dead = *stream;

    if (!dead)
        return;
    pipeline_archive_close(&dead->archive);
    for (size_t i = 0; i < KEPT_LINES; i++)
        free(dead->lines[i]);
    free(dead->damage);
    free(dead);
    *stream = NULL;
}

static int compare_damage(const struct damage *a, const struct damage *b)
{
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    if (a->member != b->member)
        return a->member < b->member ? -1 : 1;
    if (a->inner != b->inner)
        return a->inner < b->inner ? -1 : 1;
    return a->part == b->part ? 0 : a->part < b->part ? -1 : 1;
}

static bool block_on_side(const struct pipeline_stream *s, uint64_t block)
{
    bool val = pipeline_split_holds(s->sources->list[s->at.source].split_bytes,
                                    s->choice.val_fraction, s->name_hash, block);

    return val == (s->choice.side == PIPELINE_SIDE_VAL);
}

/* By what the member at hand is split: blocks of its bytes, or its name. */
static void know_side(struct pipeline_stream *s, const char *name)
{
    const struct pipeline_source *source = &s->sources->list[s->at.source];

    s->single = pipeline_archive_single(s->archive) && s->choice.side != PIPELINE_SIDE_ALL &&
                !source->unsplit;
    s->name_hash = s->single ? pipeline_split_hash(source, name) : pipeline_name_hash(name);
}

static void leave_source(struct pipeline_stream *s)
{
    pipeline_archive_close(&s->archive);
    if (s->sources_seen <= s->at.source)
        s->sources_seen = s->at.source + 1;
    s->input_before += s->sources->list[s->at.source].size;
    s->at = (struct pipeline_position){.source = s->at.source + 1};
    s->in_member = false;
}

/* Counts and notes what pipeline_error() says, once for each place. */
static int remember_damage(struct pipeline_stream *s, uint64_t part)
{
    struct damage here = {s->at.source, s->at.member, s->at.inner, part};
    uint64_t n = s->stats.damaged, low = 0, high = n;
    struct damage *list;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = compare_damage(&s->damage[middle], &here);

        if (order == 0)
            return 0;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if ((n & (n - 1)) == 0) { /* room for a power of two */
        list = realloc(s->damage, (n ? 2 * n : 1) * sizeof(*list));
        if (!list)
            return pipeline_fail(ENOMEM, "out of memory");
        s->damage = list;
    }
    memmove(s->damage + low + 1, s->damage + low, (n - low) * sizeof(*s->damage));
    s->damage[low] = here;
    if (n < KEPT_LINES)
        s->lines[n] = strdup(pipeline_error());
    s->stats.damaged = n + 1;
    if (n < KEPT_LINES)
        pipeline_note("passed over: %s", pipeline_error());
    else if (n == KEPT_LINES)
        pipeline_note("more damage is passed over; it is counted, but not told any more");
    return 0;
}

/* A part of the present member cannot be decoded. */
static int on_damage(void *user, uint64_t part)
{
    struct pipeline_stream *s = user;

    return s->choice.on_corrupt == PIPELINE_CORRUPT_STOP ? -EBADMSG : remember_damage(s, part);
}

static enum pipeline_enter enter_by_stream(void *user, const char *name)
{
    return on_enter(&((struct pipeline_stream *)user)->choice, name);
}

/* Whether the split puts a member on the side that is read. A file that is its own only member is
 * split by blocks instead. */
static bool on_side(const struct pipeline_stream *s, uint64_t name_hash)
{
    return s->sources->list[s->at.source].unsplit || pipeline_choice_on_side(&s->choice, name_hash);
}

static bool wanted_by_stream(void *user, const struct pipeline_member *m)
{
    const struct pipeline_stream *s = user;

    return pipeline_choice_takes(&s->choice, m) && on_side(s, pipeline_name_hash(m->name));
}

static int open_source(struct pipeline_stream *s)
{
    const struct pipeline_archive_params params = {
        .nested = s->choice.nested,
        .max_ratio = s->choice.max_ratio,
        .max_bytes = s->choice.max_bytes,
        .content = s->choice.content,
        .enter = enter_by_stream,
        .wanted = wanted_by_stream,
        .damaged = on_damage,
        .past_damage = s->choice.on_corrupt == PIPELINE_CORRUPT_SKIP,
        .user = s,
        .seen = &s->stats.seen,
        .again = s->at.source < s->sources_seen,
    };

    return pipeline_archive_open(s->io, &s->sources->list[s->at.source], &params, &s->archive);
}

static bool is_damage(int result)
{
    return result == -EBADMSG || result == -EPROTONOSUPPORT;
}

/* What to do about a failure: pass it on, or get past it and return 0. The archive goes on behind
 * damage by itself, as far as it can. */
static int get_past(struct pipeline_stream *s, int result)
{
    bool bomb = result == -EFBIG;

    if (!bomb && !is_damage(result))
        return result;
    if (s->choice.on_corrupt == PIPELINE_CORRUPT_STOP) {
        s->stopped = result;
        return result;
    }
    result = remember_damage(s, 0);
    s->in_member = false;
    if (bomb || !s->archive)
        leave_source(s);
    return result;
}

static bool is_taken(const struct pipeline_stream *s, const struct pipeline_member *m)
{
    return !m->other && pipeline_choice_takes(&s->choice, m) &&
           (s->single || on_side(s, s->name_hash));
}

/* Goes to the next member. 1, or 0 if the source has no more, or a failure. */
static int next_member(struct pipeline_stream *s, struct pipeline_member *m)
{
    int result = pipeline_archive_next(s->archive, m);

    if (result == 0)
        return 0;
    s->at.member = m->index;
    s->at.inner = m->inner;
    s->at.offset = 0;
    if (result < 0)
        return result;
    know_side(s, m->name);
    return 1;
}

/* Enters the next member, if it is taken. Returns as next_member. */
static int enter_member(struct pipeline_stream *s)
{
    struct pipeline_member m;
    int result = next_member(s, &m);

    if (result <= 0 || !m.has_bytes)
        return result;
    s->in_member = is_taken(s, &m);
    s->stats.members += s->in_member;
    s->stats.left_out += !s->in_member;
    if (s->in_member && s->entered)
        s->entered(s->entered_user, s->stats.bytes, s->at.source, m.name);
    return 1;
}

/* Opens the present source and keeps what it is. */
static int begin_source(struct pipeline_stream *s)
{
    int result = open_source(s);

    if (result < 0)
        return result;
    s->stats.format = pipeline_archive_format(s->archive);
    s->stats.filter = pipeline_archive_filter(s->archive);
    return 1;
}

/* One step towards more bytes: open, enter, or read. 1 if it got anywhere, 0 at the very end. */
static int step(struct pipeline_stream *s)
{
    const uint8_t *data;
    size_t n = 0;
    int result;

    if (s->at.source >= s->sources->n)
        return 0;
    if (!s->archive)
        return begin_source(s);
    if (!s->in_member) {
        result = enter_member(s);
        if (result == 0)
            leave_source(s);
        return result < 0 ? result : 1;
    }
    result = pipeline_archive_read(s->archive, &data, &n);
    if (result < 0)
        return result;
    s->in_member = n > 0;
    s->rest = data;
    s->rest_size = n;
    s->at.offset += n;
    return 1;
}

int pipeline_stream_list(struct pipeline_stream *s, struct pipeline_member *m, uint64_t *source)
{
    while (s->at.source < s->sources->n) {
        bool began = s->archive != NULL;
        int result = began ? next_member(s, m) : begin_source(s);

        if (result < 0)
            result = get_past(s, result);
        else if (result == 0)
            leave_source(s);
        else if (began) {
            bool taken = is_taken(s, m);

            s->stats.members += m->has_bytes && taken;
            s->stats.left_out += m->has_bytes && !taken;
            *source = s->at.source;
            if (taken)
                result = pipeline_archive_look(s->archive);
            if (taken && result == 0)
                return 1;
            result = result < 0 ? get_past(s, result) : 0;
        }
        if (result < 0)
            return result;
    }
    return 0;
}

/* Cuts `rest` down to its first piece on the stream's side; returns its length, and leaves what
 * follows in rest. A source with one member is split by blocks of its bytes. */
static size_t take_piece(struct pipeline_stream *s, const uint8_t **data)
{
    size_t n = s->rest_size;
    uint64_t size = s->single ? s->sources->list[s->at.source].split_bytes : 0;

    size = size ? size : PIPELINE_SPLIT_BYTES;
    while (s->single && s->rest_size) {
        uint64_t from = s->at.offset - s->rest_size;
        uint64_t block = from / size;

        n = (size_t)((block + 1) * size - from);
        n = n < s->rest_size ? n : s->rest_size;
        if (block_on_side(s, block))
            break;
        s->rest += n;
        s->rest_size -= n;
        n = 0;
    }
    *data = s->rest;
    s->rest += n;
    s->rest_size -= n;
    return n;
}

/* Takes the piece given last into `last`; its bytes are about to go. */
static void remember_given(struct pipeline_stream *s)
{
    size_t n = s->given_size < PIPELINE_CHECK_BYTES ? s->given_size : PIPELINE_CHECK_BYTES;
    size_t keep = PIPELINE_CHECK_BYTES - n;

    if (s->given_size == 0)
        return;
    if (s->last_end != s->given_at)
        s->n_last = 0; /* another member, or bytes between were left out */
    keep = s->n_last < keep ? s->n_last : keep;
    memmove(s->last, s->last + s->n_last - keep, keep);
    memcpy(s->last + keep, s->given + s->given_size - n, n);
    s->n_last = keep + n;
    s->last_end = s->given_at + s->given_size;
    s->given_size = 0;
}

int pipeline_stream_next(struct pipeline_stream *s, const uint8_t **data, size_t *size)
{
    int result = 1;

    remember_given(s);
    *size = s->rest_size ? take_piece(s, data) : 0;
    if (*size == 0 && s->stopped)
        return s->stopped;
    while (*size == 0 && result > 0) {
        result = step(s);
        if (result < 0) {
            result = get_past(s, result);
            if (result < 0)
                return result;
            result = 1;
            continue;
        }
        *size = s->rest_size ? take_piece(s, data) : 0;
    }
    s->stats.bytes += *size;
    s->given = *data;
    s->given_size = *size;
    s->given_at = s->at.offset - s->rest_size - *size;
    return 0;
}

int pipeline_stream_read(struct pipeline_stream *s, void *to, size_t size, size_t *got)
{
    uint8_t *out = to;
    size_t have = 0;

    while (have < size) {
        const uint8_t *data;
        size_t n;
        int result = pipeline_stream_next(s, &data, &n);

        if (result < 0)
            return result;
        if (n == 0)
            break;
        if (n > size - have) {
            /* What does not fit is given next time. rest is empty or lies right behind. */
            size_t over = n - (size - have);

            s->rest = data + n - over;
            s->rest_size += over;
            s->given_size -= over;
            s->stats.bytes -= over;
            n -= over;
        }
        memcpy(out + have, data, n);
        have += n;
    }
    *got = have;
    return 0;
}

/* Without its lowest bit, so that it fits JSON's integers. */
static uint64_t check_of(const uint8_t *bytes, size_t n)
{
    return XXH64(bytes, n, 0) >> 1;
}

struct pipeline_position pipeline_stream_tell(struct pipeline_stream *s)
{
    struct pipeline_position at = s->at;

    at.offset -= s->rest_size;
    remember_given(s);
    if (s->archive && at.offset)
        at.hint = pipeline_archive_hint(s->archive, at.offset);
    if (s->n_last && s->last_end == at.offset) {
        at.check_bytes = s->n_last;
        at.check = check_of(s->last, s->n_last);
    }
    return at;
}

/* The bytes before `to` must be those that were there. Stands there afterwards. */
static int check_before(struct pipeline_stream *s, struct pipeline_position to)
{
    uint8_t *bytes = s->last;
    size_t have = 0, n;
    int result = 0;

    while (have < to.check_bytes) {
        const uint8_t *data;

        result = pipeline_archive_read(s->archive, &data, &n);
        if (result < 0 || n == 0)
            break;
        if (n > to.check_bytes - have) {
            s->rest_size = n - (to.check_bytes - have);
            n -= s->rest_size;
            s->rest = data + n;
        }
        memcpy(bytes + have, data, n);
        have += n;
    }
    if (result == 0 && (have < to.check_bytes || check_of(bytes, have) != to.check)) {
        char path[PIPELINE_MAX_NAME];

        result =
            pipeline_fail(ESTALE,
                          "%s: the bytes before byte %llu of member %llu are not those that were "
                          "read there: the data has changed since the run stopped",
                          pipeline_printable(s->sources->list[to.source].path, path, sizeof(path)),
                          (unsigned long long)to.offset, (unsigned long long)to.member);
    }
    s->at.offset = to.offset + s->rest_size;
    s->n_last = have;
    s->last_end = to.offset;
    return result;
}

int pipeline_stream_seek(struct pipeline_stream *s, struct pipeline_position to)
{
    struct pipeline_position here = pipeline_stream_tell(s);
    struct pipeline_member m;
    int result;

    if (!s->stopped && to.source == here.source && to.member == here.member &&
        to.inner == here.inner && to.offset == here.offset)
        return 0;
    pipeline_archive_close(&s->archive);
    s->rest_size = s->given_size = s->n_last = 0;
    s->in_member = false;
    s->stopped = 0;
    s->input_before = 0;
    s->at = (struct pipeline_position){to.source, to.member, to.inner, to.offset};
    if (to.check_bytes > PIPELINE_CHECK_BYTES || to.check_bytes > to.offset)
        return pipeline_fail(ESTALE, "the place to go on from is none");
    if (to.source > s->sources->n ||
        (to.source == s->sources->n && (to.member || to.inner || to.offset)))
        return pipeline_fail(ESTALE,
                             "the data has no source %llu: name the data that the run was "
                             "started with",
                             (unsigned long long)to.source);
    for (uint64_t i = 0; i < to.source; i++)
        s->input_before += s->sources->list[i].size;
    if (to.member == 0 && to.inner == 0 && to.offset == 0)
        return 0;
    result = open_source(s);
    if (result == 0)
        result = pipeline_archive_seek(s->archive, to.member, to.inner, to.offset - to.check_bytes,
                                       &to.hint, &m);
    if (is_damage(result) && s->choice.on_corrupt == PIPELINE_CORRUPT_SKIP && s->archive &&
        to.offset == 0)
        return 0; /* the place of damage that was passed over: it goes on behind it */
    if (result == 0 && to.check_bytes)
        result = check_before(s, to);
    if (result < 0) {
        pipeline_archive_close(&s->archive);
        return result;
    }
    know_side(s, m.name);
    s->in_member = m.has_bytes && is_taken(s, &m);
    return 0;
}

/* Why there are no texts, in words for a note or a failure. */
static const char *no_texts(const struct pipeline_choice *choice, const struct pipeline_seen *seen,
                            char line[600])
{
    char fields[320];

    if (seen->fields[0])
        snprintf(line, 600,
                 "no member has a text under '%.100s' (--jsonl-field); the fields of the first "
                 "object are: %s",
                 choice->content.jsonl_field,
                 pipeline_printable(seen->fields, fields, sizeof(fields)));
    else
        snprintf(line, 600, "no member holds JSON lines with a text under '%.100s' (--jsonl-field)",
                 choice->content.jsonl_field);
    return line;
}

bool pipeline_choice_note_texts(const struct pipeline_choice *choice,
                                const struct pipeline_seen *seen)
{
    char line[600];

    if (!choice->content.jsonl_field || !seen->members || seen->with_text)
        return false;
    pipeline_note("%s", no_texts(choice, seen, line));
    return true;
}

static const char *chosen_by(const struct pipeline_choice *choice)
{
    bool names = choice->n_include || choice->n_exclude;

    if (choice->content.image_size)
        return names ? ": --images takes PNG and JPEG, and of these what --include and --exclude "
                       "leave"
                     : ": --images takes PNG and JPEG";
    if (choice->content.audio_rate)
        return names ? ": --audio takes WAV and FLAC, and of these what --include and --exclude "
                       "leave"
                     : ": --audio takes WAV and FLAC";
    return " by --include and --exclude";
}

int pipeline_choice_took_none(const struct pipeline_choice *choice, uint64_t left_out)
{
    if (choice->side == PIPELINE_SIDE_ALL)
        return pipeline_fail(ENODATA, "none of the %llu files in the data is chosen%s",
                             (unsigned long long)left_out, chosen_by(choice));
    return pipeline_fail(ENODATA,
                         "no bytes fall on the %s side with --val-fraction %g (%llu files "
                         "seen; a member of an archive is held out whole or not at all): take "
                         "another fraction, or name held-out data with --val",
                         choice->side == PIPELINE_SIDE_VAL ? "held-out" : "training",
                         choice->val_fraction, (unsigned long long)left_out);
}

static int no_data(const struct pipeline_stream *s)
{
    const struct pipeline_stream_stats *st = &s->stats;
    char line[600];

    if (st->members && st->seen.fields[0] && !st->seen.with_text)
        return pipeline_fail(ENODATA, "the data holds no bytes: %s",
                             no_texts(&s->choice, &st->seen, line));
    if (st->members == 0 && st->left_out == 0)
        return pipeline_fail(ENODATA, "the data holds no bytes: it has no file in it%s",
                             st->damaged ? " that could be read" : "");
    if (s->choice.side == PIPELINE_SIDE_ALL && st->members)
        return pipeline_fail(ENODATA, "the data holds no bytes: its %llu files are empty",
                             (unsigned long long)st->members);
    return pipeline_choice_took_none(&s->choice, st->members + st->left_out);
}

void pipeline_stream_watch(struct pipeline_stream *s, pipeline_entered *entered, void *user)
{
    s->entered = entered;
    s->entered_user = user;
}

int pipeline_stream_probe(struct pipeline_stream *s)
{
    const uint8_t *data;
    size_t n;
    int result = pipeline_stream_next(s, &data, &n);

    if (result == 0 && n == 0)
        result = no_data(s);
    if (result < 0)
        return result;
    /* Not given after all; going back would lose what came out of a pipe. */
    s->rest = data;
    s->rest_size += n;
    s->given_size = 0;
    s->stats.bytes -= n;
    return 0;
}

struct pipeline_stream_stats pipeline_stream_stats(const struct pipeline_stream *s)
{
    struct pipeline_stream_stats stats = s->stats;

    stats.input = s->input_before;
    if (s->archive)
        stats.input += pipeline_archive_input(s->archive);
    return stats;
}

const char *pipeline_stream_damage(const struct pipeline_stream *s, uint64_t i)
{
    return i < s->stats.damaged && i < KEPT_LINES ? s->lines[i] : NULL;
}
