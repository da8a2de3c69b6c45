/*
 * cpu_weights.c - weights in the CPU's own form, and their memory.
 *
 * Owns slabs that hold many weights each, so that matrices smaller than a huge page share one: a
 * step reads all weights, and pages of 4 KB would cost a small model a fifth of its speed. A slab
 * goes with the last weight in it. On the engine thread; packing on all of the pool.
 *
 * Matrices are packed after they were created: each piece by the thread that then multiplies with
 * it, or when there is nothing else to do. Until then they are read as mapped ones are. Fresh pages
 * are dear (a virtual machine may get them from its host at 1 GB/s), so the first step takes none
 * and the next few take a share each: the first token comes as early as the file can be read, and
 * no later one waits for everything.
 */
#include "backend/cpu/packed.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"

#include <stdlib.h>

enum {
    ALIGNMENT = 64,
    PACKING_STEPS = 4,
    PIECE_BYTES = 4 << 20, /* that `prepare` packs at a time: a few milliseconds with fresh pages */
#if defined(__SANITIZE_ADDRESS__)
    LARGEST_SLAB = 0, /* a slab for each weight, so that reading past its end is seen */
#else
    LARGEST_SLAB = 256 << 20, /* that is shared; of address space: pages cost when written */
#endif
};

struct weight_slab {
    struct weight_slab *next;
    uint8_t *memory;
    size_t bytes, used;
    size_t weight_count;
};

/* ---- slabs ---- */

/* As large as all before it, so that a small model's are few and a single weight's is small. */
static size_t next_slab_bytes(const struct cpu_backend *cpu, size_t least) {
    size_t total = 0;
    for (const struct weight_slab *slab = cpu->slabs; slab != NULL; slab = slab->next) {
        total += slab->bytes;
    }
    return size_max(least, size_min(total, LARGEST_SLAB));
}

static bool add_slab(struct cpu_backend *cpu, size_t bytes) {
    struct weight_slab *slab = calloc(1, sizeof *slab);
    if (slab == NULL) {
        return false;
    }
    slab->bytes = bytes;
    slab->memory = cpu_allocate(bytes);
    if (slab->memory == NULL) {
        free(slab);
        return false;
    }
    slab->next = cpu->slabs;
    cpu->slabs = slab;
    return true;
}

static size_t bytes_in_slab(size_t bytes) {
    return size_divide_up(size_max(bytes, 1), ALIGNMENT) * ALIGNMENT;
}

