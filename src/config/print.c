/* print.c - see print.h. Rows are grouped by their first key's section, in the order of knobs.def.
 */
#include "config/print.h"

#include "base/bytes.h"
#include "base/json_writer.h"
#include "config/aliases.h"
#include "config/knob.h"

#include <string.h>

static const char *const stack_values[KNOB_COUNT] = {
#define STACK(member, value) [KNOB_##member] = (value),
#define COMPOSE(name, value, sentence)
#include "config/stack.def"
#undef STACK
#undef COMPOSE
};

struct compose_variable {
    const char *name, *value, *sentence;
};

static const struct compose_variable compose_variables[] = {
#define STACK(member, value)
#define COMPOSE(name, value, sentence) {(name), (value), (sentence)},
#include "config/stack.def"
#undef STACK
#undef COMPOSE
};

enum { COMPOSE_COUNT = sizeof compose_variables / sizeof compose_variables[0] };

static bool is_text(const struct knob *knob) {
    return knob->kind == KNOB_TEXT || knob->kind == KNOB_PATH || knob->kind == KNOB_SECRET ||
           knob->kind == KNOB_CHOICE;
}

/* Whether no row before this one is of its section. */
static bool opens_section(size_t index) {
    for (size_t i = 0; i < index; i++) {
        if (string_view_equals(knob_section(&knob_rows[i]), knob_section(&knob_rows[index]))) {
            return false;
        }
    }
    return true;
}

/* The value to print; true when it is set, false when it is to be a comment. */
static bool choose_value(const struct config *config, size_t index, bool stack,
                         struct string_buffer *out) {
    const struct knob *knob = &knob_rows[index];
    if (knob->kind == KNOB_SECRET) {
        return false;
    }
    if (config->origins[index].layer != CONFIG_FROM_DEFAULT) {
        struct knob_value value = knob_fetch(knob, config);
        knob_append_value(knob, &value, out);
        return true;
    }
    bool ours = stack && stack_values[index] != NULL;
    const char *text = ours ? stack_values[index] : knob->default_text;
    string_buffer_append_text(out, text == NULL ? "" : text);
    return ours;
}

/* As a double-quoted string of TOML or of a .env file. */
static void append_quoted(const char *text, bool env, struct string_buffer *out) {
    string_buffer_append_char(out, '"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\' || (env && c == '$')) {
            string_buffer_append_format(out, "\\%c", c);
        } else if (c == '\n' || c == '\t' || c == '\r') {
            string_buffer_append_format(out, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        } else if (c < 0x20 || c == 0x7f) {
            string_buffer_append_format(out, "\\u%04x", c);
        } else {
            string_buffer_append_char(out, (char)c);
        }
    }
    string_buffer_append_char(out, '"');
}

static void append_toml_value(const struct knob *knob, const char *text,
                              struct string_buffer *out) {
    bool has_unit = knob->kind == KNOB_BYTES && strspn(text, "0123456789") < strlen(text);
    if (is_text(knob) || has_unit) {
        append_quoted(text, false, out);
    } else {
        string_buffer_append_text(out, text);
    }
}

static void append_env_value(const char *text, struct string_buffer *out) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,@%+=~*-";
    if (text[strspn(text, plain)] == '\0') {
        string_buffer_append_text(out, text);
    } else {
        append_quoted(text, true, out);
    }
}

/* "a, b, c" of a list with blanks or | between. */
static void append_words(const char *list, const char *mark, struct string_buffer *out) {
    size_t at = 0;
    struct string_view word;
    for (bool first = true; knob_next_word(list, &at, &word); first = false) {
        string_buffer_append_format(out, "%s%s%.*s%s", first ? "" : ", ", mark, (int)word.length,
                                    word.data, mark);
    }
}

static void append_comment(const struct knob *knob, struct string_buffer *out) {
    string_buffer_append_format(out, "# %s", knob->sentence);
    if (knob->kind == KNOB_CHOICE) {
        string_buffer_append_text(out, ":\n# ");
        append_words(knob->unit, "", out);
    } else if (knob->unit != NULL) {
        string_buffer_append_format(out, " (%s)", knob->unit);
    }
    if ((knob->devices & DEVICE_CPU) == 0) {
        string_buffer_append_text(out, "; not applicable on a CPU");
    }
    string_buffer_append_char(out, '\n');
}

static void append_setting(const struct config *config, size_t index, enum config_form form,
                           bool stack, struct string_buffer *out) {
    const struct knob *knob = &knob_rows[index];
    struct string_buffer value = {0};
    bool active = choose_value(config, index, stack, &value);
    append_comment(knob, out);
    string_buffer_append_text(out, active ? "" : "#");
    if (form == CONFIG_AS_TOML) {
        struct string_view key = knob_key(knob);
        size_t start = knob_section(knob).length + 1;
        string_buffer_append(out, key.data + start, key.length - start);
        string_buffer_append_text(out, " = ");
        append_toml_value(knob, string_buffer_text(&value), out);
    } else {
        size_t length = strcspn(knob->names, " ");
        string_buffer_append(out, knob->names, length);
        string_buffer_append_char(out, '=');
        append_env_value(string_buffer_text(&value), out);
    }
    string_buffer_append_char(out, '\n');
    string_buffer_deinit(&value);
}

