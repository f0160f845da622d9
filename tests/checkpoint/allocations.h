/* allocations.h - makes one allocation of this program fail: the n-th from now on.
 *
 * The linker puts these in the place of malloc, calloc, realloc and strdup of what is linked into
 * the program (meson.build has the arguments); jansson comes by ours, through tensor/json.c.
 */
#ifndef TESTS_CHECKPOINT_ALLOCATIONS_H
#define TESTS_CHECKPOINT_ALLOCATIONS_H

#include <stdbool.h>
#include <stddef.h>

/* `n` from 1; 0: none fails. Counts from now on. */
void allocations_fail_at(long n);
/* All fail that are of `size` bytes or more; 0: none. */
void allocations_fail_of(size_t size);
/* All fail from the n-th on. */
void allocations_fail_from(long n);
/* Whether it came to that; from now on none fails. */
bool allocations_failed(void);

#endif
