/*
 * devices.h - which GPUs this machine has, found without any GPU toolkit. Safe on any thread.
 */
#ifndef MISTRAL_BASE_DEVICES_H
#define MISTRAL_BASE_DEVICES_H

#include <stdbool.h>
#include <stddef.h>

struct device_findings {
    size_t cuda_count;   /* NVIDIA GPUs that libcuda offers */
    bool has_metal;      /* an Apple machine whose Metal framework loads */
    char cuda_text[256]; /* what was found: "1 NVIDIA GPU (NVIDIA H100)", "no NVIDIA GPU (…)" */
    char metal_text[96];
};

/* Loads libcuda for the length of the call. */
void devices_find(struct device_findings *findings);

#endif
