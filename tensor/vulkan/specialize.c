/* specialize.c - a kernel's code with plain constants in the place of specialization constants
 *
 * SPIR-V is a header of five words, and instructions that begin with a word of their length and
 * their number; all results are numbered, below a bound in the header. Constants stand behind what
 * they depend on, so that one walk is enough.
 */
#include "tensor/vulkan/specialize.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_WORDS 5
#define BOUND        3 /* its word in the header */

/* Numbers of the SPIR-V specification. */
enum op {
    TYPE_BOOL = 20,
    TYPE_INT = 21,
    CONSTANT_TRUE = 41,
    CONSTANT_FALSE = 42,
    CONSTANT = 43,
    CONSTANT_COMPOSITE = 44,
    SPEC_CONSTANT_TRUE = 48,
    SPEC_CONSTANT_FALSE = 49,
    SPEC_CONSTANT = 50,
    SPEC_CONSTANT_COMPOSITE = 51,
    SPEC_CONSTANT_OP = 52,
    DECORATE = 71,
    COMPOSITE_EXTRACT = 81,
    ADD = 128,
    SUBTRACT = 130,
    MULTIPLY = 132,
    DIVIDE = 134,
    MODULO = 137,
    LOGICAL_OR = 166,
    LOGICAL_AND = 167,
    LOGICAL_NOT = 168,
    SELECT = 169,
    EQUAL = 170,
    NOT_EQUAL = 171,
    GREATER = 172,
    GREATER_EQUAL = 174,
    LESS = 176,
    LESS_EQUAL = 178,
    SHIFT_RIGHT = 194,
    SHIFT_LEFT = 196,
    BITWISE_OR = 197,
    BITWISE_AND = 199,
};
enum { DECORATION_SPEC_ID = 1 };

/* What is known of a result. */
struct known {
    enum { NOTHING, BOOL, INT, VALUE, COMPOSITE } is; /* a type, or a constant */
    uint32_t value;                                   /* of a VALUE; a bool is 0 or 1 */
    uint32_t spec;                                    /* 1 + its SpecId; 0: none */
    size_t at; /* of a COMPOSITE: where its first part is named in the copy */
    uint32_t parts;
};

struct walk {
    struct known *known; /* by number */
    const uint32_t *constant;
    uint32_t count;
    uint32_t *to; /* the copy */
    size_t used;  /* words of it */
};

/* What an operation on two or three values comes to; false: not known, or not defined. */
static bool op_result(uint32_t op, const uint32_t x[3], uint32_t count, uint32_t *y)
{
    const uint32_t a = x[0], b = x[1];
    if (op == LOGICAL_NOT && count == 1) {
        *y = !a;
        return true;
    }
    if (op == SELECT && count == 3) {
        *y = a ? b : x[2];
        return true;
    }
    if (count != 2 || ((op == DIVIDE || op == MODULO) && b == 0) ||
        ((op == SHIFT_LEFT || op == SHIFT_RIGHT) && b > 31))
        return false;
    switch (op) {
    case ADD:
        *y = a + b;
        return true;
    case SUBTRACT:
        *y = a - b;
        return true;
    case MULTIPLY:
        *y = a * b;
        return true;
    case DIVIDE:
        *y = a / b;
        return true;
    case MODULO:
        *y = a % b;
        return true;
    case LOGICAL_OR:
    case BITWISE_OR:
        *y = a | b;
        return true;
    case LOGICAL_AND:
    case BITWISE_AND:
        *y = a & b;
        return true;
    case SHIFT_LEFT:
        *y = a << b;
        return true;
    case SHIFT_RIGHT:
        *y = a >> b;
        return true;
    case EQUAL:
        *y = a == b;
        return true;
    case NOT_EQUAL:
        *y = a != b;
        return true;
    case GREATER:
        *y = a > b;
        return true;
    case GREATER_EQUAL:
        *y = a >= b;
        return true;
    case LESS:
        *y = a < b;
        return true;
    case LESS_EQUAL:
        *y = a <= b;
        return true;
    default:
        return false;
    }
}

static void put(struct walk *w, uint32_t op, const uint32_t *operands, uint32_t count)
{
    w->to[w->used++] = (count + 1) << 16 | op;
    memcpy(w->to + w->used, operands, count * sizeof(*operands));
    w->used += count;
}

