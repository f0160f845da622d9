/* presets.c - settings by name: small models of our own, and every run of the paper's table 13.
 *
 * What the table leaves open is decided in docs/reproduce.md: widths that patches of 12 bytes
 * divide, batches, and cross-patch attention, on for images and audio and off for text. */
#include "megabyte/config.h"
#include "megabyte/error.h"
#include <errno.h>
#include <string.h>

#define OPTIMIZER .beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-8, .decay = 0.1, .clip = 1.0, .tied = 1

/* Training as in appendix A.1. */
#define PAPER(rate, sequences)                                                                     \
    .dropout = 0.1, .init = 0.006, .init_embedding = 0.006, .lr = rate, .warmup = 500,             \
    .batch = sequences, OPTIMIZER

/* The paper's size classes: width, and heads of 64, 80, 96 or 128 columns (table 12). */
#define W768(layers)  {768, layers, 12}
#define W1024(layers) {1024, layers, 16}
#define W1536(layers) {1536, layers, 16}
#define W2048(layers) {2048, layers, 32}
#define W2112(layers) {2112, layers, 33} /* for 2048, where P = 12 */
#define W2496(layers) {2496, layers, 39} /* for 2560, where P = 12 */
#define W2560(layers) {2560, layers, 32}
#define W4096(layers) {4096, layers, 32}
#define NONE          {8, 1, 1} /* a part that the model lacks */

/* The byte-level Transformer: the local model on one patch of T bytes, without a global one. */
#define TRANSFORMER(stage, length)                                                                 \
    .model = MEGABYTE_LOCAL, .seq_len = length, .patch_size = length, .global = NONE, .local = stage
#define PERCEIVER(stage, span, latents)                                                            \
    .model = MEGABYTE_PERCEIVER, .seq_len = span, .patch_size = latents, .global = NONE,           \
    .local = stage

