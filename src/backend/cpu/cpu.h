/*
 * cpu.h - what the CPU backend's files share: its objects, and the table of kernels an instruction
 * set provides. Private to src/backend/cpu and its tests.
 *
 * Matrices are worked on in panels of 16 rows (outputs) and chunks of at most 256 columns (inputs).
 * A kernel unpacks one chunk of a panel into a small buffer that stays in the first-level cache,
 * then multiplies it with every activation row at hand; so unpacking is paid once for many tokens,
 * and one row and many rows run through the same instructions in the same order (backend.h,
 * "reproducible").
 */
#ifndef MISTRAL_BACKEND_CPU_CPU_H
#define MISTRAL_BACKEND_CPU_CPU_H

#include "backend/backend.h"
#include "base/bytes.h"
#include "base/thread_pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PANEL_ROWS = 16,
    CHUNK_COLUMNS = 256,
    PACKED_CHUNK_BYTES = CHUNK_COLUMNS * PANEL_ROWS * 4,    /* the largest form: f32 */
    UNPACKED_BYTES = CHUNK_COLUMNS * PANEL_ROWS * 4 + 4096, /* the largest form: f32, plus scales */
    MATMUL_DIRECT_ROWS = 2,                                 /* most rows for multiply_packed */
    MATMUL_TILE_ROWS = 128,      /* activation rows that share one pass over the weights */
    ATTENTION_TILE_TOKENS = 64,  /* keys between two updates of the running maximum */
    ATTENTION_TILE_QUERIES = 32, /* (row, head) pairs that share one pass over the keys */
    ATTENTION_PARTIALS = 4096,   /* (row, head, segment of keys) that a step may sum apart */
    HUGE_PAGE_BYTES = 2 << 20,
};

/* How an activation row is encoded for a kernel. */
enum encoding {
    ENCODING_F32,        /* as it is */
    ENCODING_Q8_32,      /* struct q8_block32 for each 32 values */
    ENCODING_Q8_256,     /* struct q8_block256 for each 256 values */
    ENCODING_Q8_32_WIDE, /* struct q8_wide32 for each 32 values: ENCODING_Q8_32's in 16 bits */
    ENCODING_COUNT,
};

/* value ≈ scale * q, q in -127 … 127. */
struct q8_block32 {
    float scale;
    float scaled_sum;       /* scale * sum of q: what a weight block's minimum multiplies */
    int32_t minus_128_sums; /* -128 * sum of q: where a sum over signed weights moved up by 128
                               begins */
    int8_t q[32];
};

struct q8_wide32 {
    float scale;
    int16_t q[32];
};

struct q8_block256 {
    int8_t q[256];
    int16_t sums16[16]; /* sums of 16 consecutive q */
    int16_t sums32[8];  /* sums of 32 consecutive q */
    float scale;
    float padding[3];
};

_Static_assert(sizeof(struct q8_block32) == 44, "44 bytes for 32 values");
_Static_assert(sizeof(struct q8_wide32) == 68, "68 bytes for 32 values");
_Static_assert(sizeof(struct q8_block256) == 320, "320 bytes for 256 values");

struct cpu_weight;

/* What a quant of 4 bits stands for. */
enum packed_codes {
    CODES_PLAIN,        /* itself */
    CODES_UNEVEN,       /* a signed byte of IQ4_NL's table */
    CODES_UNEVEN_PARTS, /* the same of IQ4_XS: each 32 values are a block by themselves, whose scale
                         * is kept as f32, which holds the product that it is */
    CODES_E2M1, /* a signed byte of MXFP4's; the block's scale is kept as bf16, which holds every
                 * power of two that its exponent byte can mean */
};

