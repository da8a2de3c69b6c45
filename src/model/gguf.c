/*
 * gguf.c - see gguf.h. One pass over the metadata and the tensor list, then the tensors are placed.
 *
 * The layout (ggml's docs/gguf.md): magic, version u32, tensor count u64, entry count u64; entries
 * (key, type u32, value); tensors (name, dimension count u32, dimensions u64 each, type u32, offset
 * u64); padding to general.alignment; tensor data, to whose start the offsets are relative. A
 * string is a u64 length and its bytes. Everything is read through take(), which knows where the
 * file ends.
 */
#include "model/gguf.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash_map.h"
#include "base/string_buffer.h"
#include "base/utf8.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MAX_KEY_BYTES = 65535,      /* the specification's bounds */
    MAX_TENSOR_NAME_BYTES = 64, /* likewise */
    DEFAULT_ALIGNMENT = 32,     /* likewise, as is the unit of 8 */
    MIN_ALIGNMENT = 8,
    /* Bounds of our own, far above any real model, so that memory and time stay bounded too: the
     * largest mixtures of experts have some 50,000 tensors, vocabularies a million strings. */
    MAX_ENTRIES = 1 << 16,
    MAX_TENSORS = 1 << 18,
    MAX_ARRAY_ELEMENTS = 1 << 24,
    /* The least an entry (key length, one byte of key, type, value of one byte) and a tensor (name
     * length, one byte, dimension count, a dimension, type, offset) take in the file. */
    MIN_ENTRY_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8,
};

struct gguf {
    char *path;              /* owned */
    struct mapped_file file; /* owned when `mapped`, else the caller's bytes */
    bool mapped;
    size_t data_start; /* of the tensors: what lies before it is read once more, from a copy */
    uint32_t version;
    struct gguf_value *values; /* [value_count], file order; owned */
    size_t value_count;
    struct gguf_tensor *tensors; /* [tensor_count], file order; owned */
    size_t tensor_count;
    struct hash_map value_index;  /* key → index in values */
    struct hash_map tensor_index; /* name → index in tensors */
};

static const struct {
    const char *name;
    size_t bytes; /* of a value in the file; 0: varies */
} value_types[] = {
    [GGUF_UINT8] = {"uint8", 1},     [GGUF_INT8] = {"int8", 1},     [GGUF_UINT16] = {"uint16", 2},
    [GGUF_INT16] = {"int16", 2},     [GGUF_UINT32] = {"uint32", 4}, [GGUF_INT32] = {"int32", 4},
    [GGUF_FLOAT32] = {"float32", 4}, [GGUF_BOOL] = {"bool", 1},     [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0},     [GGUF_UINT64] = {"uint64", 8}, [GGUF_INT64] = {"int64", 8},
    [GGUF_FLOAT64] = {"float64", 8},
};

enum { VALUE_TYPE_COUNT = sizeof value_types / sizeof value_types[0] };

/* ---- reading with the end of the file in sight ---- */

/* Where the parser is. Messages say "<path>, byte <offset>: <part> '<name>' <what is wrong>", with
 * "number <index>" for a part whose name has not been read yet. */
struct reader {
    const struct gguf *gguf;
    size_t at;        /* next byte to read, at most the file's size */
    const char *part; /* "the header", "key", "tensor" */
    size_t index;     /* of the key or tensor; meaningless in the header */
    struct string_view name;
    struct error *error;
};

/* The start of a name as it goes into a message. Names are valid UTF-8 once they are in a reader.
 */
static struct string_view shortened(struct string_view name) {
    size_t length = size_min(name.length, 80);
    length -= utf8_incomplete_tail(name.data, length);
    return (struct string_view){name.data, length};
}

