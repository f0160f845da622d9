/* volk.c - Vulkan's entry points, found at run time: a machine without a loader still runs. */
#define VOLK_IMPLEMENTATION
#include <volk.h>
