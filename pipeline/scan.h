/*
 * scan.h - in which order the pixels of a square image come: in rows, or in the patch scan of the
 * paper, blocks of p by p pixels in raster order and so inside each.
 */
#ifndef PIPELINE_SCAN_H
#define PIPELINE_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* Where pixel (x, y) of S by S begins among the 3·S² bytes; p divides S, 0 or 1: in rows. */
static inline size_t pipeline_scan_place(uint32_t x, uint32_t y, uint32_t S, uint32_t p)
{
    if (p < 2)
        return 3 * ((size_t)y * S + x);
    const size_t block = (size_t)(y / p) * (S / p) + x / p;
    return 3 * (block * p * p + (size_t)(y % p) * p + x % p);
}

#endif
