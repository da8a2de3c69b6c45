/* safetensors.c - see safetensors.h. */
#include "convert/safetensors.h"

#include "base/bytes.h"
#include "base/json_memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

struct reader {
    const char *path;
    const uint8_t *data; /* behind the head */
    size_t data_bytes;
    struct error *error;
};

static const struct {
    const char *name;
    size_t bytes;
    int format; /* enum tensor_type, or -1 */
} types[] = {
    {"F32", 4, TENSOR_F32}, {"F16", 2, TENSOR_F16}, {"BF16", 2, TENSOR_BF16},
    {"F64", 8, -1},         {"I64", 8, -1},         {"U64", 8, -1},
    {"I32", 4, -1},         {"U32", 4, -1},         {"I16", 2, -1},
    {"U16", 2, -1},         {"I8", 1, -1},          {"U8", 1, -1},
    {"BOOL", 1, -1},        {"F8_E4M3", 1, -1},     {"F8_E5M2", 1, -1},
};

static bool fail(const struct reader *reader, const char *name, const char *what) {
    return error_set(reader->error, ERROR_FORMAT, "'%s': the tensor '%.80s' %s", reader->path, name,
                     what);
}

/* A whole number of 0 or more. */
static bool take_size(const json_t *value, size_t *size) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *size = (size_t)json_integer_value(value);
    return true;
}

static bool read_type(const struct reader *reader, const char *name, const json_t *value,
                      struct safetensor *tensor, size_t *value_bytes) {
    const char *type = json_string_value(value);
    for (size_t i = 0; type != NULL && i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].name, type) == 0) {
            *value_bytes = types[i].bytes;
            tensor->format =
                types[i].format < 0 ? NULL : quant_format_of((uint32_t)types[i].format);
            return true;
        }
    }
    if (type == NULL) {
        return fail(reader, name, "has no dtype");
    }
    return error_set(reader->error, ERROR_UNSUPPORTED,
                     "'%s': the tensor '%.80s' has the dtype '%.40s', which is not supported",
                     reader->path, name, type);
}

static bool read_shape(const struct reader *reader, const char *name, const json_t *value,
                       struct safetensor *tensor, size_t *bytes) {
    if (!json_is_array(value) || json_array_size(value) > GGUF_MAX_DIMENSIONS) {
        return fail(reader, name, "has no shape of at most 4 dimensions");
    }
    tensor->dimension_count = json_array_size(value);
    for (size_t i = 0; i < tensor->dimension_count; i++) {
        size_t *dimension = &tensor->dimensions[i];
        if (!take_size(json_array_get(value, i), dimension) || *dimension == 0) {
            return fail(reader, name, "has a shape that is no list of whole numbers above 0");
        }
        if (!size_multiply(*bytes, *dimension, bytes)) {
            return fail(reader, name, "has a shape whose product overflows");
        }
    }
    return true;
}

static bool read_tensor(const struct reader *reader, const char *name, const json_t *value,
                        struct safetensor *tensor) {
    size_t begin = 0, end = 0, bytes = 0;
    const json_t *offsets = json_object_get(value, "data_offsets");
    if (!read_type(reader, name, json_object_get(value, "dtype"), tensor, &bytes) ||
        !read_shape(reader, name, json_object_get(value, "shape"), tensor, &bytes)) {
        return false;
    }
    if (json_array_size(offsets) != 2 || !take_size(json_array_get(offsets, 0), &begin) ||
        !take_size(json_array_get(offsets, 1), &end) || begin > end) {
        return fail(reader, name, "has no data_offsets of two whole numbers in order");
    }
    if (end > reader->data_bytes) {
        return fail(reader, name, "ends past the end of the file; it is cut off or damaged");
    }
    if (end - begin != bytes) {
        return fail(reader, name, "has data_offsets that do not fit its shape and dtype");
    }
    tensor->data = reader->data + begin;
    tensor->bytes = bytes;
    return true;
}

static int compare_places(const void *a, const void *b) {
    const struct safetensor *x = a, *y = b;
    return (x->data > y->data) - (x->data < y->data);
}

static bool check_overlaps(const struct reader *reader, struct safetensor *tensors, size_t count) {
    if (count > 1) {
        qsort(tensors, count, sizeof *tensors, compare_places);
    }
    for (size_t i = 1; i < count; i++) {
        if (tensors[i].data < tensors[i - 1].data + tensors[i - 1].bytes) {
            return fail(reader, tensors[i].name.data, "shares bytes with another");
        }
    }
    return true;
}

static bool read_all(const struct reader *reader, json_t *head, struct arena *arena,
                     struct safetensor **tensors, size_t *count) {
    struct safetensor *rows = arena_alloc(arena, json_object_size(head) + 1, sizeof *rows);
    const char *name;
    json_t *value;
    bool has_memory = rows != NULL;
    *count = 0;
    json_object_foreach(head, name, value) {
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        char *copy = has_memory ? arena_copy_text(arena, name, strlen(name)) : NULL;
        if (copy == NULL) {
            has_memory = false;
            break;
        }
        rows[*count].name = string_view_of(copy);
        if (!read_tensor(reader, name, value, &rows[*count])) {
            return false;
        }
        ++*count;
    }
    if (!has_memory) {
        return error_set(reader->error, ERROR_OUT_OF_MEMORY, "no memory for the tensors of '%s'",
                         reader->path);
    }
    *tensors = rows;
    return check_overlaps(reader, rows, *count);
}

bool safetensors_read(const char *name, const void *bytes, size_t length, struct arena *arena,
                      struct safetensor **tensors, size_t *count, struct error *error) {
    if (length < LENGTH_BYTES) {
        return error_set(error, ERROR_FORMAT, "'%s' is no safetensors file: it has %zu bytes", name,
                         length);
    }
    uint64_t head_bytes = load_u64_le(bytes);
    if (head_bytes > length - LENGTH_BYTES || head_bytes > SAFETENSORS_MAX_HEAD) {
        return error_set(error, ERROR_FORMAT,
                         "'%s' is no whole safetensors file: its head would have %llu bytes, and "
                         "%zu follow (at most %d are read)",
                         name, (unsigned long long)head_bytes, length - LENGTH_BYTES,
                         SAFETENSORS_MAX_HEAD);
    }
    const char *text = (const char *)bytes + LENGTH_BYTES;
    json_error_t where;
    json_t *head =
        json_guarded(json_loadb, text, (size_t)head_bytes, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(head)) {
        error_set(error, ERROR_FORMAT, "'%s': its head is no JSON object: %s", name,
                  head == NULL ? where.text : "another value");
        json_decref(head);
        return false;
    }
    const struct reader reader = {
        .path = name,
        .data = (const uint8_t *)text + head_bytes,
        .data_bytes = length - LENGTH_BYTES - (size_t)head_bytes,
        .error = error,
    };
    bool done = read_all(&reader, head, arena, tensors, count);
    json_decref(head);
    return done;
}
