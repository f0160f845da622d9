/* reference.c - what each kernel should compute, written plainly from the formulas in tensor/op/.
 *
 * Values of F32 tensors are doubles here; arguments come in the order of the parameter structs.
 */
#include "tensor/op/adamw.h"
#include "tensor/op/add.h"
#include "tensor/op/cast.h"
#include "tensor/op/cross_entropy.h"
#include "tensor/op/dropout.h"
#include "tensor/op/embedding.h"
#include "tensor/op/fill.h"
#include "tensor/op/gate.h"
#include "tensor/op/layer_norm.h"
#include "tensor/op/loss_scale.h"
#include "tensor/op/matmul.h"
#include "tensor/op/row.h"
#include "tensor/op/shift.h"
#include "tensor/op/slice.h"
#include "tensor/op/sum.h"
#include "tensor/op/sum_rows.h"
#include "tensor/op/unfold.h"
#include "tensor/random.h"
#include "tests/tensor/check.h"
#include "tests/tensor/reference.h"
#include <math.h>
#include <stdlib.h>

/* Whether word `at` of a row of random words is below the threshold: dropped. */
bool check_dropped(const uint32_t *random, uint32_t at, uint32_t row, uint32_t stream,
                   uint32_t threshold)
{
    if (!threshold)
        return false;
    const struct tensor_random r =
        tensor_random(at / 4, row, stream, random[2], random[0], random[1]);
    return r.word[at % 4] < threshold;
}

/* What becomes of the sum of element (i, j). */
static void epilogue(const struct matmul_params *p, void *const *arg, uint32_t i, uint32_t j,
                     double sum, double *c)
{
    const double *bias = arg[2], *residual = arg[3];
    if (p->flags & MATMUL_BIAS)
        sum += bias[j];
    if (p->flags & MATMUL_RELU)
        sum = fmax(0, sum);
    if (p->flags & MATMUL_DROPOUT)
        sum = check_dropped(arg[4], j, i, p->stream, p->threshold) ? 0 : sum * p->scale;
    if (p->flags & MATMUL_IN_PLACE)
        sum += *c;
    else if (p->flags & MATMUL_RESIDUAL)
        sum += residual[(size_t)i * p->n + j];
    *c = sum;
}

void reference_matmul(const void *params, void *const *arg)
{
    const struct matmul_params *p = params;
    const double *a = arg[0], *b = arg[1];
    double *c = arg[5];
    for (size_t begin = 0; begin < p->k; begin += p->split_k, c += (size_t)p->m * p->n)
        for (uint32_t i = 0; i < p->m; i++)
            for (uint32_t j = 0; j < p->n; j++) {
                double sum = 0;
                for (size_t k = begin; k < begin + p->split_k && k < p->k; k++)
                    sum += a[p->flags & MATMUL_TRANSPOSE_A ? k * p->m + i : (size_t)i * p->k + k] *
                           b[p->flags & MATMUL_TRANSPOSE_B ? (size_t)j * p->k + k : k * p->n + j];
                epilogue(p, arg, i, j, sum, &c[(size_t)i * p->n + j]);
            }
}

void reference_matmul_sum(const void *params, void *const *arg)
{
    const struct matmul_params *p = params;
    const double *a = arg[0];
    double *c = arg[5];
    const size_t count = (size_t)p->m * p->n;
    for (size_t i = 0; i < count; i++) {
        double sum = 0;
        for (size_t k = 0, split = 0; k < p->k; k += p->split_k, split++)
            sum += a[split * count + i];
        epilogue(p, arg, (uint32_t)(i / p->n), (uint32_t)(i % p->n), sum, &c[i]);
    }
}

void reference_relu_grad(const void *params, void *const *arg)
{
    const struct relu_grad_params *p = params;
    const double *y = arg[0], *dy = arg[1];
    double *dx = arg[2];
    for (size_t i = 0; i < p->count; i++)
        dx[i] = y[i] > 0 ? dy[i] : 0;
}

void reference_sum_rows(const void *params, void *const *arg)
{
    const struct sum_rows_params *p = params;
    const double *x = arg[0];
    double *y = arg[1];
    for (size_t first = 0, i = 0; first < p->rows; first += p->chunk, i++)
        for (size_t c = 0; c < p->columns; c++) {
            double sum = p->accumulate ? y[i * p->columns + c] : 0;
            for (size_t r = first; r < p->rows && r < first + p->chunk; r++)
                sum += x[r * p->stride + c];
            y[i * p->columns + c] = sum;
        }
}

