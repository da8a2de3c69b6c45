/* sentencepiece_model.c - see sentencepiece_model.h. */
#include "convert/sentencepiece_model.h"

#include "base/bytes.h"

/* A message, or what is left of it. */
struct message {
    const uint8_t *at, *end;
};

struct field {
    uint64_t number;
    uint64_t value;       /* of a varint */
    struct message bytes; /* of a length-delimited field, or 4 or 8 bytes */
};

enum { WIRE_VARINT = 0, WIRE_64_BITS = 1, WIRE_BYTES = 2, WIRE_32_BITS = 5 };

static bool take_varint(struct message *message, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64 && message->at < message->end; shift += 7) {
        uint8_t byte = *message->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

/* The next field; false at damage. */
static bool take_field(struct message *message, struct field *field) {
    uint64_t key, length = 0;
    if (!take_varint(message, &key)) {
        return false;
    }
    *field = (struct field){.number = key >> 3};
    switch (key & 7) {
    case WIRE_VARINT:
        return take_varint(message, &field->value);
    case WIRE_64_BITS:
        length = 8;
        break;
    case WIRE_32_BITS:
        length = 4;
        break;
    case WIRE_BYTES:
        if (!take_varint(message, &length)) {
            return false;
        }
        break;
    default:
        return false;
    }
    if (length > (uint64_t)(message->end - message->at)) {
        return false;
    }
    field->bytes = (struct message){message->at, message->at + length};
    message->at += length;
    return true;
}

/* SentencePiece: 1 piece, 2 score, 3 type. */
static bool read_piece(struct message message, struct sentencepiece_model *model) {
    size_t at = model->count++;
    model->types[at] = PIECE_NORMAL;
    while (message.at < message.end) {
        struct field field;
        if (!take_field(&message, &field)) {
            return false;
        }
        size_t length = field.bytes.at == NULL ? 0 : (size_t)(field.bytes.end - field.bytes.at);
        if (field.number == 1) {
            model->pieces[at] = (struct string_view){(const char *)field.bytes.at, length};
        } else if (field.number == 2 && length == 4) {
            model->scores[at] = load_f32_le(field.bytes.at);
        } else if (field.number == 3) {
            model->types[at] = field.value >= PIECE_NORMAL && field.value <= PIECE_BYTE
                                   ? (int32_t)field.value
                                   : PIECE_NORMAL;
        }
    }
    return true;
}

/* A number of a message; absent leaves it. */
static bool read_number(struct message message, uint64_t number, uint64_t *value) {
    while (message.at < message.end) {
        struct field field;
        if (!take_field(&message, &field)) {
            return false;
        }
        if (field.number == number) {
            *value = field.value;
        }
    }
    return true;
}

/* ModelProto: 1 pieces, 2 trainer_spec (3 model_type: 2 is BPE), 3 normalizer_spec
 * (3 add_dummy_prefix, 4 remove_extra_whitespaces). */
static bool read_fields(struct message message, bool counts_only,
                        struct sentencepiece_model *model) {
    uint64_t kind = 1, adds_space = 1, trims_spaces = 1;
    while (message.at < message.end) {
        struct field field;
        if (!take_field(&message, &field)) {
            return false;
        }
        bool is_message = field.bytes.at != NULL;
        bool good = true;
        if (field.number == 1 && is_message && counts_only) {
            model->count++;
        } else if (field.number == 1 && is_message) {
            good = read_piece(field.bytes, model);
        } else if (field.number == 2 && is_message) {
            good = read_number(field.bytes, 3, &kind);
        } else if (field.number == 3 && is_message) {
            good = read_number(field.bytes, 3, &adds_space) &&
                   read_number(field.bytes, 4, &trims_spaces);
        }
        if (!good) {
            return false;
        }
    }
    model->is_bpe = kind == 2;
    model->adds_space = adds_space != 0;
    model->trims_spaces = trims_spaces != 0;
    return true;
}

bool sentencepiece_model_read(const char *name, const void *bytes, size_t length,
                              struct arena *arena, struct sentencepiece_model *model,
                              struct error *error) {
    const struct message message = {bytes, (const uint8_t *)bytes + length};
    *model = (struct sentencepiece_model){0};
    if (!read_fields(message, true, model) || model->count == 0) {
        return error_set(error, ERROR_FORMAT, "'%s' is no SentencePiece model", name);
    }
    model->pieces = arena_alloc(arena, model->count, sizeof *model->pieces);
    model->scores = arena_alloc(arena, model->count, sizeof *model->scores);
    model->types = arena_alloc(arena, model->count, sizeof *model->types);
    model->count = 0;
    if (model->pieces == NULL || model->scores == NULL || model->types == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the pieces of '%s'", name);
    }
    return read_fields(message, false, model) ||
           error_set(error, ERROR_FORMAT, "'%s' is a damaged SentencePiece model", name);
}