/* How a format's blocks are interleaved for the integer kernels: see packed.h. */
struct packed_layout {
    enum tensor_type type;
    size_t block_values;        /* columns; 0: not packed, the file's own rows are read */
    size_t low_bits, high_bits; /* of a quant; 8 or more and 0: elements stored as they are */
    size_t sub_blocks;          /* with a scale of their own; 0: one scale a block */
    bool has_minimum;           /* a minimum a block, or one a sub-block */
    int offset;                 /* subtracted from each quant when there is no minimum */
    enum packed_codes codes;
};

/* How matrices of one format are multiplied. */
struct matmul_kernel {
    enum encoding encoding;
    struct packed_layout layout;
    /* Columns [first_column, first_column + columns) of a panel → the form that `multiply` reads.
     */
    void (*unpack)(const struct cpu_weight *weight, size_t panel, size_t first_column,
                   size_t columns, void *unpacked);
    /* sums[row][16] += chunk · activation. Activation rows lie `stride` bytes apart. */
    void (*multiply)(const void *unpacked, const uint8_t *activations, size_t stride,
                     size_t row_count, size_t columns, float *sums);
    /* Unpack and multiply in one pass that keeps the quants in registers, for one or two rows,
     * where the detour through a buffer does not pay. The same bits as the two above. NULL: there
     * is none. */
    void (*multiply_packed)(const struct cpu_weight *weight, size_t panel, size_t first_column,
                            const uint8_t *activations, size_t stride, size_t row_count,
                            size_t columns, float *sums);
    /* `multiply` reads ENCODING_Q8_32_WIDE, although `encoding`, which multiply_packed reads, is
     * ENCODING_Q8_32. */
    bool multiplies_wide;
};

/* One instruction set's kernels. Each has its portable twin and a parity test. */
struct cpu_kernels {
    const char *name;
    /* Never NULL for a supported format. */
    const struct matmul_kernel *(*matmul)(enum tensor_type type);
    /* Blocks [first_block, first_block + block_count) of a panel's rows, which `weight` has in the
     * file's form, into packed blocks. Writes every byte of them; all sets write the same. */
    void (*pack_blocks)(const struct cpu_weight *weight, size_t panel, size_t first_block,
                        size_t block_count, uint8_t *packed);
    void (*encode_q8_32)(const float *values, size_t columns, struct q8_block32 *blocks);
    void (*encode_q8_256)(const float *values, size_t columns, struct q8_block256 *blocks);
    void (*rms_norm)(const float *x, const float *weight, float epsilon, size_t columns,
                     float *out);
    /* g[i] = the gate's function of g[i] and u[i]; count: a multiple of 16 */
    void (*gates[GATE_FUNCTIONS])(const struct gate *gate, float *g, const float *u, size_t count);
    void (*widen_f16)(const uint16_t *halves, float *out, size_t count); /* count: multiple of 16 */
    /* As f32_to_f16 rounds, bit for bit; any count. */
    void (*narrow_f16)(const float *values, uint16_t *out, size_t count);
    /* One head's q8_0 keys of a block → [head_dim][16], and values → [16][head_dim]; see cpu_kv. */
    void (*widen_q8_keys)(const uint8_t *unit, size_t head_dim, float *out);
    void (*widen_q8_values)(const uint8_t *unit, size_t head_dim, float *out);
    /* scores[query * score_stride + 16 b + t] = scale * queries[query] · keys[b][.][t], t < 16.
     * queries [count][head_dim], keys [block_count][head_dim][16]. */
    void (*attention_scores)(const float *const *queries, size_t count, const float *const *keys,
                             size_t block_count, size_t head_dim, float scale, float *scores,
                             size_t score_stride);
    /* The largest of `maximum` and the scores, those that are no number left out. */
    float (*largest)(const float *scores, size_t count, float maximum);
    /* In place: s = exp(s - maximum); returns their sum in a fixed order. */
    float (*exp_sum)(float *scores, size_t count, float maximum);
    /* out += Σ p[t] values[t]; values [token_count][head_dim] */
    void (*attention_accumulate)(const float *p, const float *values, size_t token_count,
                                 size_t head_dim, float *out);
    void (*scale)(float *values, size_t count, float factor);
};