static bool fail(struct reader *reader, enum error_code code, size_t offset, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

static bool fail(struct reader *reader, enum error_code code, size_t offset, const char *format,
                 ...) {
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    char subject[160];
    if (reader->name.length > 0) {
        struct string_view name = shortened(reader->name);
        snprintf(subject, sizeof subject, "%s '%.*s'", reader->part, (int)name.length, name.data);
    } else if (reader->index != SIZE_MAX) {
        snprintf(subject, sizeof subject, "%s number %zu", reader->part, reader->index);
    } else {
        snprintf(subject, sizeof subject, "%s", reader->part);
    }
    return error_set(reader->error, code, "'%s', byte %zu: %s %s", reader->gguf->path, offset,
                     subject, what);
}

/* The next `count` bytes, or NULL with the error set when the file has fewer left. */
static const uint8_t *take(struct reader *reader, uint64_t count, const char *field) {
    size_t left = reader->gguf->file.size - reader->at;
    if (count > left) {
        fail(reader, ERROR_FORMAT, reader->at,
             "is cut off: its %s takes %" PRIu64 " bytes, but the file has %zu left", field, count,
             left);
        return NULL;
    }
    const uint8_t *bytes = reader->gguf->file.data + reader->at;
    reader->at += (size_t)count;
    return bytes;
}

static bool take_u32(struct reader *reader, const char *field, uint32_t *out) {
    const uint8_t *bytes = take(reader, sizeof *out, field);
    if (bytes == NULL) {
        return false;
    }
    *out = load_u32_le(bytes);
    return true;
}

static bool take_u64(struct reader *reader, const char *field, uint64_t *out) {
    const uint8_t *bytes = take(reader, sizeof *out, field);
    if (bytes == NULL) {
        return false;
    }
    *out = load_u64_le(bytes);
    return true;
}

static bool take_string(struct reader *reader, const char *field, struct string_view *out) {
    uint64_t length;
    if (!take_u64(reader, field, &length)) {
        return false;
    }
    const uint8_t *bytes = take(reader, length, field);
    if (bytes == NULL) {
        return false;
    }
    *out = (struct string_view){(const char *)bytes, (size_t)length};
    return true;
}

/* A key or a tensor's name. The specification asks for ASCII; other readers accept UTF-8, and so
 * does this one, but nothing that could garble a terminal or a log line. */
static bool take_name(struct reader *reader, size_t limit) {
    size_t start = reader->at;
    struct string_view name;
    if (!take_string(reader, "name", &name)) {
        return false;
    }
    if (name.length == 0 || name.length > limit) {
        return fail(reader, ERROR_FORMAT, start, "has a name of %zu bytes; 1 to %zu are allowed",
                    name.length, limit);
    }
    size_t bad = name.length;
    bool clean = utf8_validate(name.data, name.length, &bad);
    for (size_t i = 0; clean && i < name.length; i++) {
        if ((unsigned char)name.data[i] < 0x20 || name.data[i] == 0x7f) {
            clean = false;
            bad = i;
        }
    }
    if (!clean) {
        return fail(reader, ERROR_FORMAT, start + 8 + bad,
                    "has a name with the byte 0x%02x, which is no text", (uint8_t)name.data[bad]);
    }
    reader->name = name;
    return true;
}

/* ---- the parts of the file, in order ---- */

/* What people hand in instead of a GGUF file, by its first four bytes. */
static const struct {
    char magic[5];
    const char *advice;
} other_formats[] = {
    {"vers", "it looks like a Git LFS pointer: fetch the file itself (git lfs pull)"},
    {"PK\3\4", "it is a ZIP archive, as PyTorch writes them: convert the model to GGUF"},
    {"tjgg", "it is of the GGJT format from before GGUF: get a newer file of the model"},
    {"fmgg", "it is of the GGMF format from before GGUF: get a newer file of the model"},
    {"lmgg", "it is of the GGML format from before GGUF: get a newer file of the model"},
    {"<htm", "it is a web page: the download went wrong"},
    {"<!do", "it is a web page: the download went wrong"},
    {"<!DO", "it is a web page: the download went wrong"},
};

static bool check_magic(struct reader *reader) {
    const struct mapped_file *file = &reader->gguf->file;
    if (file->size == 0) {
        return error_set(reader->error, ERROR_FORMAT, "'%s' is empty, not a GGUF file",
                         reader->gguf->path);
    }
    const uint8_t *magic = take(reader, 4, "magic number");
    if (magic == NULL || memcmp(magic, "GGUF", 4) == 0) {
        return magic != NULL;
    }
    const char *advice = "it is something else, or damaged";
    for (size_t i = 0; i < sizeof other_formats / sizeof other_formats[0]; i++) {
        if (memcmp(magic, other_formats[i].magic, 4) == 0) {
            advice = other_formats[i].advice;
        }
    }
    return error_set(reader->error, ERROR_FORMAT,
                     "'%s', byte 0: the magic number is %02x %02x %02x %02x, not that of a GGUF "
                     "file (47 47 55 46); %s",
                     reader->gguf->path, magic[0], magic[1], magic[2], magic[3], advice);
}

static bool check_version(struct reader *reader, uint32_t version) {
    size_t offset = reader->at - sizeof version;
    if (version == 2 || version == 3) {
        return true;
    }
    if (version != 0 && (version & 0xffff) == 0) { /* a small number with its bytes reversed */
        return fail(reader, ERROR_UNSUPPORTED, offset,
                    "has the version field 0x%08" PRIx32 ": this is a big-endian GGUF file, and "
                    "only little-endian ones are read; convert it",
                    version);
    }
    if (version == 1) {
        return fail(reader, ERROR_UNSUPPORTED, offset,
                    "says GGUF version 1, which had 32-bit counts and is no longer read; get or "
                    "convert the model as version 2 or 3");
    }
    return fail(reader, ERROR_UNSUPPORTED, offset,
                "says GGUF version %" PRIu32 "; versions 2 and 3 are read", version);
}

/* A count of things that each take at least `min_bytes` of what is left of the file. */
static bool take_count(struct reader *reader, const char *field, size_t limit, size_t min_bytes,
                       size_t *out) {
    uint64_t count;
    if (!take_u64(reader, field, &count)) {
        return false;
    }
    size_t left = reader->gguf->file.size - reader->at;
    if (count > left / min_bytes) {
        return fail(reader, ERROR_FORMAT, reader->at - 8,
                    "has the %s %" PRIu64 ", for which the %zu bytes left of the file are too few",
                    field, count, left);
    }
    if (count > limit) {
        return fail(reader, ERROR_FORMAT, reader->at - 8,
                    "has the %s %" PRIu64 "; at most %zu are accepted", field, count, limit);
    }
    *out = (size_t)count;
    return true;
}

static bool parse_header(struct gguf *gguf, struct reader *reader) {
    reader->part = "the header";
    reader->index = SIZE_MAX;
    return check_magic(reader) && take_u32(reader, "version", &gguf->version) &&
           check_version(reader, gguf->version) &&
           take_count(reader, "tensor count", MAX_TENSORS, MIN_TENSOR_BYTES, &gguf->tensor_count) &&
           take_count(reader, "metadata count", MAX_ENTRIES, MIN_ENTRY_BYTES, &gguf->value_count);
}

static bool take_value_type(struct reader *reader, const char *field, enum gguf_value_type *out) {
    uint32_t type;
    if (!take_u32(reader, field, &type)) {
        return false;
    }
    if (type >= VALUE_TYPE_COUNT) {
        return fail(reader, ERROR_FORMAT, reader->at - 4,
                    "has the unknown %s %" PRIu32 "; GGUF has 0 to %d", field, type,
                    VALUE_TYPE_COUNT - 1);
    }
    *out = (enum gguf_value_type)type;
    return true;
}

static bool take_array_start(struct reader *reader, struct gguf_value *value) {
    if (!take_value_type(reader, "array element type", &value->element_type)) {
        return false;
    }
    if (value->element_type == GGUF_ARRAY) {
        return fail(reader, ERROR_UNSUPPORTED, reader->at - 4,
                    "is an array of arrays, which is not supported");
    }
    size_t element_bytes = value_types[value->element_type].bytes;
    size_t least = element_bytes != 0 ? element_bytes : 8; /* a string's length */
    return take_count(reader, "array length", MAX_ARRAY_ELEMENTS, least, &value->count);
}

/* The elements themselves, value->count of them; a scalar is one element. */
static bool take_elements(struct reader *reader, struct gguf_value *value) {
    size_t start = reader->at;
    if (value->element_type == GGUF_STRING) {
        for (size_t i = 0; i < value->count; i++) {
            struct string_view text;
            if (!take_string(reader, "string", &text)) {
                return false;
            }
        }
    } else if (take(reader, (uint64_t)value->count * value_types[value->element_type].bytes,
                    "value") == NULL) {
        return false;
    }
    value->data = reader->gguf->file.data + start;
    value->data_bytes = reader->at - start;
    for (size_t i = 0; value->element_type == GGUF_BOOL && i < value->count; i++) {
        if (value->data[i] > 1) {
            return fail(reader, ERROR_FORMAT, start + i, "has the bool %u; it must be 0 or 1",
                        value->data[i]);
        }
    }
    return true;
}

static bool parse_value(struct reader *reader, struct gguf_value *value) {
    if (!take_name(reader, MAX_KEY_BYTES) || !take_value_type(reader, "value type", &value->type)) {
        return false;
    }
    value->key = reader->name;
    value->element_type = value->type;
    value->count = 1;
    if (value->type == GGUF_ARRAY && !take_array_start(reader, value)) {
        return false;
    }
    return take_elements(reader, value);
}

/* Remembers that `name` has the number reader->index; it must be new. */
static bool index_name(struct reader *reader, struct hash_map *index, size_t offset) {
    if (hash_map_get(index, reader->name) != NULL) {
        return fail(reader, ERROR_FORMAT, offset, "appears twice in the file");
    }
    return hash_map_set(index, reader->name, reader->index) ||
           fail(reader, ERROR_OUT_OF_MEMORY, offset, "cannot be indexed: out of memory");
}

static bool parse_values(struct gguf *gguf, struct reader *reader) {
    reader->part = "key";
    for (reader->index = 0; reader->index < gguf->value_count; reader->index++) {
        size_t start = reader->at;
        reader->name = (struct string_view){0};
        if (!parse_value(reader, &gguf->values[reader->index]) ||
            !index_name(reader, &gguf->value_index, start)) {
            return false;
        }
    }
    return true;
}

/* Replaces the default in *alignment by the file's own, if it has one. */
static bool take_alignment(struct gguf *gguf, struct reader *reader, size_t *alignment) {
    uint32_t value = (uint32_t)*alignment;
    if (!gguf_read_u32(gguf, "general.alignment", &value, reader->error)) {
        return false;
    }
    /* The specification asks for a multiple of 8, every known reader for a power of two as well. */
    if (value < MIN_ALIGNMENT || (value & (value - 1)) != 0) {
        const struct gguf_value *at = gguf_find(gguf, "general.alignment");
        reader->name = at->key;
        return fail(reader, ERROR_FORMAT, (size_t)(at->data - gguf->file.data),
                    "is %" PRIu32 "; it must be a power of two and at least %d", value,
                    MIN_ALIGNMENT);
    }
    *alignment = value;
    return true;
}

static bool take_dimensions(struct reader *reader, struct gguf_tensor *tensor) {
    uint32_t count;
    if (!take_u32(reader, "dimension count", &count)) {
        return false;
    }
    if (count == 0 || count > GGUF_MAX_DIMENSIONS) {
        return fail(reader, ERROR_FORMAT, reader->at - 4,
                    "has %" PRIu32 " dimensions; 1 to %d are allowed", count, GGUF_MAX_DIMENSIONS);
    }
    tensor->dimension_count = count;
    for (size_t i = 0; i < GGUF_MAX_DIMENSIONS; i++) {
        uint64_t size = 1;
        if (i < count && !take_u64(reader, "dimension", &size)) {
            return false;
        }
        if (size == 0 || size > PTRDIFF_MAX) {
            return fail(reader, ERROR_FORMAT, reader->at - 8,
                        "has %" PRIu64 " as the size of its dimension %zu", size, i);
        }
        tensor->dimensions[i] = (size_t)size;
    }
    return true;
}

static bool fail_unsupported_type(struct reader *reader, uint32_t type) {
    struct string_buffer known = {0};
    for (uint32_t i = 0; quant_type_name(i) != NULL; i++) {
        if (quant_format_of(i) != NULL) {
            string_buffer_append_format(&known, " %s", quant_type_name(i));
        }
    }
    const char *name = quant_type_name(type);
    char number[32];
    snprintf(number, sizeof number, "number %" PRIu32, type);
    fail(reader, ERROR_UNSUPPORTED, reader->at - 4,
         "has type %s, which is not supported; use a file of the model with tensors of the types%s",
         name != NULL ? name : number, string_buffer_text(&known));
    string_buffer_deinit(&known);
    return false;
}

/* Sets row_count and bytes from the dimensions and the format. */
static bool measure_tensor(struct reader *reader, struct gguf_tensor *tensor, size_t offset) {
    const struct quant_format *format = tensor->format;
    if (tensor->dimensions[0] % format->block_values != 0) {
        return fail(reader, ERROR_FORMAT, offset,
                    "has rows of %zu values, not a multiple of the %zu in a block of %s",
                    tensor->dimensions[0], format->block_values, format->name);
    }
    size_t row_bytes;
    tensor->row_count = 1;
    bool fits = quant_row_bytes(format, tensor->dimensions[0], &row_bytes);
    for (size_t i = 1; fits && i < GGUF_MAX_DIMENSIONS; i++) {
        fits = size_multiply(tensor->row_count, tensor->dimensions[i], &tensor->row_count);
    }
    if (!fits || !size_multiply(tensor->row_count, row_bytes, &tensor->bytes)) {
        return fail(reader, ERROR_FORMAT, offset,
                    "has dimensions whose product overflows: %zu x %zu x %zu x %zu",
                    tensor->dimensions[0], tensor->dimensions[1], tensor->dimensions[2],
                    tensor->dimensions[3]);
    }
    return true;
}

/* Leaves tensor->data at the offset field; place_tensors replaces it once it knows where the data
 * begins. */
static bool parse_tensor(struct reader *reader, struct gguf_tensor *tensor) {
    if (!take_name(reader, MAX_TENSOR_NAME_BYTES)) {
        return false;
    }
    tensor->name = reader->name;
    size_t dimensions_at = reader->at;
    uint32_t type;
    if (!take_dimensions(reader, tensor) || !take_u32(reader, "type", &type)) {
        return false;
    }
    tensor->format = quant_format_of(type);
    if (tensor->format == NULL) {
        return fail_unsupported_type(reader, type);
    }
    tensor->data = take(reader, sizeof(uint64_t), "offset");
    return tensor->data != NULL && measure_tensor(reader, tensor, dimensions_at);
}

static bool parse_tensors(struct gguf *gguf, struct reader *reader) {
    reader->part = "tensor";
    for (reader->index = 0; reader->index < gguf->tensor_count; reader->index++) {
        size_t start = reader->at;
        reader->name = (struct string_view){0};
        if (!parse_tensor(reader, &gguf->tensors[reader->index]) ||
            !index_name(reader, &gguf->tensor_index, start)) {
            return false;
        }
    }
    return true;
}

/* Turns each tensor's offset into a pointer. Offsets count from the end of the tensor list, padded,
 * so no tensor can overlap what was parsed. */
static bool place_tensors(struct gguf *gguf, struct reader *reader, size_t alignment) {
    size_t data_start = gguf->data_start = size_divide_up(reader->at, alignment) * alignment;
    size_t data_bytes = data_start < gguf->file.size ? gguf->file.size - data_start : 0;
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        struct gguf_tensor *tensor = &gguf->tensors[i];
        reader->name = tensor->name;
        uint64_t offset = load_u64_le(tensor->data);
        size_t field_at = (size_t)(tensor->data - gguf->file.data);
        if (offset % alignment != 0) {
            return fail(reader, ERROR_FORMAT, field_at,
                        "has the data offset %" PRIu64 ", not a multiple of the alignment %zu",
                        offset, alignment);
        }
        if (tensor->bytes > data_bytes || offset > data_bytes - tensor->bytes) {
            return fail(reader, ERROR_FORMAT, field_at,
                        "has %zu bytes at the data offset %" PRIu64
                        ", past the end of the file's %zu bytes of tensor data; the file is cut "
                        "off or damaged",
                        tensor->bytes, offset, data_bytes);
        }
        tensor->data = gguf->file.data + data_start + (size_t)offset;
    }
    return true;
}