static void put_value(struct walk *w, uint32_t type, uint32_t id, uint32_t value)
{
    const bool boolean = w->known[type].is == BOOL;
    const uint32_t op = !boolean ? CONSTANT : value ? CONSTANT_TRUE : CONSTANT_FALSE;
    w->known[id].is = VALUE;
    w->known[id].value = value;
    put(w, op, (uint32_t[]){type, id, value}, boolean ? 2 : 3);
}

/* What becomes of a constant that is `value` unless it is told otherwise. */
static uint32_t told(const struct walk *w, uint32_t id, uint32_t value)
{
    const uint32_t spec = w->known[id].spec;
    return spec && spec <= w->count ? w->constant[spec - 1] : value;
}

/* i, words: of an OpSpecConstantOp, whose operands are an operation and what it takes. */
static bool compute(struct walk *w, const uint32_t *i, uint32_t words, uint32_t *value)
{
    const uint32_t op = i[3], count = words - 4;
    uint32_t x[3] = {0};
    if (w->known[i[1]].is != BOOL && w->known[i[1]].is != INT)
        return false;
    if (op == COMPOSITE_EXTRACT) {
        const struct known *k = &w->known[i[4]];
        if (k->is != COMPOSITE || count != 2 || i[5] >= k->parts)
            return false;
        k = &w->known[w->to[k->at + i[5]]];
        *value = k->value;
        return k->is == VALUE;
    }
    if (count < 1 || count > 3)
        return false;
    for (uint32_t n = 0; n < count; n++) {
        if (w->known[i[4 + n]].is != VALUE)
            return false;
        x[n] = w->known[i[4 + n]].value;
    }
    return op_result(op, x, count, value);
}

static void put_composite(struct walk *w, const uint32_t *i, uint32_t words, uint32_t op)
{
    struct known *k = &w->known[i[2]];
    bool plain = true;
    for (uint32_t n = 3; n < words; n++)
        plain = plain && (w->known[i[n]].is == VALUE || w->known[i[n]].is == COMPOSITE);
    if (plain) {
        k->is = COMPOSITE;
        k->at = w->used + 3;
        k->parts = words - 3;
    }
    put(w, plain ? CONSTANT_COMPOSITE : op, i + 1, words - 1);
}

static void take(struct walk *w, const uint32_t *i, uint32_t words)
{
    const uint32_t op = i[0] & 0xffff;
    uint32_t value;
    switch (op) {
    case TYPE_BOOL:
        w->known[i[1]].is = BOOL;
        break;
    case TYPE_INT:
        w->known[i[1]].is = i[2] == 32 ? INT : NOTHING;
        break;
    case DECORATE:
        if (words == 4 && i[2] == DECORATION_SPEC_ID) {
            w->known[i[1]].spec = 1 + i[3];
            return;
        }
        break;
    case CONSTANT_TRUE:
    case CONSTANT_FALSE:
        put_value(w, i[1], i[2], op == CONSTANT_TRUE);
        return;
    case SPEC_CONSTANT_TRUE:
    case SPEC_CONSTANT_FALSE:
        put_value(w, i[1], i[2], told(w, i[2], op == SPEC_CONSTANT_TRUE) != 0);
        return;
    case CONSTANT:
    case SPEC_CONSTANT:
        if (words != 4)
            break;
        if (w->known[i[1]].is == INT)
            put_value(w, i[1], i[2], told(w, i[2], i[3]));
        else
            put(w, CONSTANT, (uint32_t[]){i[1], i[2], told(w, i[2], i[3])}, 3);
        return;
    case CONSTANT_COMPOSITE:
    case SPEC_CONSTANT_COMPOSITE:
        put_composite(w, i, words, op);
        return;
    case SPEC_CONSTANT_OP:
        if (!compute(w, i, words, &value))
            break;
        put_value(w, i[1], i[2], value);
        return;
    default:
        break;
    }
    put(w, op, i + 1, words - 1);
}

uint32_t *tensor_vulkan_specialize(const uint32_t *words, size_t size, const uint32_t *constant,
                                   uint32_t count, size_t *new_size)
{
    const size_t length = size / sizeof(*words);
    struct walk w = {.known = calloc(words[BOUND], sizeof(*w.known)),
                     .constant = constant,
                     .count = count,
                     .to = malloc(size),
                     .used = HEADER_WORDS};
    if (w.known && w.to) {
        memcpy(w.to, words, HEADER_WORDS * sizeof(*words));
        for (size_t at = HEADER_WORDS; at < length; at += words[at] >> 16)
            take(&w, words + at, words[at] >> 16);
        *new_size = w.used * sizeof(*words);
    } else {
        free(w.to);
        w.to = NULL;
    }
    free(w.known);
    return w.to;
}
