/* serve_sandbox.h - what `mistral serve` may still do once it has read its settings. Private to
 * cli/. */
#ifndef MISTRAL_CLI_SERVE_SANDBOX_H
#define MISTRAL_CLI_SERVE_SANDBOX_H

#include "base/error.h"
#include "config/config.h"

#include <stdbool.h>

/* Before any model is read and any thread started: what they do is within it too. `name` is the
 * model that is to be loaded. Logs what is on. False only where the setting `sandbox` demands what
 * this system does not have. */
bool serve_sandbox_enter(const struct config *config, const char *name, struct error *error);

#endif