extern const struct cpu_kernels cpu_kernels_portable;
/* A chunk of a panel as f32 [columns][16], decoded from the file's own rows: what formats are
 * multiplied by that have no kernel of their own. */
void portable_unpack_rows(const struct cpu_weight *weight, size_t panel, size_t first_column,
                          size_t columns, void *unpacked);
/* Any set's, too: */
void portable_gate_gelu_erf(const struct gate *gate, float *g, const float *u, size_t count);
void portable_narrow_f16(const float *values, uint16_t *out, size_t count);
void portable_pack_blocks(const struct cpu_weight *weight, size_t panel, size_t first_block,
                          size_t block_count, uint8_t *packed);
#if defined(__x86_64__)
extern const struct cpu_kernels cpu_kernels_avx2;
extern const struct cpu_kernels cpu_kernels_avxvnni;
extern const struct cpu_kernels cpu_kernels_avx512;
extern const struct cpu_kernels cpu_kernels_amx;
#elif defined(__aarch64__)
extern const struct cpu_kernels cpu_kernels_neon;
extern const struct cpu_kernels cpu_kernels_i8mm;
#endif

/* cpu_dispatch.c: the set of that name, or with "auto" and NULL the best this processor can run.
 * NULL and an error that lists those it can run. */
const struct cpu_kernels *cpu_kernels_choose(const char *name, struct error *error);

struct cpu_weight {
    const struct matmul_kernel *kernel; /* of a WEIGHT_MATRIX, else NULL */
    const struct quant_format *format;
    const uint8_t *data;      /* the file's rows (borrowed) or what `owned` holds */
    void *owned;              /* packed panels, or a vector as f32; NULL when borrowed */
    struct weight_slab *slab; /* that `owned` lies in; NULL: in none */
    size_t rows, columns;
    size_t row_bytes;   /* of a row in the file's form */
    size_t panel_bytes; /* of a packed panel; 0 when not packed, or not yet */
    /* The file's rows while `owned` is being packed from them, else NULL. */
    const uint8_t *unpacked;
    size_t packed_panels; /* of `owned`, from the first on, before all of it is packed */
    /* On the list of those that are to be packed: the pointer to this one, else NULL. */
    struct cpu_weight **unpacked_link;
    struct cpu_weight *next_unpacked;
    bool source_is_spare; /* see struct weight_source */
    bool is_stack;        /* the first member of a struct cpu_stack */
};

/* Matrices of one shape, each a weight of its own: its panels are whole, and it is packed when it
 * is first met. Of `weight`, which says what they have in common, there is no data. */
struct cpu_stack {
    struct cpu_weight weight; /* first */
    size_t count;
    struct cpu_weight slices[]; /* [count] */
};

struct cpu_activation {
    float *data; /* [max_rows][columns] */
    size_t max_rows, columns;
};

/*
 * Blocks lie one after the other, each with all its layers, so that a cache grows at its end. Of
 * each block: [layer][kv_head] units of keys, and apart from them the same of values, unless the
 * layer's values are a part of its keys.
 *
 * Keys are stored transposed inside a unit, so that a query meets 16 keys at once with no sum
 * across a register: keys [head_dim][16 tokens], values [16 tokens][head_dim], f16 or f32. With
 * q8_0 these are 8-bit quants, and f16 scales follow them: of keys [groups][16 tokens], of values
 * [16 tokens][groups], a group being KV_Q8_VALUES of a head's values or what is left of them.
 */
struct cpu_kv {
    struct kv_layout layout; /* its layers are `layers` */
    struct cpu_kv_layer {
        struct kv_layer shape;
        size_t keys_at, values_at;     /* bytes from the start of a block's keys, values */
        size_t key_bytes, value_bytes; /* of a unit; no values: 0 */
    } *layers;                         /* [layer_count] */
    size_t block_key_bytes, block_value_bytes;
    uint8_t *keys, *values;
    size_t key_space, value_space; /* bytes of address space reserved for each */
};

