/* reference.c - see reference.h. */
#include "hub/reference.h"

#include "config/suggest.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const remote_prefixes[] = {
    "hf:", "hf.co/", "huggingface.co/", "https://hf.co/", "https://huggingface.co/",
};

static const char *behind_prefix(const char *text) {
    for (size_t i = 0; i < sizeof remote_prefixes / sizeof remote_prefixes[0]; i++) {
        size_t length = strlen(remote_prefixes[i]);
        if (strncmp(text, remote_prefixes[i], length) == 0) {
            return text + length;
        }
    }
    return NULL;
}

static const char ollama_prefix[] = "ollama:";

static bool is_ollama(const char *text) {
    return strncmp(text, ollama_prefix, sizeof ollama_prefix - 1) == 0;
}

bool reference_is_remote(const char *text) {
    return behind_prefix(text) != NULL || is_ollama(text);
}

/* Letters, digits, . _ - as Hugging Face allows, and never a name of dots only. */
static bool is_good_name(const char *name, size_t length) {
    bool has_other = false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];
        if (!isalnum(c) && strchr("._-", c) == NULL) {
            return false;
        }
        has_other = has_other || c != '.';
    }
    return has_other;
}

/* owner/name[:wanted] */
static bool parse_remote(const char *text, struct hub_reference *reference, struct error *error) {
    const char *colon = strchr(text, ':');
    size_t length = colon == NULL ? strlen(text) : (size_t)(colon - text);
    const char *slash = memchr(text, '/', length);
    const char *wanted = colon == NULL ? "" : colon + 1;
    bool good = slash != NULL && length < sizeof reference->repository &&
                strlen(wanted) < sizeof reference->wanted && (colon == NULL || wanted[0] != '\0');
    if (good) {
        size_t owner = (size_t)(slash - text);
        good = is_good_name(text, owner) && is_good_name(slash + 1, length - owner - 1);
    }
    if (!good) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "'%.200s' is no repository: write hf:owner/name, hf:owner/name:Q4_K_M or "
                         "hf:owner/name:file.gguf",
                         text);
    }
    snprintf(reference->repository, sizeof reference->repository, "%.*s", (int)length, text);
    snprintf(reference->wanted, sizeof reference->wanted, "%s", wanted);
    return true;
}

bool reference_parse_alias(const char *text, struct hub_reference *reference) {
    *reference = (struct hub_reference){0};
    const char *colon = strchr(text, ':');
    size_t length = colon == NULL ? strlen(text) : (size_t)(colon - text);
    const char *wanted = colon == NULL ? "" : colon + 1;
    if (strlen(wanted) >= sizeof reference->wanted || (colon != NULL && wanted[0] == '\0')) {
        return false;
    }
    for (const struct hub_alias *alias = hub_aliases(); alias->name != NULL; alias++) {
        if (strlen(alias->name) == length && strncasecmp(alias->name, text, length) == 0) {
            reference->alias = alias;
            snprintf(reference->repository, sizeof reference->repository, "%s", alias->repository);
            snprintf(reference->wanted, sizeof reference->wanted, "%s", wanted);
            return true;
        }
    }
    return false;
}

bool reference_parse(const char *text, struct hub_reference *reference, struct error *error) {
    *reference = (struct hub_reference){0};
    const char *remote = behind_prefix(text);
    if (is_ollama(text)) {
        reference->is_ollama = true;
        return ollama_name_parse(text + sizeof ollama_prefix - 1, &reference->ollama) ||
               error_set(error, ERROR_INVALID_ARGUMENT,
                         "'%.200s' is no model's name: write ollama:[namespace/]model[:tag]", text);
    }
    if (remote != NULL) {
        return parse_remote(remote, reference, error);
    }
    if (reference_parse_alias(text, reference)) {
        return true;
    }
    if (strchr(text, '/') != NULL) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "'%.200s' is no alias; for a repository on Hugging Face write hf:%.200s",
                         text, text);
    }
    struct suggestion suggestion = suggest_for(text);
    struct string_buffer names = {0};
    for (const struct hub_alias *alias = hub_aliases(); alias->name != NULL; alias++) {
        suggest_offer(&suggestion, string_view_of(alias->name));
        string_buffer_append_format(&names, " %s", alias->name);
    }
    if (suggestion.best.length > 0) {
        error_set(error, ERROR_NOT_FOUND, "there is no alias '%.200s'; did you mean '%.*s'?", text,
                  (int)suggestion.best.length, suggestion.best.data);
    } else {
        error_set(error, ERROR_NOT_FOUND,
                  "there is no alias '%.200s'; write hf:owner/name, or one of:%s; or ollama:%.200s "
                  "for Ollama's registry",
                  text, string_buffer_text(&names), text);
    }
    string_buffer_deinit(&names);
    return false;
}

static bool ends_in_gguf(const char *name) {
    size_t length = strlen(name);
    return length > 5 && strcasecmp(name + length - 5, ".gguf") == 0;
}

bool reference_file_name(const struct hub_reference *reference, const char *default_format,
                         struct string_buffer *name) {
    if (ends_in_gguf(reference->wanted)) {
        const char *slash = strrchr(reference->wanted, '/');
        string_buffer_append_text(name, slash == NULL ? reference->wanted : slash + 1);
        return true;
    }
    if (reference->alias == NULL) {
        return false;
    }
    const char *format = reference->wanted;
    if (format[0] == '\0') {
        format = reference->alias->format != NULL ? reference->alias->format : default_format;
    }
    string_buffer_append_text(name, reference->alias->stem);
    for (; *format != '\0'; format++) { /* the repositories write formats in capitals */
        string_buffer_append_char(name, (char)toupper((unsigned char)*format));
    }
    string_buffer_append_text(name, ".gguf");
    return true;
}
