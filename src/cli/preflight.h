/*
 * preflight.h - what the settings ask of this machine, judged before a model is looked for. Main
 * thread.
 */
#ifndef MISTRAL_CLI_PREFLIGHT_H
#define MISTRAL_CLI_PREFLIGHT_H

#include "base/devices.h"
#include "base/error.h"
#include "config/config.h"

#include <stdbool.h>

/* The words of the setting device come down to one device. False: it is not there, or this build
 * has no backend for it; the error has what was found. */
bool preflight_device(const struct config *config, const struct device_findings *found,
                      struct error *error);

/* Tensor and pipeline parallel sizes: at most the devices there are. */
bool preflight_parallel(const struct config *config, const struct device_findings *found,
                        struct error *error);

/* Model types of the old stack that this program does not load, each with the way out. */
bool preflight_model_type(const struct config *config, struct error *error);

/* All of the above; logs the device that was chosen, and once what it cannot use. */
bool preflight(const struct config *config, struct error *error);

#endif