static bool allocate_tables(struct gguf *gguf, struct error *error) {
    /* One more than needed, so that an empty table is not a NULL that means failure. */
    gguf->values = calloc(gguf->value_count + 1, sizeof *gguf->values);
    gguf->tensors = calloc(gguf->tensor_count + 1, sizeof *gguf->tensors);
    if (gguf->values == NULL || gguf->tensors == NULL ||
        !hash_map_reserve(&gguf->value_index, gguf->value_count) ||
        !hash_map_reserve(&gguf->tensor_index, gguf->tensor_count)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the tables of '%s'",
                         gguf->path);
    }
    return true;
}

static bool parse(struct gguf *gguf, struct error *error) {
    struct reader reader = {.gguf = gguf, .error = error};
    size_t alignment = DEFAULT_ALIGNMENT;
    return parse_header(gguf, &reader) && allocate_tables(gguf, error) &&
           parse_values(gguf, &reader) && take_alignment(gguf, &reader, &alignment) &&
           parse_tensors(gguf, &reader) && place_tensors(gguf, &reader, alignment);
}

/* ---- open and close ---- */

static void drop_tables(struct gguf *gguf) {
    hash_map_deinit(&gguf->value_index);
    hash_map_deinit(&gguf->tensor_index);
    free(gguf->values);
    free(gguf->tensors);
    gguf->values = NULL, gguf->tensors = NULL;
}