/* One head's part of one block. */
struct cpu_kv_unit {
    uint8_t *keys, *values; /* values: of a layer that has none apart, the keys */
};

static inline struct cpu_kv_unit cpu_kv_unit(const struct cpu_kv *kv, size_t layer, uint32_t block,
                                             size_t kv_head) {
    const struct cpu_kv_layer *l = &kv->layers[layer];
    struct cpu_kv_unit unit;
    unit.keys = kv->keys + block * kv->block_key_bytes + l->keys_at + kv_head * l->key_bytes;
    unit.values = l->value_bytes == 0 ? unit.keys
                                      : kv->values + block * kv->block_value_bytes + l->values_at +
                                            kv_head * l->value_bytes;
    return unit;
}

/* An attention op on its way through the threads. */
struct attention_job {
    struct cpu_backend *cpu;
    const struct cpu_activation *q;
    struct cpu_activation *out;
    const struct cpu_kv *kv;
    const struct attention_shape *shape;
    size_t layer;
    size_t group;     /* query heads of one kv head */
    size_t tile_rows; /* rows of one work item */
    size_t item_count;
};

/* Scratch of feed-forwards of experts. A pair is a row and one of the experts it uses. */
struct cpu_experts {
    struct scratch_shape shape; /* the largest of each; expert_count 0: none */
    struct expert_use {
        uint32_t expert;
        float weight;
    } *uses; /* [max_rows][used_experts], of a row in rising order of experts */
    /* By expert, and of an expert in rising order of rows: */
    uint32_t *rows;              /* [pairs] */
    float *weights;              /* [pairs] */
    float *gated;                /* [pairs][expert_length] */
    uint32_t *ends;              /* [expert_count] of its pairs */
    struct matmul_input *inputs; /* [expert_count] */
    struct matmul_part *parts;   /* [expert_count] */
    float *scores;               /* [thread_count][2 * expert_count] */
};

struct cpu_backend {
    struct backend base; /* first */
    const struct cpu_kernels *kernels;
    struct thread_pool *pool;
    size_t thread_count;
    /* Scratch, sized when activations and the KV cache are created, so that no step allocates. */
    size_t max_rows, max_columns, max_head_dim;
    uint8_t *encoded[ENCODING_COUNT]; /* rows of activations, [encoded_bytes] */
    size_t encoded_bytes[ENCODING_COUNT];
    float *cosines, *sines; /* [STEP_MAX_ROPES][max_rows][max_head_dim / 2] */
    float *ones;            /* [max_columns] */
    float *thread_scratch;  /* [thread_count][thread_scratch_floats] */
    size_t thread_scratch_floats;
    float *partials;   /* [ATTENTION_PARTIALS][max_head_dim + 2]: sums over segments of keys */
    float *logit_rows; /* [max_rows][max_columns]: normed rows of cpu_logits */
    struct cpu_experts experts;
    struct weight_slab *slabs;                /* newest first */
    struct cpu_weight *unpacked;              /* those that are to be packed, first come first */
    struct cpu_weight **unpacked_end;         /* the last one's next */
    size_t promised_bytes;                    /* that packing them takes, all of them */
    size_t packing_allowance, next_allowance; /* bytes left of this step's; of the next one's */
    bool mapped_weights; /* none are; each piece is packed when it is multiplied with */
    bool mapped_experts; /* the same of experts alone */
    bool plain_attention;
    float *plain_scores; /* [thread_count][plain_scores_floats], of the plain form only */
    size_t plain_scores_floats;
    /* The step in progress: */
    const struct batch *batch;
    const struct rope *ropes; /* [rope_count] */
    size_t rope_count;
};

/* The opaque handles of backend.h are these structs. */
static inline struct cpu_backend *cpu_backend_of(struct backend *backend) {
    return (struct cpu_backend *)backend;
}