void reference_embedding(const void *params, void *const *arg)
{
    const struct embedding_params *p = params;
    const uint8_t *bytes = arg[0];
    const double *table = arg[1];
    double *y = arg[2];
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->columns; c++)
            y[r * p->columns + c] = table[bytes[r] * p->columns + c];
}

void reference_embedding_grad(const void *params, void *const *arg)
{
    const struct embedding_grad_params *p = params;
    const uint8_t *bytes = arg[0];
    const double *dy = arg[1];
    double *dtable = arg[2];
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->columns; c++)
            dtable[bytes[r] * p->columns + c] += dy[r * p->columns + c];
}

void reference_shift(const void *params, void *const *arg)
{
    const struct shift_params *p = params;
    const double *x = arg[0], *pad = arg[1];
    double *y = arg[2];
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->columns; c++)
            y[r * p->columns + c] = r % p->n < p->s ? pad[r % p->n * p->columns + c]
                                                    : x[(r - p->s) * p->columns + c];
}

void reference_shift_grad(const void *params, void *const *arg)
{
    const struct shift_grad_params *p = params;
    const double *dy = arg[0];
    double *dx = arg[1];
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->columns; c++)
            dx[r * p->columns + c] = r % p->n + p->s < p->n ? dy[(r + p->s) * p->columns + c] : 0;
}

void reference_add(const void *params, void *const *arg)
{
    const struct add_params *p = params;
    const double *x = arg[0], *z = arg[1];
    double *y = arg[2];
    for (size_t i = 0; i < p->count; i++)
        y[i] = x[i] + z[i];
}

void reference_add_rows(const void *params, void *const *arg)
{
    const struct add_rows_params *p = params;
    const double *x = arg[0], *table = arg[1];
    double *y = arg[2];
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->columns; c++)
            y[r * p->columns + c] = x[r * p->columns + c] + table[r % p->n * p->columns + c];
}

void reference_dropout_grad(const void *params, void *const *arg)
{
    const struct dropout_grad_params *p = params;
    const double *dy = arg[0];
    double *dx = arg[2];
    for (uint32_t r = 0; r < p->rows; r++)
        for (uint32_t c = 0; c < p->columns; c++) {
            const size_t i = (size_t)r * p->columns + c;
            dx[i] = check_dropped(arg[1], c, r, p->stream, p->threshold) ? 0 : dy[i] * p->scale;
        }
}

void reference_layer_norm(const void *params, void *const *arg)
{
    const struct layer_norm_params *p = params;
    const double *gain = arg[1], *bias = arg[2];
    double *stat = arg[4];
    for (size_t r = 0; r < p->rows; r++) {
        const double *x = (const double *)arg[0] + r * p->columns;
        double *y = (double *)arg[3] + r * p->columns, mean = 0, variance = 0;
        for (size_t c = 0; c < p->columns; c++)
            mean += x[c] / p->columns;
        for (size_t c = 0; c < p->columns; c++)
            variance += (x[c] - mean) * (x[c] - mean) / p->columns;
        const double rstd = 1 / sqrt(variance + p->epsilon);
        for (size_t c = 0; c < p->columns; c++)
            y[c] = (x[c] - mean) * rstd * gain[c] + bias[c];
        stat[2 * r] = mean;
        stat[2 * r + 1] = rstd;
    }
}

void reference_layer_norm_grad(const void *params, void *const *arg)
{
    const struct layer_norm_grad_params *p = params;
    const double *gain = arg[1], *stat = arg[2];
    for (size_t r = 0; r < p->rows; r++) {
        const double *x = (const double *)arg[0] + r * p->columns;
        const double *dy = (const double *)arg[3] + r * p->columns;
        double *dx = (double *)arg[4] + r * p->columns, mean_e = 0, mean_ex = 0;
        const double mean = stat[2 * r], rstd = stat[2 * r + 1];
        for (size_t c = 0; c < p->columns; c++) {
            mean_e += dy[c] * gain[c] / p->columns;
            mean_ex += dy[c] * gain[c] * (x[c] - mean) * rstd / p->columns;
        }
        for (size_t c = 0; c < p->columns; c++) {
            const double d = rstd * (dy[c] * gain[c] - mean_e - (x[c] - mean) * rstd * mean_ex);
            dx[c] = p->accumulate ? dx[c] + d : d;
        }
    }
}

