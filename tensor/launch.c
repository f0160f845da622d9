/* launch.c - how kernels are spread over a Vulkan device (contract.h). */
#include "tensor/contract.h"

#define WORKGROUP_ITEMS 64  /* a subgroup or two on every GPU */
#define WORKGROUP_ROWS  128
#define WORKGROUP_SUM   256

static void spread(struct tensor_launch *launch, uint64_t groups)
{
    launch->groups[0] = groups < TENSOR_GROUPS_X ? (uint32_t)groups : TENSOR_GROUPS_X;
    launch->groups[1] = (uint32_t)((groups + TENSOR_GROUPS_X - 1) / TENSOR_GROUPS_X);
    launch->groups[2] = 1;
}

void tensor_launch_items(struct tensor_launch *launch, uint64_t items)
{
    launch->workgroup = WORKGROUP_ITEMS;
    spread(launch, (items + WORKGROUP_ITEMS - 1) / WORKGROUP_ITEMS);
}

void tensor_launch_rows(const struct tensor_device_info *info, struct tensor_launch *launch,
                        uint64_t rows)
{
    launch->workgroup = WORKGROUP_ROWS;
    const uint32_t rows_a_group = WORKGROUP_ROWS / (info->subgroup ? info->subgroup : 1);
    spread(launch, (rows + rows_a_group - 1) / rows_a_group);
}

void tensor_launch_groups(struct tensor_launch *launch, uint64_t groups)
{
    launch->workgroup = WORKGROUP_SUM;
    spread(launch, groups);
}