static inline const struct cpu_weight *cpu_weight_of(const struct weight *weight) {
    return (const struct cpu_weight *)weight;
}

static inline const struct cpu_stack *cpu_stack_of(const struct weight *weight) {
    return (const struct cpu_stack *)weight;
}

/* A WEIGHT_VECTOR's values; NULL of none. */
static inline const float *cpu_vector_of(const struct weight *weight) {
    return weight == NULL ? NULL : cpu_weight_of(weight)->owned;
}

static inline struct cpu_activation *cpu_activation_of(struct activation *activation) {
    return (struct cpu_activation *)activation;
}

static inline const struct cpu_activation *
cpu_activation_view(const struct activation *activation) {
    return (const struct cpu_activation *)activation;
}

static inline float *cpu_scratch(const struct cpu_backend *cpu, size_t thread_index) {
    return cpu->thread_scratch + thread_index * cpu->thread_scratch_floats;
}

/* Cache-line aligned; large ones ask for huge pages, which spare the TLB. Whoever writes first
 * brings the pages in, so let that be all threads. NULL when memory runs out. Freed by free. */
void *cpu_allocate(size_t bytes);
size_t cpu_allocated_bytes(size_t bytes); /* what that takes */
/* Of page-aligned memory nobody has written to yet, where the system has such pages. */
void cpu_ask_for_huge_pages(void *memory, size_t bytes);

/* Sizes what steps of the largest shapes seen so far need. */
bool cpu_size_scratch(struct cpu_backend *cpu, struct error *error);

/* Replaces a buffer by one of [count][size] bytes, zeroed. `what` is for the error. */
bool cpu_replace(void *slot, size_t count, size_t size, const char *what, struct error *error);

/* Bytes of one encoded row; a multiple of 8. */
size_t encoding_row_bytes(enum encoding encoding, size_t columns);

/* Runs task on all threads when there is more than one item of work, else here alone. */
void cpu_run(struct cpu_backend *cpu, size_t work_items, thread_pool_task task, void *context);

enum { CPU_CHUNK_ROWS = 4 }; /* rows of a batch that a thread takes at a time */

/* Inside a task: the next rows nobody has taken, first <= row < end. False: none is left. */
bool cpu_next_rows(struct cpu_backend *cpu, size_t row_count, size_t *first, size_t *end);

/* Floats of scratch that a thread needs for attention with this head size. */
size_t cpu_attention_scratch_floats(size_t head_dim);
/* Floats of scratch that a thread needs for a matmul. */
size_t cpu_matmul_scratch_floats(void);

/* Whether a matrix is to be packed piece by piece, as it is multiplied. */
static inline bool cpu_weight_is_mapped(const struct cpu_weight *weight) {
    return weight->kernel->layout.block_values > 0 && weight->panel_bytes == 0;
}

/* cpu_weights.c */
bool cpu_weight_create(struct backend *backend, const struct weight_source *source,
                       enum weight_use use, struct weight **out, struct error *error);
void cpu_weight_free(struct backend *backend, struct weight *handle);
size_t cpu_weight_bytes(struct backend *backend, const struct weight_source *source,
                        enum weight_use use);
bool cpu_prepare(struct backend *backend);
/* A step begins: sets how much of the packing it may do. One of more than a tile of rows would
 * read what is not packed once a tile, so it packs all it meets. */
void cpu_allow_packing(struct cpu_backend *cpu, size_t row_count);
/* A product is about to begin: whether it packs a weight that is still to be. */
void cpu_weight_choose(struct cpu_backend *cpu, const struct cpu_weight *weight);
/* Packs those panels that are not, of a weight that has `unpacked` ones. Any thread of the pool. */
void cpu_weight_pack(const struct cpu_backend *cpu, const struct cpu_weight *weight,
                     size_t first_panel, size_t panel_count);