void reference_layer_norm_grad_gain(const void *params, void *const *arg)
{
    const struct layer_norm_grad_gain_params *p = params;
    const double *x = arg[0], *stat = arg[1], *dy = arg[2];
    for (size_t first = 0, i = 0; first < p->rows; first += p->chunk, i++) {
        double *partial = (double *)arg[3] + 2 * i * p->columns;
        for (size_t c = 0; c < p->columns; c++) {
            partial[c] = partial[p->columns + c] = 0;
            for (size_t r = first; r < p->rows && r < first + p->chunk; r++) {
                const double d = dy[r * p->columns + c];
                partial[c] += d * (x[r * p->columns + c] - stat[2 * r]) * stat[2 * r + 1];
                partial[p->columns + c] += d;
            }
        }
    }
}

void reference_cross_entropy(const void *params, void *const *arg)
{
    const struct cross_entropy_params *p = params;
    const uint8_t *target = arg[1];
    const uint32_t *lengths = arg[2];
    double *loss = arg[3], *lse = arg[4];
    for (uint32_t r = 0; r < p->rows; r++) {
        const double *logits = (const double *)arg[0] + (size_t)r * p->symbols;
        double sum = 0;
        for (uint32_t v = 0; v < p->symbols; v++)
            sum += exp(logits[v]);
        const bool counts = r % p->per_sequence < lengths[r / p->per_sequence];
        lse[r] = counts ? log(sum) : 0;
        loss[r] = counts ? lse[r] - logits[target[r]] : 0;
    }
}

void reference_cross_entropy_grad(const void *params, void *const *arg)
{
    const struct cross_entropy_grad_params *p = params;
    const double *logits = arg[0], *lse = arg[3], *dloss = arg[4];
    const uint8_t *target = arg[1];
    const uint32_t *lengths = arg[2];
    double *dlogits = arg[5];
    for (uint32_t r = 0; r < p->rows; r++)
        for (uint32_t v = 0; v < p->symbols; v++) {
            const size_t i = (size_t)r * p->symbols + v;
            dlogits[i] = r % p->per_sequence < lengths[r / p->per_sequence]
                             ? (exp(logits[i] - lse[r]) - (v == target[r])) * dloss[r] : 0;
        }
}

void reference_sum(const void *params, void *const *arg)
{
    const struct sum_params *p = params;
    const double *x = arg[0], *factor = arg[1];
    double *y = arg[2];
    for (size_t first = 0, i = 0; first < p->count; first += p->chunk, i++) {
        double sum = 0;
        for (size_t j = first; j < p->count && j < first + p->chunk; j++)
            sum += p->flags & SUM_SQUARE ? x[j] * x[j] : x[j];
        y[i] = p->flags & SUM_FACTOR ? *factor * sum : sum;
    }
}

void reference_sum_grad(const void *params, void *const *arg)
{
    const struct sum_grad_params *p = params;
    const double *dy = arg[0], *factor = arg[1];
    double *dx = arg[2];
    for (size_t i = 0; i < p->count; i++)
        dx[i] = *factor * *dy;
}

void reference_fill(const void *params, void *const *arg)
{
    const struct fill_params *p = params;
    for (size_t i = 0; i < p->count; i++)
        ((double *)arg[0])[i] = p->value;
}

void reference_copy(const void *params, void *const *arg)
{
    const struct copy_params *p = params;
    for (size_t i = 0; i < p->count; i++)
        ((double *)arg[1])[i] = ((const double *)arg[0])[i];
}

static double rounded16(uint32_t type, double x)
{
    return check_round(type == ELEMENT_BF16 ? TENSOR_BF16 : TENSOR_F16, x);
}

void reference_cast(const void *params, void *const *arg)
{
    const struct cast_params *p = params;
    for (size_t i = 0; i < p->count; i++)
        ((double *)arg[1])[i] = rounded16(p->type, ((const double *)arg[0])[i]);
}

void reference_loss_scale(const void *params, void *const *arg)
{
    const struct loss_scale_params *p = params;
    const double squared = *(const double *)arg[0];
    double *scale = arg[1], *state = arg[2];
    state[LOSS_SCALE_USED] = *scale;
    if (isnan(squared) || isinf(squared)) {
        *scale = fmax(*scale / 2, (double)p->least);
        state[LOSS_SCALE_GOOD] = 0;
    } else if (squared >= 0 && ++state[LOSS_SCALE_GOOD] >= p->growth) {
        *scale = fmin(*scale * 2, (double)p->most);
        state[LOSS_SCALE_GOOD] = 0;
    }
}

