/* instance.c - the loader, the instance, the validation layer, names of results */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "tensor/vulkan/device.h"

#define LAYER "VK_LAYER_KHRONOS_validation"

const char *tensor_vulkan_result(VkResult result)
{
    static const struct {
        VkResult result;
        const char *name;
    } names[] = {
#define NAME(x) {x, #x}
        NAME(VK_NOT_READY),
        NAME(VK_TIMEOUT),
        NAME(VK_INCOMPLETE),
        NAME(VK_ERROR_OUT_OF_HOST_MEMORY),
        NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY),
        NAME(VK_ERROR_INITIALIZATION_FAILED),
        NAME(VK_ERROR_DEVICE_LOST),
        NAME(VK_ERROR_MEMORY_MAP_FAILED),
        NAME(VK_ERROR_LAYER_NOT_PRESENT),
        NAME(VK_ERROR_EXTENSION_NOT_PRESENT),
        NAME(VK_ERROR_FEATURE_NOT_PRESENT),
        NAME(VK_ERROR_INCOMPATIBLE_DRIVER),
        NAME(VK_ERROR_TOO_MANY_OBJECTS),
        NAME(VK_ERROR_INVALID_SHADER_NV),
        NAME(VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS),
        NAME(VK_ERROR_UNKNOWN),
#undef NAME
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].result == result)
            return names[i].name;
    return "an unknown VkResult";
}

int tensor_vulkan_check(VkResult result, const char *call)
{
    if (result == VK_SUCCESS)
        return 0;

    const char *open = strchr(call, '('), *name = call;
    for (const char *at = call; open && at < open; at++)
        if (*at == '>' || *at == '.')
            name = at + 1;
    const bool memory =
        result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY;
    return tensor_fail(memory ? ENOMEM : EIO, "vulkan: %.*s: %s (%d)",
                       open ? (int)(open - name) : (int)strlen(name), name,
                       tensor_vulkan_result(result), result);
}

static bool has_layer(void)
{
    uint32_t count = 0;
    if (vkEnumerateInstanceLayerProperties(&count, NULL) != VK_SUCCESS || !count)
        return false;
    VkLayerProperties *layers = calloc(count, sizeof(*layers));
    bool found = false;
    if (layers && vkEnumerateInstanceLayerProperties(&count, layers) >= 0)
        for (uint32_t i = 0; i < count; i++)
            found |= strcmp(layers[i].layerName, LAYER) == 0;
    free(layers);
    return found;
}

/* The messenger hears the validation layer only; drivers and the loader have their own matters. */
static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *user)
{
    struct vulkan_device *d = user;
    d->messages++;
    tensor_log(&d->base, "validation %s: %s",
               severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT ? "error" : "warning",
               data->pMessage);
    return VK_FALSE;
}

/* The entry points of instances are the loader's and the same for every instance, so they are
 * looked up once, with the first. */
static pthread_mutex_t loader_lock = PTHREAD_MUTEX_INITIALIZER;
static bool loader_ready, entries_ready;

static int loader_open(void)
{
    pthread_mutex_lock(&loader_lock);
    if (!loader_ready)
        loader_ready = volkInitialize() == VK_SUCCESS;
    const bool ready = loader_ready;
    pthread_mutex_unlock(&loader_lock);
    if (!ready)
        return tensor_fail(ENODEV, "vulkan: there is no Vulkan loader (libvulkan.so.1); install a "
                                   "GPU driver with Vulkan, or use --device cpu");

    const uint32_t version = volkGetInstanceVersion();
    if (version < VK_API_VERSION_1_2)
        return tensor_fail(ENODEV, "vulkan: the Vulkan loader is version %u.%u; 1.2 is needed",
                           VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    return 0;
}

int tensor_vulkan_instance_create(struct vulkan_device *d, VkInstance *instance)
{
    int err = loader_open();
    if (err)
        return err;

    const bool validation = d && d->base.params.validation;
    if (validation && !has_layer())
        return tensor_fail(ENOTSUP, "vulkan: validation was asked for, but " LAYER
                                    " is not installed (Debian: vulkan-validationlayers)");

    const char *const layers[] = {LAYER};
    const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "megabyte",
        .apiVersion = VK_API_VERSION_1_3, /* the newest that is used where there is it */
    };
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = d,
    };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validation ? &messenger : NULL, /* for creating and destroying the instance */
        .pApplicationInfo = &application,
        .enabledLayerCount = validation,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = validation,
        .ppEnabledExtensionNames = extensions,
    };
    const VkResult result = vkCreateInstance(&info, NULL, instance);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return tensor_fail(
            ENODEV,
            "vulkan: there is no Vulkan driver; install one for the GPU, or use --device cpu");
    if ((err = tensor_vulkan_check(result, "vkCreateInstance")))
        return err;

    pthread_mutex_lock(&loader_lock);
    if (!entries_ready)
        volkLoadInstanceOnly(*instance);
    entries_ready = true;
    pthread_mutex_unlock(&loader_lock);

    if (!validation)
        return 0;
    PFN_vkCreateDebugUtilsMessengerEXT create =
        (PFN_vkCreateDebugUtilsMessengerEXT)vkGetInstanceProcAddr(*instance,
                                                                  "vkCreateDebugUtilsMessengerEXT");
    if (!create)
        return tensor_fail(ENOTSUP, "vulkan: the validation layer has no VK_EXT_debug_utils");
    return VK(create(*instance, &messenger, NULL, &d->messenger));
}

void tensor_vulkan_instance_destroy(struct vulkan_device *d)
{
    if (d->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy =
            (PFN_vkDestroyDebugUtilsMessengerEXT)vkGetInstanceProcAddr(
                d->instance, "vkDestroyDebugUtilsMessengerEXT");
        destroy(d->instance, d->messenger, NULL);
    }
    if (d->instance)
        vkDestroyInstance(d->instance, NULL);
}

bool tensor_vulkan_has_extension(VkPhysicalDevice physical, const char *name)
{
    uint32_t count = 0;
    if (vkEnumerateDeviceExtensionProperties(physical, NULL, &count, NULL) != VK_SUCCESS || !count)
        return false;
    VkExtensionProperties *list = calloc(count, sizeof(*list));
    bool found = false;
    if (list && vkEnumerateDeviceExtensionProperties(physical, NULL, &count, list) >= 0)
        for (uint32_t i = 0; i < count; i++)
            found |= strcmp(list[i].extensionName, name) == 0;
    free(list);
    return found;
}