/* The file may change between two looks at one string: all but the tensors' data is copied, checked
 * anew, and read from the copy only. */
static bool parse_copy(struct gguf *gguf, struct error *error) {
    drop_tables(gguf);
    return file_keep_head(&gguf->file, gguf->data_start, error) && parse(gguf, error) &&
           gguf_check(gguf, error);
}

/* Takes the file over, also on failure. */
static bool open_file(const char *path, struct mapped_file file, bool mapped, struct gguf **out,
                      struct error *error) {
    struct gguf *gguf = calloc(1, sizeof *gguf);
    char *path_copy = strdup(path);
    if (gguf == NULL || path_copy == NULL) {
        free(gguf);
        free(path_copy);
        if (mapped) {
            file_unmap(&file);
        }
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory to open '%s'", path);
    }
    *gguf = (struct gguf){.path = path_copy, .file = file, .mapped = mapped};
    if (!parse(gguf, error) || (mapped && !parse_copy(gguf, error))) {
        (void)gguf_check(gguf, error); /* a file that changes is why, where it does */
        gguf_close(gguf);
        return false;
    }
    *out = gguf;
    return true;
}

bool gguf_open(const char *path, struct gguf **gguf, struct error *error) {
    struct mapped_file file;
    return file_map(path, &file, error) && open_file(path, file, true, gguf, error);
}