void reference_adamw(const void *params, void *const *arg)
{
    const struct adamw_params *p = params;
    double *w = arg[0], *m = arg[2], *v = arg[3];
    const double *gradient = arg[1], *set = arg[4], squared = *(const double *)arg[5];
    const double unscale = p->scaled ? 1 / *(const double *)arg[6] : 1;
    double *copy16 = arg[7];
    if (!isfinite(squared) || squared < 0)
        return;
    const double beta1 = set[TENSOR_ADAMW_BETA1], beta2 = set[TENSOR_ADAMW_BETA2];
    const double clip = set[TENSOR_ADAMW_CLIP], rate = set[TENSOR_ADAMW_RATE];
    for (size_t i = 0; i < p->count; i++) {
        const double g = gradient[i] * unscale *
                         (clip > 0 ? fmin(1, clip / (sqrt(squared) * unscale + 1e-6)) : 1);
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * g * g;
        if (i < p->decayed)
            w[i] -= rate * set[TENSOR_ADAMW_DECAY] * w[i];
        w[i] -= rate * (m[i] * set[TENSOR_ADAMW_CORRECT1]) /
                (sqrt(v[i] * set[TENSOR_ADAMW_CORRECT2]) + set[TENSOR_ADAMW_EPSILON]);
        if (p->type != ELEMENT_F32)
            copy16[i] = rounded16(p->type, w[i]);
    }
}

void reference_gate(const void *params, void *const *arg)
{
    const struct gate_params *p = params;
    const double limit = *(const double *)arg[2];
    double sum = 0;
    for (size_t i = 0; i < p->count; i++)
        sum += ((const double *)arg[1])[i];
    *(double *)arg[3] = isfinite(sum) && sum <= limit ? *(const double *)arg[0] : -1;
}

void reference_take_row(const void *params, void *const *arg)
{
    const struct take_row_params *p = params;
    const size_t row = *(const uint32_t *)arg[1] % p->rows;
    for (size_t i = 0; i < p->bytes; i++)
        ((uint8_t *)arg[2])[i] = ((const uint8_t *)arg[0])[row * p->bytes + i];
}

void reference_append_row(const void *params, void *const *arg)
{
    const struct append_row_params *p = params;
    uint32_t *row = arg[1];
    for (size_t i = 0; i < p->count; i++)
        ((double *)arg[2])[*row % p->rows * p->count + i] = ((const double *)arg[0])[i];
    *row += 1;
}

void reference_unfold(const void *params, void *const *arg)
{
    const struct unfold_params *p = params;
    const double *x = arg[0];
    double *y = arg[1];
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t j = 0; j < p->taps; j++)
            for (int64_t c = 0; c < p->columns; c++) {
                const int64_t from = r - (p->taps - 1) + j, first = r - r % p->n;
                y[(r * p->taps + j) * p->columns + c] =
                    from < first ? 0 : x[from * p->columns + c];
            }
}

void reference_unfold_grad(const void *params, void *const *arg)
{
    const struct unfold_grad_params *p = params;
    const double *dy = arg[0];
    double *dx = arg[1];
    for (size_t i = 0; i < (size_t)p->rows * p->columns; i++)
        dx[i] = 0;
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t j = 0; j < p->taps; j++)
            for (int64_t c = 0; c < p->columns; c++) {
                const int64_t from = r - (p->taps - 1) + j;
                if (from >= r - r % p->n)
                    dx[from * p->columns + c] += dy[(r * p->taps + j) * p->columns + c];
            }
}

void reference_slice(const void *params, void *const *arg)
{
    const struct slice_params *p = params;
    const double *x = arg[0];
    const uint32_t *first = arg[1];
    double *y = arg[2];
    for (size_t n = 0; n < p->sequences; n++)
        for (size_t i = 0; i < p->taken; i++)
            for (size_t c = 0; c < p->columns; c++)
                y[(n * p->taken + i) * p->columns + c] =
                    x[(n * p->positions + first[0] + i) * p->columns + c];
}

void reference_slice_grad(const void *params, void *const *arg)
{
    const struct slice_grad_params *p = params;
    const double *dy = arg[0];
    const uint32_t *first = arg[1];
    double *dx = arg[2];
    for (size_t i = 0; i < (size_t)p->sequences * p->positions * p->columns; i++)
        dx[i] = 0;
    for (size_t n = 0; n < p->sequences; n++)
        for (size_t i = 0; i < p->taken; i++)
            for (size_t c = 0; c < p->columns; c++)
                dx[(n * p->positions + first[0] + i) * p->columns + c] =
                    dy[(n * p->taken + i) * p->columns + c];
}