/* All its panels have been packed. */
void cpu_weight_packed(struct cpu_backend *cpu, const struct cpu_weight *weight);

static inline size_t cpu_panel_count(const struct cpu_weight *weight) {
    return size_divide_up(weight->rows, PANEL_ROWS);
}
/* cpu_matmul.c */
void cpu_matmul(struct backend *backend, const struct activation *x,
                const struct matmul_target *targets, size_t target_count);
void cpu_logits(struct backend *backend, const struct activation *x,
                const struct weight *norm_weight, float epsilon, const struct weight *output,
                const struct logits_finish *finish, float *logits);
void cpu_matmul_heads(struct backend *backend, const struct activation *x, struct head_part from,
                      const struct weight *stack, struct activation *out, struct head_part to);
/* cpu_experts.c */
bool cpu_experts_reserve(struct backend *backend, const struct scratch_shape *shape,
                         struct error *error);
void cpu_experts_free(struct cpu_experts *experts);
/* What cpu_experts_reserve takes. */
size_t cpu_experts_bytes(const struct cpu_backend *cpu, const struct scratch_shape *shape);
void cpu_experts(struct backend *backend, const struct activation *x,
                 const struct activation *router, const struct expert_layer *layer, bool adds,
                 struct activation *out);
/* cpu_kv.c */
bool cpu_kv_create(struct cpu_backend *cpu, const struct kv_layout *layout, struct cpu_kv **kv,
                   struct error *error);
void cpu_kv_free(struct cpu_kv *kv);
bool cpu_kv_grow(struct cpu_kv *kv, size_t block_count, struct error *error);
/* One token's key [key_dim] and value [value_dim] of one head into its slot, 0 … 15, of the unit.
 * The value of a layer that keeps none apart is not looked at. */
void cpu_kv_store(const struct cpu_kv *kv, const struct cpu_kernels *kernels, size_t layer,
                  struct cpu_kv_unit unit, size_t slot, const float *key, const float *value);
/* Asks for a line of keys and one of values that are soon read. */
static inline void cpu_kv_prefetch(struct cpu_kv_unit unit, size_t byte) {
    __builtin_prefetch(unit.keys + byte);
    __builtin_prefetch(unit.values + byte);
}
/* A unit's keys [key_dim][16] as f32: in `scratch`, or where they stand. */
const float *cpu_kv_keys(const struct cpu_kv *kv, const struct cpu_kernels *kernels, size_t layer,
                         struct cpu_kv_unit unit, float *scratch);
/* A unit's values → out [16][value_dim], f32. keys: what cpu_kv_keys gave for it, where the values
 * are a part of them. */
void cpu_kv_values(const struct cpu_kv *kv, const struct cpu_kernels *kernels, size_t layer,
                   struct cpu_kv_unit unit, const float *keys, float *out);
/* Address space whose untouched pages cost nothing. NULL when there is none. */
void *cpu_reserve(size_t bytes, bool usable);
void cpu_release(void *memory, size_t bytes); /* NULL allowed */
/* cpu_attention_input.c */
void cpu_step_angles(struct cpu_backend *cpu);
void cpu_attention_input(struct backend *backend, const struct attention_input *input,
                         struct kv_cache *kv, size_t layer);
/* The scores' soft cap, where the model has one. */
void cpu_cap_scores(const struct attention_shape *shape, float *scores, size_t count);
/* What a head's sum over the values is multiplied with: one over the weights' sum, its sink's
 * included. */
float cpu_softmax_factor(const struct attention_shape *shape, size_t head, float maximum,
                         float sum);
/* cpu_attention_plain.c */
void cpu_attend_plain(void *context, size_t thread_index); /* context: struct attention_job */
/* cpu_attention.c */
void cpu_attention(struct backend *backend, const struct activation *q, const struct kv_cache *kv,
                   size_t layer, const struct attention_shape *shape, struct activation *out);

#endif
