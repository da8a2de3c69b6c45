/* arguments.c - see arguments.h. */
#include "config/arguments.h"

#include "base/bytes.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_LEFT_COLUMN = 32, HELP_WIDTH = 96 };

struct parse {
    char *const *arguments;
    size_t count;
    size_t at;
    const struct argument_option *options;
    const struct argument_settings *settings;
    struct arena *arena;
    struct error *error;
};

static const struct argument_option *find_option(const struct argument_option *options,
                                                 const char *name) {
    for (; options != NULL && options->name != NULL; options++) {
        if (strcmp(options->name, name) == 0) {
            return options;
        }
    }
    return NULL;
}

static const struct argument_option *find_letter(const struct argument_option *options,
                                                 char letter) {
    for (; options != NULL && options->name != NULL; options++) {
        if (options->letter == letter && letter != '\0') {
            return options;
        }
    }
    return NULL;
}

/* Values of a subcommand's own options. */

static bool set_integer(const struct argument_option *option, const char *text,
                        struct error *error) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || (double)value < option->minimum ||
        (double)value > option->maximum) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--%s takes an integer from %.0f to %.0f, not '%.100s'", option->name,
                         option->minimum, option->maximum, text);
    }
    *(int64_t *)option->target = value;
    return true;
}

static bool set_number(const struct argument_option *option, const char *text,
                       struct error *error) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= option->minimum && value <= option->maximum)) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--%s takes a number from %g to %g, not '%.100s'", option->name,
                         option->minimum, option->maximum, text);
    }
    *(double *)option->target = value;
    return true;
}

/* `list` has room for every argument of the command line once its first text is stored. */
static bool append_text(struct parse *parse, struct argument_operands *list, const char *text) {
    if (list->texts == NULL) {
        list->texts = arena_alloc(parse->arena, parse->count, sizeof *list->texts);
        if (list->texts == NULL) {
            return error_set(parse->error, ERROR_OUT_OF_MEMORY, "no memory for the arguments");
        }
    }
    list->texts[list->count++] = text;
    return true;
}

static bool set_option(struct parse *parse, const struct argument_option *option,
                       const char *value) {
    switch (option->kind) {
    case ARGUMENT_SWITCH:
        *(bool *)option->target = strcmp(value, "true") == 0;
        return true;
    case ARGUMENT_TEXT:
        *(const char **)option->target = value;
        return true;
    case ARGUMENT_INTEGER:
        return set_integer(option, value, parse->error);
    case ARGUMENT_NUMBER:
        return set_number(option, value, parse->error);
    case ARGUMENT_TEXTS:
        break;
    }
    return append_text(parse, option->target, value);
}

/* One argument. */

/* A long name taken apart, and what it means. */
struct long_name {
    char name[128];       /* without dashes, without "no-" when `negated` */
    const char *attached; /* behind the equals sign, else NULL */
    bool negated;
    const struct argument_option *option; /* NULL: a setting */
    enum argument_setting setting;
};

static bool look_up(const struct parse *parse, struct long_name *found) {
    found->option = find_option(parse->options, found->name);
    found->setting = found->option != NULL
                         ? ARGUMENT_NOT_A_SETTING
                         : parse->settings->find(parse->settings->context, found->name);
    return found->option != NULL || found->setting != ARGUMENT_NOT_A_SETTING;
}

static bool is_switch(const struct long_name *found) {
    return found->option != NULL ? found->option->kind == ARGUMENT_SWITCH
                                 : found->setting == ARGUMENT_SETTING_SWITCH;
}

static bool resolve_long_name(const struct parse *parse, const char *argument,
                              struct long_name *found) {
    const char *equals = strchr(argument, '=');
    size_t length = equals == NULL ? strlen(argument) : (size_t)(equals - argument);
    *found = (struct long_name){.attached = equals == NULL ? NULL : equals + 1};
    snprintf(found->name, sizeof found->name, "%.*s", (int)size_min(length, 127), argument);
    if (look_up(parse, found)) {
        return true;
    }
    if (strncmp(found->name, "no-", 3) == 0) {
        struct long_name positive = *found;
        memmove(positive.name, found->name + 3, sizeof positive.name - 3);
        if (look_up(parse, &positive) && is_switch(&positive)) {
            *found = positive;
            found->negated = true;
            return true;
        }
    }
    return parse->settings->refuse(parse->settings->context, found->name, parse->error);
}