static const struct {
    const char *about;
    struct megabyte_config config;
} presets[] = {
    {"about 3 M parameters, made for two processor cores",
     {.preset = "tiny", .seq_len = 512, .patch_size = 8, .global = {256, 3, 4},
      .local = {128, 2, 2}, .init = 0.02, .init_embedding = 0.03, .lr = 1e-3, .warmup = 50,
      .batch = 4, OPTIMIZER}},
    {"about 22 M parameters, for a small GPU or a patient processor",
     {.preset = "small", .seq_len = 1024, .patch_size = 8, .global = {512, 6, 8},
      .local = {256, 4, 4}, .init = 0.01, .init_embedding = 0.03, .lr = 1e-3, .warmup = 200,
      .batch = 16, OPTIMIZER}},
    {"about 126 M parameters, for a GPU",
     {.preset = "base", .seq_len = 4096, .patch_size = 8, .global = {1024, 8, 16},
      .local = {512, 8, 8}, .init = 0.02, .init_embedding = 0.02, .lr = 6e-4, .warmup = 500,
      .batch = 32, OPTIMIZER}},

    /* Text: table 1 and the ablations on arXiv. */
    {"the paper's text model, 758M + 262M",
     {.preset = "paper-text", .seq_len = 8192, .patch_size = 8, .global = W2048(14),
      .local = W1024(18), PAPER(2e-4, 48)}},
    {"text: Transformer, 320M",
     {.preset = "paper-text-transformer", TRANSFORMER(W1024(22), 1024), PAPER(2e-4, 72)}},
    {"text: PerceiverAR, 248M, 1,024 latents",
     {.preset = "paper-text-perceiver", PERCEIVER(W1024(17), 8192, 1024), PAPER(2e-4, 72)}},
    {"text without the local model, 2.3B",
     {.preset = "paper-text-global", .model = MEGABYTE_GLOBAL, .seq_len = 8192, .patch_size = 4,
      .global = W2560(20), .local = NONE, PAPER(1.5e-4, 48)}},
    {"text without the global model, 350M",
     {.preset = "paper-text-local", .model = MEGABYTE_LOCAL, .seq_len = 8192, .patch_size = 8,
      .global = NONE, .local = W1024(24), PAPER(2e-4, 192)}},
    {"text with cross-patch attention, 758M + 262M",
     {.preset = "paper-text-cross", .seq_len = 8192, .patch_size = 8, .cross_patch = 8,
      .global = W2048(14), .local = W1024(18), PAPER(2e-4, 48)}},
    {"text without cross-patch attention and larger, 921M + 350M",
     {.preset = "paper-text-nocross", .seq_len = 8192, .patch_size = 8, .global = W2048(17),
      .local = W1024(24), PAPER(2e-4, 48)}},
    {"text with convolutions, 704M + 262M",
     {.preset = "paper-text-conv", .seq_len = 8192, .patch_size = 8, .conv = 1,
      .cross_patch = 8, .global = W2048(13), .local = W1024(18), PAPER(2e-4, 48)}},

    /* PG-19: the headline run, and the splits between global and local model (table 11). */
    {"PG-19, 400B bytes: 1.3B + 350M",
     {.preset = "paper-pg19", .seq_len = 8192, .patch_size = 8, .global = W2048(24),
      .local = W1024(24), PAPER(2e-4, 48)}},
    {"PG-19, split 350M + 290M",
     {.preset = "paper-pg19-350m", .seq_len = 8192, .patch_size = 8, .global = W1024(24),
      .local = W1024(20), PAPER(2e-4, 48)}},
    {"PG-19, split 760M + 262M",
     {.preset = "paper-pg19-760m", .seq_len = 8192, .patch_size = 8, .global = W1536(24),
      .local = W1024(18), PAPER(2e-4, 48)}},
    {"PG-19, split 1.3B + 218M; also the model of the generation times (table 5)",
     {.preset = "paper-pg19-1.3b", .seq_len = 8192, .patch_size = 8, .global = W2048(24),
      .local = W1024(15), PAPER(2e-4, 48)}},
    {"PG-19, generation times (table 5): Transformer, 350M",
     {.preset = "paper-pg19-transformer", TRANSFORMER(W1024(24), 1024), PAPER(2e-4, 72)}},

    /* Images: T bytes are n x n x 3. */
    {"ImageNet64, best: 2.7B + 350M",
     {.preset = "paper-image64-best", .seq_len = 12288, .patch_size = 12, .cross_patch = 12,
      .global = W2496(32), .local = W1024(24), PAPER(2e-4, 2)}},
    {"ImageNet64: Transformer, 760M",
     {.preset = "paper-image64-transformer", TRANSFORMER(W1536(24), 2048), PAPER(3e-4, 512)}},
    {"ImageNet64: PerceiverAR, 227M, 1,024 latents",
     {.preset = "paper-image64-perceiver", PERCEIVER(W1024(16), 12288, 1024), PAPER(3e-4, 512)}},
    {"ImageNet64: 1.3B + 1.3B",
     {.preset = "paper-image64", .seq_len = 12288, .patch_size = 12, .cross_patch = 12,
      .global = W2112(24), .local = W2048(24), PAPER(3e-4, 256)}},
    {"ImageNet256: Transformer, 62M",
     {.preset = "paper-image256-transformer", TRANSFORMER(W768(6), 1024), PAPER(2e-4, 1536)}},
    {"ImageNet256: PerceiverAR, 62M, 768 latents",
     {.preset = "paper-image256-perceiver", PERCEIVER(W768(6), 8192, 768), PAPER(2e-4, 256)}},
    {"ImageNet256: 125M + 125M",
     {.preset = "paper-image256", .seq_len = 196608, .patch_size = 192, .cross_patch = 192,
      .global = W768(12), .local = W768(12), PAPER(2e-4, 16)}},
    {"ImageNet256 without the local model, 2.7B by name",
     {.preset = "paper-image256-global", .model = MEGABYTE_GLOBAL, .seq_len = 196608,
      .patch_size = 48, .global = {4080, 32, 34}, .local = NONE, PAPER(2e-4, 16)}},
    {"ImageNet256 without the global model, 125M",
     {.preset = "paper-image256-local", .model = MEGABYTE_LOCAL, .seq_len = 196608,
      .patch_size = 192, .cross_patch = 192, .global = NONE, .local = W768(12), PAPER(2e-4, 16)}},
    {"ImageNet256 without cross-patch attention and larger, 250M + 156M",
     {.preset = "paper-image256-nocross", .seq_len = 196608, .patch_size = 192,
      .global = W768(24), .local = W768(15), PAPER(2e-4, 16)}},
    {"ImageNet256 with convolutions, 125M + 125M",
     {.preset = "paper-image256-conv", .seq_len = 196608, .patch_size = 192, .cross_patch = 192,
      .conv = 1, .global = W768(12), .local = W768(12), PAPER(2e-4, 16)}},
    {"ImageNet640: Transformer, 83M",
     {.preset = "paper-image640-transformer", TRANSFORMER(W768(8), 1024), PAPER(3e-4, 4800)}},
    {"ImageNet640: PerceiverAR, 62M, 1,024 latents",
     {.preset = "paper-image640-perceiver", PERCEIVER(W768(6), 4096, 1024), PAPER(3e-4, 2048)}},
    {"ImageNet640: 125M + 83M",
     {.preset = "paper-image640", .seq_len = 1228800, .patch_size = 192, .cross_patch = 192,
      .global = W768(12), .local = W768(8), PAPER(3e-4, 32), .micro_batch = 1}},

    /* Audio: 16-bit samples, two bytes each. */
    {"audio: Transformer, 135M",
     {.preset = "paper-audio-transformer", TRANSFORMER(W768(13), 1024), PAPER(2e-4, 2048)}},
    {"audio: PerceiverAR, 62M, 1,024 latents",
     {.preset = "paper-audio-perceiver", PERCEIVER(W768(6), 8192, 1024), PAPER(2e-4, 384)}},
    {"audio: 350M + 125M",
     {.preset = "paper-audio", .seq_len = 524288, .patch_size = 32, .cross_patch = 32,
      .global = W1024(24), .local = W768(12), PAPER(2e-4, 256), .micro_batch = 4}},
    {"audio without the local model, 2.7B by name",
     {.preset = "paper-audio-global", .model = MEGABYTE_GLOBAL, .seq_len = 524288,
      .patch_size = 32, .global = W4096(32), .local = NONE, PAPER(2e-4, 256),
      .micro_batch = 4}},
    {"audio without the global model, 125M",
     {.preset = "paper-audio-local", .model = MEGABYTE_LOCAL, .seq_len = 524288,
      .patch_size = 32, .cross_patch = 32, .global = NONE, .local = W768(12), PAPER(2e-4, 256),
      .micro_batch = 4}},
    {"audio without cross-patch attention and larger, 350M + 146M",
     {.preset = "paper-audio-nocross", .seq_len = 524288, .patch_size = 32,
      .global = W1024(24), .local = W768(14), PAPER(2e-4, 256), .micro_batch = 4}},
    {"audio with convolutions, 350M + 125M",
     {.preset = "paper-audio-conv", .seq_len = 524288, .patch_size = 32, .cross_patch = 32,
      .conv = 1, .global = W1024(24), .local = W768(12), PAPER(2e-4, 256), .micro_batch = 4}},
};
#define PRESETS (sizeof presets / sizeof *presets)

int megabyte_config_preset(const char *name, struct megabyte_config *config)
{
    for (size_t i = 0; i < PRESETS; i++)
        if (!strcmp(presets[i].config.preset, name)) {
            *config = presets[i].config;
            return 0;
        }
    return megabyte_fail(ENOENT, "unknown preset '%.64s'; there are tiny, small, base, paper-text "
                         "and %zu more: mb-train --list-settings", name, PRESETS - 4);
}

bool megabyte_config_preset_at(unsigned index, const char **name, const char **about)
{
    if (index >= PRESETS)
        return false;
    *name = presets[index].config.preset;
    *about = presets[index].about;
    return true;
}
