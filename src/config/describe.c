/*
 * describe.c - settings told to people: where a value came from, the log lines at start, --help.
 * See config.h. Pure, but for the log.
 */
#include "base/log.h"
#include "config/aliases.h"
#include "config/config.h"
#include "config/knob.h"

#include <stdio.h>
#include <string.h>

void config_describe_origin(const struct config_origin *origin, struct string_buffer *out) {
    switch (origin->layer) {
    case CONFIG_FROM_DEFAULT:
        string_buffer_append_text(out, "default");
        break;
    case CONFIG_FROM_PROFILE:
        if (origin->file == NULL) {
            string_buffer_append_format(out, "profile %s", origin->name);
            break;
        }
        string_buffer_append_text(out, "profile ");
        string_buffer_append_format(out, "%s:%zu:%zu", origin->file, origin->line, origin->column);
        break;
    case CONFIG_FROM_TOML:
    case CONFIG_FROM_ENV_FILE:
        string_buffer_append_format(out, "%s:%zu:%zu", origin->file, origin->line, origin->column);
        break;
    case CONFIG_FROM_ENVIRONMENT:
        string_buffer_append_format(out, "environment variable %s", origin->name);
        break;
    case CONFIG_FROM_COMMAND_LINE:
        string_buffer_append_format(out, "--%s", origin->name);
        break;
    }
}

void config_append_not_applicable(const struct config *config, enum config_device device,
                                  struct string_buffer *out) {
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        if ((knob_rows[i].devices & device) == 0 && config_is_set(config, (enum config_knob)i)) {
            struct string_view key = knob_key(&knob_rows[i]);
            string_buffer_append_format(out, "%s%.*s", out->length > 0 ? ", " : "", (int)key.length,
                                        key.data);
        }
    }
}

void config_append_changed(const struct config *config, enum config_reader reader,
                           struct string_buffer *out) {
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        const struct knob *knob = &knob_rows[i];
        struct string_buffer now = {0};
        struct knob_value value = knob_fetch(knob, config);
        knob_append_value(knob, &value, &now);
        const char *usual = knob->default_text == NULL ? "" : knob->default_text;
        if (config->origins[i].layer != CONFIG_FROM_DEFAULT && (knob->readers & reader) != 0 &&
            strcmp(string_buffer_text(&now), usual) != 0) {
            struct string_view key = knob_key(knob);
            string_buffer_append_format(out, "%s%.*s=%s", out->length > 0 ? ", " : "",
                                        (int)key.length, key.data, string_buffer_text(&now));
        }
        string_buffer_deinit(&now);
    }
}

void config_log_settings(const struct config *config, enum config_reader reader) {
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        const struct knob *knob = &knob_rows[i];
        const struct config_origin *origin = &config->origins[i];
        if (origin->layer == CONFIG_FROM_DEFAULT || (knob->readers & reader) == 0) {
            continue;
        }
        struct string_view key = knob_key(knob);
        struct knob_value value = knob_fetch(knob, config);
        struct string_buffer text = {0};
        string_buffer_append(&text, key.data, key.length);
        string_buffer_append_char(&text, '\0');
        size_t value_at = text.length;
        knob_append_value(knob, &value, &text);
        string_buffer_append_char(&text, '\0');
        size_t origin_at = text.length;
        config_describe_origin(origin, &text);
        if (!text.failed) {
            log_event(LOG_INFO, "setting", log_text("key", text.data),
                      log_text("value", text.data + value_at),
                      log_text("from", text.data + origin_at));
        }
        string_buffer_deinit(&text);
    }
}

/* Help. */

static void append_knob_help(const struct knob *knob, struct string_buffer *out) {
    char left[192];
    const char *unit = knob->kind == KNOB_BOOL     ? ""
                       : knob->kind == KNOB_CHOICE ? "WORD"
                                                   : knob->unit;
    if (knob->flag == NULL) {
        snprintf(left, sizeof left, "(no flag)");
    } else {
        snprintf(left, sizeof left, "--%s%s%s", knob->flag, unit[0] == '\0' ? "" : " ", unit);
    }
    struct string_buffer right = {0};
    string_buffer_append_text(&right, knob->sentence);
    if (knob->kind == KNOB_CHOICE) {
        string_buffer_append_text(&right, ":");
        size_t at = 0;
        struct string_view word;
        while (knob_next_word(knob->unit, &at, &word)) {
            string_buffer_append_format(&right, " %.*s", (int)word.length, word.data);
        }
    }
    if (knob->default_text != NULL) {
        string_buffer_append_format(&right, " [%s]", knob->default_text);
    }
    string_buffer_append_format(&right, " (%s; %s)", knob->keys, knob->names);
    arguments_append_help_row(out, left, string_buffer_text(&right));
    string_buffer_deinit(&right);
}

void config_append_help(enum config_reader reader, struct string_buffer *out) {
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        if ((knob_rows[i].readers & reader) != 0) {
            append_knob_help(&knob_rows[i], out);
        }
    }
    arguments_append_help_row(out, "--config FILE", "settings as TOML");
    arguments_append_help_row(out, "--env-file FILE", "settings as NAME=value lines");
}