static void append_compose_variables(struct string_buffer *out) {
    string_buffer_append_text(out, "\n# ---- the container ----\n");
    for (size_t i = 0; i < COMPOSE_COUNT; i++) {
        const struct compose_variable *variable = &compose_variables[i];
        string_buffer_append_format(out, "\n# %s\n%s=%s\n", variable->sentence, variable->name,
                                    variable->value);
    }
}

static void print_file(const struct config *config, enum config_form form, bool stack,
                       struct string_buffer *out) {
    bool is_toml = form == CONFIG_AS_TOML;
    string_buffer_append_format(
        out,
        "# Settings of mistral, printed by 'mistral config print --format %s%s'.\n"
        "# Lines without a # in front are set; the others show the built-in default.\n"
        "# The command line, the environment%s come before this file.\n"
        "# Sizes are bytes or have a unit: 512M, 64G, 8GiB.\n",
        is_toml ? "toml" : "env", stack ? " --stack" : "", is_toml ? " and --env-file" : "");
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        if (!opens_section(i)) {
            continue;
        }
        struct string_view section = knob_section(&knob_rows[i]);
        string_buffer_append_format(out, is_toml ? "\n[%.*s]\n" : "\n# ---- %.*s ----\n",
                                    (int)section.length, section.data);
        for (size_t j = i; j < KNOB_COUNT; j++) {
            if (string_view_equals(knob_section(&knob_rows[j]), section)) {
                string_buffer_append_char(out, '\n');
                append_setting(config, j, form, stack, out);
            }
        }
    }
    if (!is_toml && stack) {
        append_compose_variables(out);
    }
}

/* The reference page. */

static const char page_head[] =
    "# Settings\n"
    "\n"
    "Every setting there is, printed from the program's own table by `mistral config print "
    "--format\n"
    "markdown`. Where a setting is given in several places, the first of these counts: the "
    "command\n"
    "line, the environment, `--env-file FILE`, `--config FILE` (TOML), the profile, the "
    "built-in\n"
    "default. `mistral config show` lists what is in force and where each value came from; "
    "`mistral\n"
    "check` says whether it can work on this machine.\n"
    "\n"
    "Sizes are bytes, or have a unit: `512M`, `64G`, `8GiB` (K, M, G and T are powers of 1024). A\n"
    "setting with several names is one setting: different values for it in one place are an "
    "error.\n"
    "A switch is `--name` or `--no-name` on the command line, `true` or `false` elsewhere. "
    "Secrets\n"
    "have no flag, or should not be given by it: other users of a machine can see command lines.\n";

static const char page_older_names[] = "\n## Older names\n"
                                       "\n"
                                       "These set one of the settings above in other words.\n"
                                       "\n"
                                       "| name | means |\n"
                                       "|---|---|\n";

static const char page_compose[] = "\n## The container\n"
                                   "\n"
                                   "Read by the compose file in `stacks/mistral`, not by the "
                                   "program, which finds the container's\n"
                                   "limits itself.\n"
                                   "\n"
                                   "| environment | stack's value | |\n"
                                   "|---|---|---|\n";

static void append_page_row(const struct knob *knob, struct string_buffer *out) {
    string_buffer_append_text(out, "| ");
    append_words(knob->keys, "`", out);
    string_buffer_append_text(out, " | ");
    append_words(knob->names, "`", out);
    string_buffer_append_text(out, " | ");
    if (knob->flag != NULL) {
        string_buffer_append_format(out, "`--%s`", knob->flag);
    }
    string_buffer_append_text(out, " | ");
    if (knob->default_text != NULL) {
        string_buffer_append_format(out, "%s", knob->default_text);
    }
    string_buffer_append_format(out, " | %s", knob->sentence);
    if (knob->kind == KNOB_CHOICE) {
        string_buffer_append_text(out, ": ");
        append_words(knob->unit, "", out);
    } else if (knob->unit != NULL) {
        string_buffer_append_format(out, " (%s", knob->unit);
        if (knob->kind == KNOB_INTEGER || knob->kind == KNOB_NUMBER) {
            string_buffer_append_format(out, ", %.10g to %.10g", knob->minimum, knob->maximum);
        }
        string_buffer_append_char(out, ')');
    }
    string_buffer_append_text(
        out, (knob->devices & DEVICE_CPU) == 0 ? "; not applicable on a CPU |\n" : " |\n");
}

