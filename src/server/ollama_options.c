/* ollama_options.c - see ollama_options.h. */
#include "server/ollama_options.h"

#include "base/log.h"
#include "base/random.h"
#include "base/string_buffer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_STOPS = 64,
    MAX_STOP_BYTES = 1024, /* of one */
    NAMES_LOGGED = 8,
    NAME_BYTES_LOGGED = 40,
};

enum option_kind {
    OPTION_INTEGER, /* int64_t; a fraction is cut off, as Ollama does */
    OPTION_NUMBER,  /* float */
    OPTION_STOPS,
    OPTION_LOADING,      /* an integer that Ollama reads when it loads a model; no effect here */
    OPTION_LOADING_BOOL, /* the same, a boolean */
};

#define AT(member) offsetof(struct ollama_options, member)
static const struct option_row {
    const char *name;
    enum option_kind kind;
    size_t target;
} rows[] = {
    {"num_ctx", OPTION_INTEGER, AT(num_ctx)},
    {"num_keep", OPTION_INTEGER, AT(num_keep)},
    {"num_predict", OPTION_INTEGER, AT(num_predict)},
    {"seed", OPTION_INTEGER, AT(seed)},
    {"top_k", OPTION_INTEGER, AT(top_k)},
    {"repeat_last_n", OPTION_INTEGER, AT(repeat_last_n)},
    {"temperature", OPTION_NUMBER, AT(sampling.temperature)},
    {"top_p", OPTION_NUMBER, AT(sampling.top_p)},
    {"min_p", OPTION_NUMBER, AT(sampling.min_p)},
    {"typical_p", OPTION_NUMBER, AT(sampling.typical_p)},
    {"repeat_penalty", OPTION_NUMBER, AT(sampling.repeat_penalty)},
    {"presence_penalty", OPTION_NUMBER, AT(sampling.presence_penalty)},
    {"frequency_penalty", OPTION_NUMBER, AT(sampling.frequency_penalty)},
    {"stop", OPTION_STOPS, 0},
    {"num_batch", OPTION_LOADING, 0},
    {"num_gpu", OPTION_LOADING, 0},
    {"main_gpu", OPTION_LOADING, 0},
    {"num_thread", OPTION_LOADING, 0},
    {"use_mmap", OPTION_LOADING_BOOL, 0},
};
#undef AT

struct ollama_options ollama_options_default(struct arena *arena, float temperature) {
    struct ollama_options options = {
        .arena = arena,
        .num_keep = 4,
        .num_predict = -1,
        .seed = -1,
        .top_k = 40,
        .repeat_last_n = 64,
        .sampling = sampling_params_default(),
    };
    options.sampling.temperature = temperature;
    options.sampling.top_p = 0.9f;
    return options;
}

static bool wrong_type(const char *name, const char *expected, struct api_error *error) {
    return api_error_set(error, 400, "invalid_type", name, "option \"%s\" must be of %s", name,
                         expected);
}

static int64_t to_integer(const json_t *value) {
    if (json_is_integer(value)) {
        return json_integer_value(value);
    }
    double number = json_real_value(value);
    return number > 0x1p62 ? INT64_MAX : number < -0x1p62 ? INT64_MIN : (int64_t)number;
}

static bool read_stops(const json_t *value, struct ollama_options *options,
                       struct api_error *error) {
    size_t count = json_array_size(value);
    if (!json_is_array(value)) {
        return wrong_type("stop", "type array", error);
    }
    if (count > MAX_STOPS) {
        return api_error_set(error, 400, "array_above_max_length", "stop",
                             "option \"stop\" has more than %d strings", MAX_STOPS);
    }
    options->stop_count = 0;
    options->stops = arena_alloc(options->arena, count + 1, sizeof *options->stops);
    for (size_t i = 0; options->stops != NULL && i < count; i++) {
        const json_t *text = json_array_get(value, i);
        size_t length = json_string_length(text);
        if (!json_is_string(text)) {
            return wrong_type("stop", "an array of strings", error);
        }
        if (length > MAX_STOP_BYTES) {
            return api_error_set(error, 400, "invalid_value", "stop",
                                 "option \"stop\" has a string of more than %d bytes",
                                 MAX_STOP_BYTES);
        }
        if (length == 0) {
            continue; /* would end every answer at once; Ollama's clients send them */
        }
        const char *copy = arena_copy_text(options->arena, json_string_value(text), length);
        if (copy == NULL) {
            return api_error_out_of_memory(error);
        }
        options->stops[options->stop_count++] = (struct string_view){copy, length};
    }
    return options->stops != NULL || api_error_out_of_memory(error);
}