bool gguf_check(const struct gguf *gguf, struct error *error) {
    return file_check(&gguf->file, gguf->path, error);
}

bool gguf_open_bytes(const char *name, const void *bytes, size_t length, struct gguf **gguf,
                     struct error *error) {
    return open_file(name, (struct mapped_file){.data = bytes, .size = length}, false, gguf, error);
}

void gguf_close(struct gguf *gguf) {
    if (gguf == NULL) {
        return;
    }
    if (gguf->mapped) {
        file_unmap(&gguf->file);
    }
    drop_tables(gguf);
    free(gguf->path);
    free(gguf);
}

/* ---- look-up ---- */

const char *gguf_path(const struct gguf *gguf) {
    return gguf->path;
}

uint32_t gguf_version(const struct gguf *gguf) {
    return gguf->version;
}

bool gguf_is_mapped(const struct gguf *gguf) {
    return gguf->mapped;
}

size_t gguf_file_bytes(const struct gguf *gguf) {
    return gguf->file.size;
}

size_t gguf_value_count(const struct gguf *gguf) {
    return gguf->value_count;
}

const struct gguf_value *gguf_value_at(const struct gguf *gguf, size_t index) {
    return &gguf->values[index];
}

const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key) {
    const uint64_t *index = hash_map_get(&gguf->value_index, string_view_of(key));
    return index != NULL ? &gguf->values[*index] : NULL;
}

