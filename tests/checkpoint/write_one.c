/* write_one.c RUN - saves a checkpoint for layout.py to look at: one tensor of each type, with
 * numbers that it can compute too. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    const struct tensor_device_params params = {.name = "cpu"};
    struct tensor_device *device;
    struct tensor_arena *arena;
    if (argc != 2)
        return 2;
    REQUIRE_OK(tensor_device_open(&params, &device));
    REQUIRE_OK(tensor_arena_create(device, TENSOR_HOST, "one", &arena));
    const struct tensor_named list[] = {
        {"third.bytes", tensor_arena_take(arena, "b", TENSOR_U8, 1, (const uint32_t[]){12})},
        {"first.weight", tensor_arena_take(arena, "w", TENSOR_F32, 2, (const uint32_t[]){3, 5})},
        {"second.\"ä\"", tensor_arena_take(arena, "u", TENSOR_U32, 3, (const uint32_t[]){2, 1, 2})},
    };
    REQUIRE_OK(tensor_arena_commit(arena));
    for (uint32_t i = 0; i < 12; i++)
        ((uint8_t *)tensor_host(list[0].tensor))[i] = (uint8_t)(250 + i);
    for (uint32_t i = 0; i < 15; i++)
        ((float *)tensor_host(list[1].tensor))[i] = (float)i / 4 - 1;
    for (uint32_t i = 0; i < 4; i++)
        ((uint32_t *)tensor_host(list[2].tensor))[i] = 4000000000u + i;
    const struct megabyte_checkpoint_write w = {
        .step = 500,
        .config = "{\"preset\": \"tiny\"}",
        .state = "{\"bytes\": 9007199254740993, \"note\": \"ä\"}",
        .model = list,
        .model_count = 3,
        .optimizer = list,
        .optimizer_count = 1,
    };
    REQUIRE_OK(megabyte_checkpoint_save(argv[1], &w, NULL));
    tensor_arena_destroy(&arena);
    tensor_device_close(&device);
    return 0;
}
