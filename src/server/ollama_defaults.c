/* ollama_defaults.c - see ollama_defaults.h. */
#include "server/ollama_defaults.h"

#include "base/json_memory.h"

#include <string.h>

void ollama_defaults_options(const struct hub_model *entry, struct ollama_options *options) {
    json_t *parameters =
        entry == NULL || entry->parameters == NULL
            ? NULL
            : json_guarded(json_loadb, entry->parameters, strlen(entry->parameters), 0, NULL);
    const char *name;
    json_t *value;
    json_object_foreach(parameters, name, value) { /* one by one: a bad one spoils no other */
        struct api_error ignored;
        json_t *one = ollama_options_knows(name) ? json_pack("{s:O}", name, value) : NULL;
        (void)ollama_options_read(one, options, &ignored);
        json_decref(one);
    }
    json_decref(parameters);
}

static bool has_role(const json_t *messages, const char *role) {
    size_t i;
    json_t *message;
    json_array_foreach((json_t *)(uintptr_t)messages, i, message) {
        const char *value = json_string_value(json_object_get(message, "role"));
        if (value != NULL && strcmp(value, role) == 0) {
            return true;
        }
    }
    return false;
}

static bool append_all(json_t *whole, const json_t *messages, bool only_good) {
    size_t i;
    json_t *message;
    json_array_foreach((json_t *)(uintptr_t)messages, i, message) {
        bool is_good = json_is_string(json_object_get(message, "role")) &&
                       json_is_string(json_object_get(message, "content"));
        if ((is_good || !only_good) && json_array_append(whole, message) != 0) {
            return false;
        }
    }
    return true;
}

json_t *ollama_defaults_messages(const struct hub_model *entry, const char *system,
                                 const json_t *messages) {
    json_t *whole = json_array();
    json_t *own = entry == NULL || entry->messages == NULL
                      ? NULL
                      : json_guarded(json_loadb, entry->messages, strlen(entry->messages), 0, NULL);
    bool ok = whole != NULL;
    if ((system == NULL || system[0] == '\0') && entry != NULL) {
        system = entry->system;
    }
    if (ok && system != NULL && system[0] != '\0' && !has_role(messages, "system")) {
        json_t *first = json_pack("{s:s,s:s}", "role", "system", "content", system);
        ok = first == NULL /* not UTF-8 */ || json_array_append_new(whole, first) == 0;
    }
    ok = ok && append_all(whole, own, true) && append_all(whole, messages, false);
    json_decref(own);
    if (!ok) {
        json_decref(whole);
        return NULL;
    }
    return whole;
}
