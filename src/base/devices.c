/* devices.c - see devices.h. The few functions of libcuda that are called here are declared as
 * NVIDIA's driver API documents them; the library is looked up at run time. */
#include "base/devices.h"

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

typedef int (*cu_init)(unsigned flags);
typedef int (*cu_device_get_count)(int *count);
typedef int (*cu_device_get_name)(char *name, int length, int device);

static size_t count_device_files(void) {
    size_t count = 0;
    for (int i = 0; i < 64; i++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/nvidia%d", i);
        count += access(path, F_OK) == 0;
    }
    return count;
}

/* dlsym gives an object pointer; POSIX promises that it converts. */
static void *look_up(void *library, const char *name) {
    return library == NULL ? NULL : dlsym(library, name);
}

static void find_cuda(struct device_findings *findings) {
    size_t files = count_device_files();
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    cu_init init = (cu_init)look_up(library, "cuInit");
    cu_device_get_count get_count = (cu_device_get_count)look_up(library, "cuDeviceGetCount");
    cu_device_get_name get_name = (cu_device_get_name)look_up(library, "cuDeviceGetName");
    int count = 0;
    char name[128] = "";
    if (init != NULL && get_count != NULL && init(0) == 0 && get_count(&count) == 0 && count > 0) {
        findings->cuda_count = (size_t)count;
        if (get_name == NULL || get_name(name, sizeof name, 0) != 0) {
            snprintf(name, sizeof name, "name unknown");
        }
        snprintf(findings->cuda_text, sizeof findings->cuda_text, "%d NVIDIA GPU%s (%s)", count,
                 count == 1 ? "" : "s", name);
    } else {
        snprintf(findings->cuda_text, sizeof findings->cuda_text,
                 "no NVIDIA GPU (%zu device files /dev/nvidiaN, libcuda.so.1 %s)", files,
                 library == NULL ? "cannot be loaded" : "offers none");
    }
    if (library != NULL) {
        dlclose(library);
    }
}

static void find_metal(struct device_findings *findings) {
#if defined(__APPLE__)
    void *library =
        dlopen("/System/Library/Frameworks/Metal.framework/Metal", RTLD_NOW | RTLD_LOCAL);
    findings->has_metal = library != NULL;
    snprintf(findings->metal_text, sizeof findings->metal_text,
             library == NULL ? "no Metal (its framework cannot be loaded)" : "Metal");
    if (library != NULL) {
        dlclose(library);
    }
#else
    snprintf(findings->metal_text, sizeof findings->metal_text,
             "no Metal (it exists on macOS only)");
#endif
}

void devices_find(struct device_findings *findings) {
    *findings = (struct device_findings){0};
    find_cuda(findings);
    find_metal(findings);
}