/* Sets weight->owned to [count][size] bytes, uninitialised. */
static bool take(struct cpu_backend *cpu, struct cpu_weight *weight, size_t count, size_t size) {
    size_t bytes;
    if (!size_multiply(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        return false;
    }
    bytes = bytes_in_slab(bytes);
    bool has_room = cpu->slabs != NULL && cpu->slabs->bytes - cpu->slabs->used >= bytes;
    if (!has_room && !add_slab(cpu, next_slab_bytes(cpu, bytes)) && !add_slab(cpu, bytes)) {
        return false;
    }
    weight->slab = cpu->slabs;
    weight->owned = weight->slab->memory + weight->slab->used;
    weight->slab->used += bytes;
    weight->slab->weight_count++;
    return true;
}

static void give_back(struct cpu_backend *cpu, struct weight_slab *slab) {
    if (--slab->weight_count > 0) {
        return;
    }
    struct weight_slab **link = &cpu->slabs;
    while (*link != slab) {
        link = &(*link)->next;
    }
    *link = slab->next;
    free(slab->memory);
    free(slab);
}

/* ---- packing ---- */

void cpu_weight_pack(const struct cpu_backend *cpu, const struct cpu_weight *weight,
                     size_t first_panel, size_t panel_count) {
    struct cpu_weight from = *weight;
    size_t blocks = weight->columns / weight->format->block_values;
    uint8_t *packed = weight->owned;
    from.data = weight->unpacked;
    size_t panel = size_max(first_panel, weight->packed_panels);
    for (; panel < first_panel + panel_count; panel++) {
        cpu->kernels->pack_blocks(&from, panel, 0, blocks, packed + panel * weight->panel_bytes);
    }
}

/* The list of those that are to be packed: a model may have 60,000 matrices of experts, which leave
 * it in any order. */
static void list_unpacked(struct cpu_backend *cpu, struct cpu_weight *weight) {
    if (cpu->unpacked == NULL) {
        cpu->unpacked_end = &cpu->unpacked;
    }
    weight->unpacked_link = cpu->unpacked_end;
    *cpu->unpacked_end = weight;
    cpu->unpacked_end = &weight->next_unpacked;
}

static void unlist(struct cpu_backend *cpu, struct cpu_weight *weight) {
    *weight->unpacked_link = weight->next_unpacked;
    if (weight->next_unpacked != NULL) {
        weight->next_unpacked->unpacked_link = weight->unpacked_link;
    } else {
        cpu->unpacked_end = weight->unpacked_link;
    }
    weight->unpacked_link = NULL;
    weight->next_unpacked = NULL;
}

static size_t packed_panel_bytes(const struct cpu_weight *weight) {
    return weight->columns / weight->format->block_values *
           packed_offsets(weight->kernel->layout).total;
}

/* From here to cpu_weight_packed, whoever wants a panel packs it first, unless `prepare` has. */
static void begin_packing(struct cpu_weight *weight) {
    weight->panel_bytes = packed_panel_bytes(weight);
    weight->unpacked = weight->data;
    weight->data = weight->owned;
}

void cpu_weight_choose(struct cpu_backend *cpu, const struct cpu_weight *weight) {
    if (weight->unpacked_link != NULL && cpu->packing_allowance > 0) {
        begin_packing(*weight->unpacked_link);
        cpu->packing_allowance -=
            size_min(cpu->packing_allowance, cpu_panel_count(weight) * weight->panel_bytes);
    }
}

void cpu_allow_packing(struct cpu_backend *cpu, size_t row_count) {
    cpu->packing_allowance = row_count > MATMUL_TILE_ROWS ? SIZE_MAX : cpu->next_allowance;
    cpu->next_allowance = cpu->promised_bytes / PACKING_STEPS;
}

void cpu_weight_packed(struct cpu_backend *cpu, const struct cpu_weight *weight) {
    struct cpu_weight *found = *weight->unpacked_link;
    unlist(cpu, found);
    if (found->source_is_spare) {
        file_forget(found->unpacked, found->rows * found->row_bytes);
    }
    found->unpacked = NULL;
    if (cpu->unpacked == NULL) {
        log_event(LOG_INFO, "weights_packed", log_integer("bytes", (int64_t)cpu->promised_bytes));
    }
}

struct pack_job {
    const struct cpu_backend *cpu;
    struct cpu_weight weight; /* as it is while it is packed */
    size_t end;               /* of the panels */
};

static void pack_panels(void *context, size_t thread_index) {
    const struct pack_job *job = context;
    (void)thread_index;
    size_t panel;
    while ((panel = job->weight.packed_panels + thread_pool_next_chunk(job->cpu->pool)) <
           job->end) {
        cpu_weight_pack(job->cpu, &job->weight, panel, 1);
    }
}

/* Piece by piece, so that a request that comes, or the end, does not wait for a whole matrix. */
bool cpu_prepare(struct backend *backend) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct cpu_weight *weight = cpu->unpacked;
    if (weight == NULL) {
        return false;
    }
    size_t panels = cpu_panel_count(weight);
    size_t piece = size_divide_up(PIECE_BYTES, packed_panel_bytes(weight));
    struct pack_job job = {cpu, *weight, size_min(weight->packed_panels + piece, panels)};
    begin_packing(&job.weight);
    cpu_run(cpu, job.end - weight->packed_panels, pack_panels, &job);
    weight->packed_panels = job.end;
    if (job.end == panels) {
        begin_packing(weight);
        cpu_weight_packed(cpu, weight);
    }
    return true;
}

/* Makes room; packs later. */
static bool promise_to_pack(struct cpu_backend *cpu, struct cpu_weight *weight,
                            struct error *error) {
    size_t panels = cpu_panel_count(weight);
    size_t panel_bytes = packed_panel_bytes(weight);
    if (!take(cpu, weight, panels, panel_bytes)) {
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "no memory for %zu bytes of packed weights; without repack_weights it "
                         "takes none",
                         panels * panel_bytes);
    }
    cpu->promised_bytes += panels * panel_bytes;
    list_unpacked(cpu, weight);
    return true;
}

/* ---- weights ---- */

/* In memory of its own: in a slab, between matrices that are packed later, each vector would have a
 * huge page cleared before the first token. */
static bool decode_vector(struct cpu_weight *weight, struct error *error) {
    size_t bytes;
    if (size_multiply(weight->columns, sizeof(float), &bytes)) {
        weight->owned = cpu_allocate(bytes);
    }
    if (weight->owned == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a vector");
    }
    weight->format->decode(weight->data, weight->owned, weight->columns);
    weight->data = weight->owned;
    return true;
}