size_t gguf_tensor_count(const struct gguf *gguf) {
    return gguf->tensor_count;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, size_t index) {
    return &gguf->tensors[index];
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *gguf, const char *name) {
    const uint64_t *index = hash_map_get(&gguf->tensor_index, string_view_of(name));
    return index != NULL ? &gguf->tensors[*index] : NULL;
}

const char *gguf_value_type_name(enum gguf_value_type type) {
    return value_types[type].name;
}

/* ---- typed reads ---- */

/* Element `index` of a value of an integer type (or bool), as 65 bits: sign and magnitude. */
struct integer {
    bool negative;
    uint64_t magnitude;
};

static struct integer integer_of(int64_t value) {
    return (struct integer){value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value};
}

static bool integer_at(const struct gguf_value *value, size_t index, struct integer *out) {
    const uint8_t *at = value->data + index * value_types[value->element_type].bytes;
    switch (value->element_type) {
    case GGUF_UINT8:
    case GGUF_BOOL:
        *out = (struct integer){false, at[0]};
        return true;
    case GGUF_INT8:
        *out = integer_of((int8_t)at[0]);
        return true;
    case GGUF_UINT16:
        *out = (struct integer){false, load_u16_le(at)};
        return true;
    case GGUF_INT16:
        *out = integer_of((int16_t)load_u16_le(at));
        return true;
    case GGUF_UINT32:
        *out = (struct integer){false, load_u32_le(at)};
        return true;
    case GGUF_INT32:
        *out = integer_of((int32_t)load_u32_le(at));
        return true;
    case GGUF_UINT64:
        *out = (struct integer){false, load_u64_le(at)};
        return true;
    case GGUF_INT64:
        *out = integer_of((int64_t)load_u64_le(at));
        return true;
    default:
        return false;
    }
}

