/* random.h - counter-based random numbers, the same in C and in GLSL.
 *
 * Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a bijection of
 * a 128-bit counter under a 64-bit key. There is no state to save: a number is named by what it is
 * for. Dropout uses key = seed, counter = (column / 4, row, stream of the op, draw); the four words
 * serve four neighbouring columns.
 */
#ifndef TENSOR_RANDOM_H
#define TENSOR_RANDOM_H

#define TENSOR_PHILOX_M0 0xD2511F53u
#define TENSOR_PHILOX_M1 0xCD9E8D57u
#define TENSOR_PHILOX_W0 0x9E3779B9u
#define TENSOR_PHILOX_W1 0xBB67AE85u

#ifdef VULKAN

uvec4 tensor_random(uvec4 c, uvec2 key)
{
    for (int round = 0; round < 10; round++) {
        uint high0, low0, high1, low1;
        umulExtended(TENSOR_PHILOX_M0, c.x, high0, low0);
        umulExtended(TENSOR_PHILOX_M1, c.z, high1, low1);
        c = uvec4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
        key += uvec2(TENSOR_PHILOX_W0, TENSOR_PHILOX_W1);
    }
    return c;
}

#else

#include <stdint.h>

struct tensor_random {
    uint32_t word[4];
};

static inline struct tensor_random tensor_random(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                                 uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; round++) {
        const uint64_t product0 = (uint64_t)TENSOR_PHILOX_M0 * c0;
        const uint64_t product1 = (uint64_t)TENSOR_PHILOX_M1 * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ key0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ key1;
        c3 = (uint32_t)product0;
        key0 += TENSOR_PHILOX_W0;
        key1 += TENSOR_PHILOX_W1;
    }
    return (struct tensor_random){{c0, c1, c2, c3}};
}

#endif
#endif
