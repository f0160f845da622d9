/*
 * What mb-eval tells beyond one number: bits per byte by position in the window and in the patch
 * (--by-position: a CSV and an SVG picture), by member (--by-member: a CSV), and by source.
 */
#ifndef APPS_EVAL_TABLES_H
#define APPS_EVAL_TABLES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "pipeline/source.h"

struct eval_tables;

struct eval_tables_params {
    uint32_t seq_len, patch_size; /* T, P */
    bool positions, members;      /* which tables are wanted beside that of the sources */
    const struct pipeline_sources *sources; /* outlive the tables */
};

/* -ENOMEM, no line. */
int eval_tables_create(const struct eval_tables_params *params, struct eval_tables **tables);
/* NULL is fine. */
void eval_tables_destroy(struct eval_tables **tables);

/* To be called as a pipeline_entered and as megabyte_evaluation_params.scored. Lack of memory shows
 * when the tables are written. */
void eval_tables_entered(void *tables, uint64_t at, uint64_t source, const char *name);
void eval_tables_scored(void *tables, uint64_t at, uint32_t position, uint32_t count,
                        const float *nats);

/* Write PREFIX.csv and PREFIX.svg, or FILE. The CSV of positions has the columns
 *     within (window or patch), position (from 0), bytes, bits_per_byte
 * and that of members
 *     source, member, bytes, bits_per_byte
 * with texts quoted as RFC 4180 says. Names of members and files are bytes: one that is no part of
 * UTF-8 is written \xNN, with two hexadecimal digits, and a backslash as two, so that the bytes can
 * be had back. Return an exit status. */
int eval_tables_write_positions(const struct eval_tables *tables, const char *prefix);
int eval_tables_write_members(const struct eval_tables *tables, const char *file);

/* The sources as a JSON array of {path, members, bytes, bits_per_byte}; NULL without memory. A path
 * that is not UTF-8 is escaped as in the table of members. */
json_t *eval_tables_sources(const struct eval_tables *tables);
/* The same as text on standard output, if there is more than one source. */
void eval_tables_print_sources(const struct eval_tables *tables);

#endif