static void print_page(struct string_buffer *out) {
    string_buffer_append_text(out, page_head);
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        if (!opens_section(i)) {
            continue;
        }
        struct string_view section = knob_section(&knob_rows[i]);
        string_buffer_append_format(out,
                                    "\n## [%.*s]\n\n| TOML | environment | flag | default | |\n"
                                    "|---|---|---|---|---|\n",
                                    (int)section.length, section.data);
        for (size_t j = i; j < KNOB_COUNT; j++) {
            if (string_view_equals(knob_section(&knob_rows[j]), section)) {
                append_page_row(&knob_rows[j], out);
            }
        }
    }
    string_buffer_append_text(out, page_older_names);
    for (const struct knob_alias *alias = knob_aliases; alias->name != NULL; alias++) {
        struct string_view key = knob_key(&knob_rows[alias->knob]);
        for (size_t i = 0; alias->words[i].word != NULL; i++) {
            const char *meaning = alias->words[i].meaning;
            string_buffer_append_format(out, "| `%s` = %s | ", alias->name, alias->words[i].word);
            if (meaning == NULL) {
                string_buffer_append_text(out, "nothing: the setting keeps its value |\n");
            } else {
                string_buffer_append_format(out, "`%.*s` = %s |\n", (int)key.length, key.data,
                                            meaning);
            }
        }
    }
    string_buffer_append_text(out, page_compose);
    for (size_t i = 0; i < COMPOSE_COUNT; i++) {
        string_buffer_append_format(out, "| `%s` | %s | %s |\n", compose_variables[i].name,
                                    compose_variables[i].value, compose_variables[i].sentence);
    }
}

void config_print(const struct config *config, enum config_form form, bool stack,
                  struct string_buffer *out) {
    if (form == CONFIG_AS_MARKDOWN) {
        print_page(out);
    } else {
        print_file(config, form, stack, out);
    }
}

/* Listings. */

void config_show(const struct config *config, struct string_buffer *out) {
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        const struct knob *knob = &knob_rows[i];
        struct knob_value value = knob_fetch(knob, config);
        struct string_view key = knob_key(knob);
        struct string_buffer text = {0};
        struct string_buffer setting = {0};
        knob_append_value(knob, &value, &text);
        string_buffer_append_format(&setting, "%.*s = ", (int)key.length, key.data);
        append_toml_value(knob, string_buffer_text(&text), &setting);
        string_buffer_append_format(out, "%-56s  ", string_buffer_text(&setting));
        config_describe_origin(&config->origins[i], out);
        string_buffer_append_char(out, '\n');
        string_buffer_deinit(&text);
        string_buffer_deinit(&setting);
    }
}

static void write_value(struct json_writer *writer, const struct knob *knob,
                        const struct knob_value *value) {
    switch (knob->kind) {
    case KNOB_INTEGER:
        json_write_integer(writer, value->integer);
        break;
    case KNOB_BYTES:
        json_write_integer(writer, (int64_t)value->bytes);
        break;
    case KNOB_NUMBER:
        json_write_number(writer, value->number);
        break;
    case KNOB_BOOL:
        json_write_bool(writer, value->boolean);
        break;
    case KNOB_SECRET:
    case KNOB_CHOICE:
    case KNOB_TEXT:
    case KNOB_PATH: {
        const char *text = knob->kind == KNOB_SECRET && value->text != NULL ? "(set)" : value->text;
        if (text == NULL) {
            json_write_null(writer);
        } else {
            json_write_text(writer, text, strlen(text));
        }
        break;
    }
    }
}

static void write_words(struct json_writer *writer, const char *name, const char *list) {
    json_write_key(writer, name);
    json_write_array_begin(writer);
    size_t at = 0;
    struct string_view word;
    while (knob_next_word(list, &at, &word)) {
        json_write_text(writer, word.data, word.length);
    }
    json_write_array_end(writer);
}

void config_show_json(const struct config *config, struct string_buffer *out) {
    static const char *const layers[] = {
        [CONFIG_FROM_DEFAULT] = "default",
        [CONFIG_FROM_PROFILE] = "profile",
        [CONFIG_FROM_TOML] = "config",
        [CONFIG_FROM_ENV_FILE] = "env-file",
        [CONFIG_FROM_ENVIRONMENT] = "environment",
        [CONFIG_FROM_COMMAND_LINE] = "command line",
    };
    struct json_writer writer = {.out = out};
    json_write_object_begin(&writer);
    json_write_key(&writer, "settings");
    json_write_array_begin(&writer);
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        const struct knob *knob = &knob_rows[i];
        struct knob_value value = knob_fetch(knob, config);
        struct string_view key = knob_key(knob);
        struct string_buffer origin = {0};
        config_describe_origin(&config->origins[i], &origin);
        json_write_object_begin(&writer);
        json_write_key(&writer, "key");
        json_write_text(&writer, key.data, key.length);
        json_write_key(&writer, "value");
        write_value(&writer, knob, &value);
        json_write_text_member(&writer, "from", layers[config->origins[i].layer]);
        json_write_text_member(&writer, "origin", string_buffer_text(&origin));
        write_words(&writer, "keys", knob->keys);
        write_words(&writer, "environment", knob->names);
        json_write_text_member(&writer, "flag", knob->flag);
        json_write_key(&writer, "on_cpu");
        json_write_bool(&writer, (knob->devices & DEVICE_CPU) != 0);
        json_write_object_end(&writer);
        string_buffer_deinit(&origin);
    }
    json_write_array_end(&writer);
    json_write_object_end(&writer);
}
