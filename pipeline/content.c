#include "pipeline/content.h"

int pipeline_content_open(const struct pipeline_content *wanted, const char *name,
                          struct layer *leaf, const struct content_damage *damage,
                          struct layer **out)
{
    int result = 0;

    *out = leaf;
    if (wanted->jsonl_field)
        result = pipeline_content_is_jsonl(wanted->jsonl_field, name, leaf);
    if (result > 0)
        result = pipeline_content_jsonl_create(wanted->jsonl_field, leaf, damage, out);
    return result;
}