static bool is_mapped(const struct cpu_backend *cpu, enum weight_use use) {
    return cpu->mapped_weights || (use == WEIGHT_EXPERTS && cpu->mapped_experts);
}

static bool is_stack(enum weight_use use) {
    return use == WEIGHT_STACK || use == WEIGHT_EXPERTS;
}

/* A matrix of its own or of a stack: row_bytes and kernel are known. */
static bool prepare_matrix(struct cpu_backend *cpu, struct cpu_weight *weight, enum weight_use use,
                           struct error *error) {
    return is_mapped(cpu, use) || weight->kernel->layout.block_values == 0 ||
           promise_to_pack(cpu, weight, error);
}

static bool prepare_weight(struct cpu_backend *cpu, struct cpu_weight *weight, enum weight_use use,
                           struct error *error) {
    size_t total;
    if (!quant_row_bytes(weight->format, weight->columns, &weight->row_bytes) ||
        !size_multiply(weight->row_bytes, weight->rows, &total)) {
        return error_set(error, ERROR_FORMAT, "%zu columns are not whole blocks of %s",
                         weight->columns, weight->format->name);
    }
    if (use == WEIGHT_VECTOR) {
        return decode_vector(weight, error);
    }
    if (use == WEIGHT_EMBEDDING) {
        return true;
    }
    weight->kernel = cpu->kernels->matmul(weight->format->type);
    return is_stack(use) || prepare_matrix(cpu, weight, use, error);
}

static void free_memory(struct cpu_backend *cpu, struct cpu_weight *weight) {
    if (weight->unpacked_link != NULL) {
        unlist(cpu, weight);
    }
    if (weight->slab != NULL) {
        give_back(cpu, weight->slab);
    } else {
        free(weight->owned);
    }
}

static bool prepare_slices(struct cpu_backend *cpu, struct cpu_stack *stack,
                           const struct weight_source *source, enum weight_use use,
                           struct error *error) {
    for (; stack->count < source->stack_count; stack->count++) {
        struct cpu_weight *slice = &stack->slices[stack->count];
        *slice = stack->weight;
        slice->is_stack = false;
        slice->data = source->stack[stack->count];
        if (!prepare_matrix(cpu, slice, use, error)) {
            return false;
        }
    }
    return true;
}

void cpu_weight_free(struct backend *backend, struct weight *handle) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct cpu_weight *weight = (struct cpu_weight *)handle;
    if (weight->is_stack) {
        struct cpu_stack *stack = (struct cpu_stack *)handle;
        for (size_t i = 0; i < stack->count; i++) {
            free_memory(cpu, &stack->slices[i]);
        }
    }
    free_memory(cpu, weight);
    free(weight);
}

bool cpu_weight_create(struct backend *backend, const struct weight_source *source,
                       enum weight_use use, struct weight **out, struct error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct cpu_stack *stack = NULL;
    size_t bytes;
    if (size_multiply(is_stack(use) ? source->stack_count : 0, sizeof stack->slices[0], &bytes) &&
        size_add(bytes, sizeof *stack, &bytes)) {
        stack = calloc(1, bytes);
    }
    if (stack == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a weight");
    }
    stack->weight = (struct cpu_weight){.format = source->format,
                                        .data = source->data,
                                        .rows = source->rows,
                                        .columns = source->columns,
                                        .source_is_spare = source->is_spare,
                                        .is_stack = is_stack(use)};
    if (!prepare_weight(cpu, &stack->weight, use, error) ||
        (is_stack(use) && !prepare_slices(cpu, stack, source, use, error))) {
        cpu_weight_free(backend, (struct weight *)stack);
        return false;
    }
    *out = (struct weight *)stack;
    return true;
}

size_t cpu_weight_bytes(struct backend *backend, const struct weight_source *source,
                        enum weight_use use) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    if (use == WEIGHT_VECTOR) {
        return cpu_allocated_bytes(source->columns * sizeof(float));
    }
    if (use == WEIGHT_EMBEDDING) {
        return 0;
    }
    const struct matmul_kernel *kernel = cpu->kernels->matmul(source->format->type);
    if (is_mapped(cpu, use) || kernel->layout.block_values == 0) {
        return 0;
    }
    size_t matrices = is_stack(use) ? source->stack_count : 1;
    return matrices * bytes_in_slab(size_divide_up(source->rows, PANEL_ROWS) *
                                    (source->columns / source->format->block_values) *
                                    packed_offsets(kernel->layout).total);
}
