/*
 * mix.h - the formats a whole model can be quantised to, and which tensor gets which format.
 *
 * A mix ("q5_k_m") is a format for most of the matrices and better ones for those that matter most.
 * The choice is that of llama.cpp's llama-quantize without an importance matrix, so a file has the
 * size and the quality that people know under the name. Pure.
 */
#ifndef MISTRAL_CONVERT_MIX_H
#define MISTRAL_CONVERT_MIX_H

#include "base/string_view.h"
#include "quant/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mix {
    const char *name;      /* as people write it: "q5_k_m" */
    uint32_t file_type;    /* general.file_type, llama.cpp's enum llama_ftype */
    enum tensor_type base; /* of the matrices that no rule names */
};

/* Case does not count. NULL: no such mix. */
const struct mix *mix_of(const char *name);

/* The table; a row whose name is NULL ends it. */
const struct mix *mix_table(void);

/* What the choice depends on besides the tensor itself. */
struct mix_shape {
    size_t layer_count;
    size_t group_size; /* query heads to a key-value head */
    bool has_output;   /* else the embedding is the output matrix too */
};

/* Whether a tensor is stored as the mix says; vectors and norms stay f32. */
bool mix_applies(struct string_view tensor, size_t dimension_count);

/* The format of a tensor to which the mix applies, with rows of `columns` values. */
const struct quant_format *mix_format(const struct mix *mix, const struct mix_shape *shape,
                                      struct string_view tensor, size_t columns);

#endif