/* The value that belongs to an option: attached to it, or the next argument. */
static const char *take_value(struct parse *parse, const char *shown, const char *attached) {
    if (attached != NULL) {
        return attached;
    }
    if (parse->at == parse->count) {
        error_set(parse->error, ERROR_INVALID_ARGUMENT, "%s needs a value", shown);
        return NULL;
    }
    return parse->arguments[parse->at++];
}

static bool parse_long(struct parse *parse, const char *argument) {
    struct long_name found;
    if (!resolve_long_name(parse, argument, &found)) {
        return false;
    }
    char shown[160];
    snprintf(shown, sizeof shown, "--%s%s", found.negated ? "no-" : "", found.name);
    const char *value = found.negated ? "false" : "true";
    if (is_switch(&found) && found.attached != NULL) {
        return error_set(parse->error, ERROR_INVALID_ARGUMENT,
                         "%s takes no value (--%s turns it on, --no-%s off)", shown, found.name,
                         found.name);
    }
    if (!is_switch(&found)) {
        value = take_value(parse, shown, found.attached);
    }
    if (value == NULL) {
        return false;
    }
    if (found.option != NULL) {
        return set_option(parse, found.option, value);
    }
    parse->settings->set(parse->settings->context, found.name, value);
    return true;
}

/* -x, -x value, -xvalue. */
static bool parse_short(struct parse *parse, const char *argument) {
    const struct argument_option *option = find_letter(parse->options, argument[1]);
    if (option == NULL) {
        return error_set(parse->error, ERROR_INVALID_ARGUMENT,
                         "unknown option '%.100s' (a text that begins with a dash goes behind --)",
                         argument);
    }
    if (option->kind == ARGUMENT_SWITCH) {
        if (argument[2] != '\0') {
            return error_set(parse->error, ERROR_INVALID_ARGUMENT, "-%c takes no value",
                             argument[1]);
        }
        return set_option(parse, option, "true");
    }
    const char *value = take_value(parse, argument, argument[2] == '\0' ? NULL : argument + 2);
    return value != NULL && set_option(parse, option, value);
}

bool arguments_parse(char *const *arguments, size_t count, const struct argument_option *options,
                     const struct argument_settings *settings, struct arena *arena,
                     struct argument_operands *operands, struct error *error) {
    struct parse parse = {.arguments = arguments,
                          .count = count,
                          .options = options,
                          .settings = settings,
                          .arena = arena,
                          .error = error};
    *operands = (struct argument_operands){0};
    bool options_ended = false;
    while (parse.at < count) {
        const char *argument = arguments[parse.at++];
        bool done;
        if (options_ended || argument[0] != '-' || argument[1] == '\0') {
            done = append_text(&parse, operands, argument);
        } else if (strcmp(argument, "--") == 0) {
            options_ended = true;
            done = true;
        } else if (argument[1] == '-') {
            done = parse_long(&parse, argument + 2);
        } else {
            done = parse_short(&parse, argument);
        }
        if (!done) {
            return false;
        }
    }
    return true;
}

/* Help. */

/* Breaks `text` between words so that no line passes HELP_WIDTH. */
static void append_wrapped(struct string_buffer *out, const char *text, size_t indent,
                           size_t column) {
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column + word > HELP_WIDTH && column > indent) {
            string_buffer_append_format(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        string_buffer_append(out, text, word);
        column += word;
        text += word;
        if (*text == ' ') {
            text++;
            if (column + 1 + strcspn(text, " ") <= HELP_WIDTH) {
                string_buffer_append_char(out, ' ');
            }
            column++;
        }
    }
}

void arguments_append_help_row(struct string_buffer *out, const char *left, const char *right) {
    size_t length = strlen(left);
    string_buffer_append_format(out, "  %s", left);
    if (length + 4 > HELP_LEFT_COLUMN) {
        string_buffer_append_format(out, "\n%*s", HELP_LEFT_COLUMN, "");
    } else {
        string_buffer_append_format(out, "%*s", (int)(HELP_LEFT_COLUMN - 2 - length), "");
    }
    append_wrapped(out, right, HELP_LEFT_COLUMN, HELP_LEFT_COLUMN);
    string_buffer_append_char(out, '\n');
}

void arguments_append_help(const struct argument_option *options, struct string_buffer *out) {
    for (; options != NULL && options->name != NULL; options++) {
        char left[128];
        char letter[8] = "";
        if (options->letter != '\0') {
            snprintf(letter, sizeof letter, "-%c, ", options->letter);
        }
        snprintf(left, sizeof left, "%s--%s%s%s", letter, options->name,
                 options->unit == NULL ? "" : " ", options->unit == NULL ? "" : options->unit);
        arguments_append_help_row(out, left, options->sentence);
    }
}