bool gguf_number_at(const struct gguf_value *value, size_t index, double *out) {
    struct integer integer;
    if (index >= value->count) {
        return false;
    }
    if (value->element_type == GGUF_FLOAT32) {
        *out = (double)load_f32_le(value->data + 4 * index);
    } else if (value->element_type == GGUF_FLOAT64) {
        *out = load_f64_le(value->data + 8 * index);
    } else if (integer_at(value, index, &integer)) {
        *out = integer.negative ? -(double)integer.magnitude : (double)integer.magnitude;
    } else {
        return false;
    }
    return true;
}

/* "'<path>', byte <offset>: key '<key>' <what is wrong>" for a value that is already parsed. */
static bool fail_value(const struct gguf *gguf, const struct gguf_value *value, struct error *error,
                       const char *what) {
    struct reader reader = {.gguf = gguf, .part = "key", .name = value->key, .error = error};
    return fail(&reader, ERROR_FORMAT, (size_t)(value->data - gguf->file.data), "%s", what);
}

static bool fail_type(const struct gguf *gguf, const struct gguf_value *value, struct error *error,
                      const char *wanted) {
    char what[96];
    snprintf(what, sizeof what, "is of type %s; %s is needed", gguf_value_type_name(value->type),
             wanted);
    return fail_value(gguf, value, error, what);
}

bool gguf_read_u32(const struct gguf *gguf, const char *key, uint32_t *out, struct error *error) {
    const struct gguf_value *value = gguf_find(gguf, key);
    struct integer integer;
    if (value == NULL) {
        return true;
    }
    if (value->type == GGUF_ARRAY || value->type == GGUF_BOOL || !integer_at(value, 0, &integer)) {
        return fail_type(gguf, value, error, "an integer");
    }
    if (integer.negative || integer.magnitude > UINT32_MAX) {
        return fail_value(gguf, value, error, "is not between 0 and 4294967295");
    }
    *out = (uint32_t)integer.magnitude;
    return true;
}

bool gguf_read_f32(const struct gguf *gguf, const char *key, float *out, struct error *error) {
    const struct gguf_value *value = gguf_find(gguf, key);
    double number;
    if (value == NULL) {
        return true;
    }
    if (value->type == GGUF_ARRAY || value->type == GGUF_BOOL ||
        !gguf_number_at(value, 0, &number)) {
        return fail_type(gguf, value, error, "a number");
    }
    if (!isfinite(number) || fabs(number) > (double)FLT_MAX) {
        return fail_value(gguf, value, error, "is not a finite number of 32 bits");
    }
    *out = (float)number;
    return true;
}

bool gguf_read_bool(const struct gguf *gguf, const char *key, bool *out, struct error *error) {
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value == NULL) {
        return true;
    }
    if (value->type != GGUF_BOOL) {
        return fail_type(gguf, value, error, "a bool");
    }
    *out = value->data[0] != 0;
    return true;
}

bool gguf_read_string(const struct gguf *gguf, const char *key, struct string_view *out,
                      struct error *error) {
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value == NULL) {
        return true;
    }
    return (value->type == GGUF_STRING && gguf_string_at(value, 0, out)) ||
           fail_type(gguf, value, error, "a string");
}

/* The string at *at, whose bounds were checked by take_elements; moves *at behind it. */
static struct string_view next_string(const uint8_t **at) {
    size_t length = (size_t)load_u64_le(*at);
    struct string_view text = {(const char *)*at + 8, length};
    *at += 8 + length;
    return text;
}

bool gguf_string_at(const struct gguf_value *value, size_t index, struct string_view *out) {
    if (value->element_type != GGUF_STRING || index >= value->count) {
        return false;
    }
    const uint8_t *at = value->data;
    for (size_t i = 0; i < index; i++) {
        next_string(&at);
    }
    *out = next_string(&at);
    return true;
}

bool gguf_strings(const struct gguf_value *value, struct string_view *out) {
    if (value->element_type != GGUF_STRING) {
        return false;
    }
    const uint8_t *at = value->data;
    for (size_t i = 0; i < value->count; i++) {
        out[i] = next_string(&at);
    }
    return true;
}
