/* huge.h - memory in huge pages (private to the library).
 *
 * Products and attention stream through arrays of many megabytes, rows of which lie on as many
 * small pages: finding those takes longer than reading them. Linux gives huge pages by itself
 * ("always" in /sys/kernel/mm/transparent_hugepage/enabled) or where it is asked ("madvise").
 */
#ifndef TENSOR_CPU_HUGE_H
#define TENSOR_CPU_HUGE_H

#include <stddef.h>
#include <sys/mman.h>

#define TENSOR_CPU_HUGE (2u << 20) /* bytes of a page on x86; where they are larger nothing comes */

/* Asks for huge pages under `size` bytes, which begin at a multiple of TENSOR_CPU_HUGE and were not
 * written yet. What the system says to it does not matter. */
static inline void tensor_cpu_huge(void *memory, size_t size)
{
    if (size >= TENSOR_CPU_HUGE)
        (void)madvise(memory, size / TENSOR_CPU_HUGE * TENSOR_CPU_HUGE, MADV_HUGEPAGE);
}

#endif