static bool read_option(const struct option_row *row, const json_t *value,
                        struct ollama_options *options, struct api_error *error) {
    char *target = (char *)options + row->target;
    switch (row->kind) {
    case OPTION_INTEGER:
    case OPTION_LOADING:
        if (!json_is_number(value)) {
            return wrong_type(row->name, "type integer", error);
        }
        if (row->kind == OPTION_INTEGER) {
            int64_t integer = to_integer(value);
            memcpy(target, &integer, sizeof integer);
        }
        return true;
    case OPTION_NUMBER: {
        if (!json_is_number(value)) {
            return wrong_type(row->name, "type float32", error);
        }
        float number = (float)json_number_value(value);
        memcpy(target, &number, sizeof number);
        return true;
    }
    case OPTION_LOADING_BOOL:
        return json_is_boolean(value) || wrong_type(row->name, "type boolean", error);
    case OPTION_STOPS:
        return read_stops(value, options, error);
    }
    return true;
}

static const struct option_row *find_row(const char *name) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

bool ollama_options_knows(const char *name) {
    return find_row(name) != NULL;
}

bool ollama_options_read(const json_t *object, struct ollama_options *options,
                         struct api_error *error) {
    if (object == NULL || json_is_null(object)) {
        return true;
    }
    if (!json_is_object(object)) {
        return api_error_set(error, 400, "invalid_type", "options", "options must be an object");
    }
    struct string_buffer unknown = {0};
    size_t unknown_count = 0;
    bool ok = true;
    for (void *at = json_object_iter((json_t *)(uintptr_t)object); ok && at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)object, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *value = json_object_iter_value(at);
        const struct option_row *row = find_row(name);
        if (json_is_null(value)) {
            continue;
        }
        if (row != NULL) {
            ok = read_option(row, value, options, error);
        } else if (unknown_count++ < NAMES_LOGGED) {
            string_buffer_append_format(&unknown, "%s%.*s", unknown.length == 0 ? "" : ", ",
                                        NAME_BYTES_LOGGED, name);
        }
    }
    if (ok && unknown_count != 0) {
        log_event(LOG_INFO, "unknown_options", log_text("names", string_buffer_text(&unknown)),
                  log_integer("count", (int64_t)unknown_count));
    }
    string_buffer_deinit(&unknown);
    return ok;
}

static int32_t clamp_to_int32(int64_t value) {
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

bool ollama_options_sampling(const struct ollama_options *options, size_t vocabulary_size,
                             struct sampling_params *sampling, struct api_error *error) {
    *sampling = options->sampling;
    sampling->top_k = clamp_to_int32(options->top_k);
    sampling->repeat_last_n = clamp_to_int32(options->repeat_last_n);
    if (sampling->repeat_penalty == 0.0f) {
        sampling->repeat_penalty = 1.0f; /* how some clients turn it off */
    }
    sampling->seed = options->seed == -1 ? random_fresh_seed() : (uint64_t)options->seed;
    struct error cause = {0};
    return sampling_params_check(sampling, vocabulary_size, &cause) ||
           api_error_from(error, &cause, "options");
}

/* --- durations --- */

/* Seconds of Go's "1h30m", "300ms", "-1.5s"; false when it is none. */
static bool read_duration(const char *text, double *seconds) {
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"\u00b5s", 1e-6}, {"\u03bcs", 1e-6},
                 {"ms", 1e-3}, {"s", 1},     {"m", 60},         {"h", 3600}};
    double sign = *text == '-' ? -1 : 1;
    double sum = 0;
    text += *text == '-' || *text == '+';
    if (*text == '\0') {
        return false;
    }
    while (*text != '\0') {
        char *rest;
        if (strchr("0123456789.", *text) == NULL) { /* strtod would take signs, inf and 0x */
            return false;
        }
        double number = strtod(text, &rest);
        if (rest == text || text[strcspn(text, "xXeE")] != '\0') {
            return false;
        }
        text = rest;
        double unit = *text == '\0' ? 1 : 0;
        size_t longest = 0;
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
            size_t length = strlen(units[i].unit);
            if (strncmp(text, units[i].unit, length) == 0 && length > longest) {
                unit = units[i].seconds;
                longest = length;
            }
        }
        if (unit == 0) {
            return false;
        }
        text += longest;
        sum += number * unit;
    }
    *seconds = sign * sum;
    return true;
}

bool ollama_keep_alive_read(const json_t *value, double *seconds, struct api_error *error) {
    double given = 0;
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    if (json_is_number(value)) {
        given = json_number_value(value);
    } else if (!json_is_string(value) || !read_duration(json_string_value(value), &given)) {
        return api_error_set(error, 400, "invalid_value", "keep_alive",
                             "keep_alive must be a number of seconds or a duration such as "
                             "\"10m\"");
    }
    *seconds = given < 0 ? -1 : given;
    return true;
}
