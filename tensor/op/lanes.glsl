/* lanes.glsl - the lanes of a subgroup, for kernels that give a subgroup one row.
 *
 * They are counted, as gl_SubgroupSize may promise more lanes than a driver starts. Call these
 * while all lanes are active.
 */
uint lane_count()
{
    return subgroupAdd(1u);
}

uint lane_index()
{
    return subgroupExclusiveAdd(1u);
}
