/* memory_plan.c - see memory_plan.h. */
#include "engine/memory_plan.h"

#include "base/bytes.h"
#include "base/log.h"
#include "engine/kv_pool.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    PROGRAM_BYTES = 12 << 20, /* code, libraries, stacks, buffers of the C library: measured */
    TOKEN_BYTES = 190,        /* of a tokenizer, for each token of its vocabulary: measured */
    SAMPLER_TOKEN_BYTES = 8,  /* of a request's sampler, for each token of the vocabulary */
    SEQUENCE_TOKEN_BYTES = 8, /* of a request, for each token of its context */
    LEAST_TOKENS = 512,       /* a KV pool that shrinks stays this large */
    KV_RECORD_BYTES = 128,    /* bookkeeping of a block */
};

static bool add_model(const struct gguf *gguf, struct backend *backend,
                      const struct model_description *description,
                      const struct engine_options *options, struct memory_plan *plan,
                      struct model_needs *needs, struct error *error) {
    size_t rows = options->prefill_chunk_size + options->decode_chunk_size;
    size_t logits = size_max(ENGINE_MAX_STEP_LOGITS, options->decode_chunk_size + 1);
    if (!model_add_up(gguf, description, backend, rows, needs, error)) {
        return false;
    }
    plan->mapped = needs->mapped;
    plan->packed = needs->packed;
    plan->scratch =
        needs->scratch + (uint64_t)logits * description->vocabulary_size * sizeof(float);
    return true;
}

size_t memory_plan_asked_blocks(const struct engine_options *options, size_t block_bytes) {
    size_t blocks = options->max_total_tokens / KV_BLOCK_TOKENS;
    return options->memory_pooling ? size_min(blocks, options->memory_pool_bytes / block_bytes)
                                   : blocks;
}

static void bound(struct memory_plan *plan, uint64_t bytes, double fraction, const char *name) {
    uint64_t allowed = (uint64_t)((double)bytes * fraction);
    if (bytes > 0 && (plan->allowed == 0 || allowed < plan->allowed)) {
        plan->allowed = allowed;
        plan->allowed_by = name;
    }
}

static void set_kv(struct memory_plan *plan, size_t blocks, uint64_t others) {
    plan->kv_blocks = blocks;
    plan->kv_pool = (uint64_t)blocks * (plan->block_bytes + KV_RECORD_BYTES);
    plan->total = others + plan->kv_pool;
}

/* Sums up; with options->shrink_kv, the KV pool becomes what fits, if that is `least` blocks. */
static void fit(struct memory_plan *plan, const struct engine_options *options, size_t least) {
    uint64_t others =
        plan->mapped + plan->packed + plan->scratch + plan->requests + plan->program + plan->others;
    uint64_t room = plan->allowed > others ? plan->allowed - others : 0;
    plan->fitting_blocks = (size_t)(room / (plan->block_bytes + KV_RECORD_BYTES));
    set_kv(plan, plan->asked_blocks, others);
    plan->fits = plan->allowed == 0 || plan->total <= plan->allowed;
    if (!plan->fits && options->shrink_kv && plan->fitting_blocks >= least) {
        set_kv(plan, plan->fitting_blocks, others);
        plan->fits = true;
    }
}

bool memory_plan_make(const struct gguf *gguf, struct backend *backend,
                      const struct model_description *description,
                      const struct engine_options *options, const struct memory_limits *limits,
                      struct memory_plan *plan, struct error *error) {
    *plan = (struct memory_plan){.limits = *limits, .allowed_by = "nothing known"};
    const struct kv_layout layout = {.layer_count = description->kv_layer_count,
                                     .layers = description->kv_layers,
                                     .element = options->kv_element};
    if (!kv_block_bytes(&layout, &plan->block_bytes) || plan->block_bytes == 0) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "the model's KV cache is too large");
    }
    struct model_needs needs;
    if (!add_model(gguf, backend, description, options, plan, &needs, error)) {
        return false;
    }
    plan->program = PROGRAM_BYTES + (uint64_t)description->vocabulary_size * TOKEN_BYTES;
    plan->asked_blocks = memory_plan_asked_blocks(options, plan->block_bytes);
    size_t context = size_min(description->context_length, plan->asked_blocks * KV_BLOCK_TOKENS);
    if (options->max_sequence_length > 0) {
        context = size_min(context, options->max_sequence_length);
    }
    plan->requests =
        (uint64_t)options->max_running_requests *
        (context * SEQUENCE_TOKEN_BYTES + description->vocabulary_size * SAMPLER_TOKEN_BYTES);
    bound(plan, limits->machine_bytes, options->memory_fraction,
          "memory_fraction of the machine's memory");
    bound(plan, limits->cgroup_bytes, options->memory_fraction,
          "memory_fraction of the container's limit");
    bound(plan, options->heap_bytes, 1, "heap_size");
    plan->others = options->other_models_bytes;
    size_t least = size_divide_up(size_min(LEAST_TOKENS, context), KV_BLOCK_TOKENS);
    fit(plan, options, least);
    if (!plan->fits && needs.experts > 0) {
        struct memory_plan reading = *plan;
        reading.mapped -= needs.mapped_experts;
        reading.packed -= needs.packed_experts;
        reading.experts_read = needs.experts;
        fit(&reading, options, least);
        *plan = reading.fits ? reading : *plan;
    }
    return true;
}

static void format_size(char *out, size_t size, uint64_t bytes) {
    double mebibytes = (double)bytes / (1 << 20);
    bool large = mebibytes >= 1024;
    snprintf(out, size, "%.1f %s", large ? mebibytes / 1024 : mebibytes, large ? "GiB" : "MiB");
}

struct plan_row {
    const char *name;
    uint64_t bytes;
};

enum { PLAN_ROWS = 7, SIZE_TEXT = 32 };

/* Returns how many there are: the last one only where there are other models. */
static size_t list_rows(const struct memory_plan *plan, struct plan_row rows[PLAN_ROWS]) {
    const struct plan_row all[PLAN_ROWS] = {
        {"weights, in the file's form", plan->mapped},
        {"weights, repacked", plan->packed},
        {"KV pool", plan->kv_pool},
        {"scratch of a step", plan->scratch},
        {"requests", plan->requests},
        {"program and tokenizer", plan->program},
        {"other models, loaded already", plan->others},
    };
    memcpy(rows, all, sizeof all);
    return plan->others == 0 ? PLAN_ROWS - 1 : PLAN_ROWS;
}

/* "set max_total_tokens to 4096 or less", or what else makes the KV pool's part small. */
static void advise(const struct memory_plan *plan, const struct engine_options *options, char *out,
                   size_t size) {
    char needed[SIZE_TEXT];
    format_size(needed, sizeof needed, plan->total);
    int length = plan->fitting_blocks > 0
                     ? snprintf(out, size, "set max_total_tokens to %zu or less",
                                plan->fitting_blocks * KV_BLOCK_TOKENS)
                     : snprintf(out, size, "take a smaller model, or a smaller format of this one");
    if (options->kv_element != KV_ELEMENT_Q8_0) {
        length += snprintf(out + length, size - (size_t)length,
                           "; or set kv_cache_dtype to q8_0, for about %s of KV in the same bytes",
                           options->kv_element == KV_ELEMENT_F32 ? "four times" : "twice");
    } else {
        length += snprintf(out + length, size - (size_t)length,
                           "; or take a smaller format of the model");
    }
    snprintf(out + length, size - (size_t)length,
             "; or allow %s (memory_fraction, heap_size, or the container's limit)", needed);
}

bool memory_plan_check(const struct memory_plan *plan, const struct engine_options *options,
                       struct error *error) {
    if (plan->fits) {
        return true;
    }
    struct plan_row rows[PLAN_ROWS];
    char sums[512] = "", total[SIZE_TEXT], allowed[SIZE_TEXT], advice[384];
    size_t length = 0;
    size_t count = list_rows(plan, rows);
    for (size_t i = 0; i < count; i++) {
        char part[SIZE_TEXT];
        format_size(part, sizeof part, rows[i].bytes);
        length += (size_t)snprintf(sums + length, sizeof sums - length, "%s%s %s",
                                   i == 0 ? "" : " + ", rows[i].name, part);
    }
    format_size(total, sizeof total, plan->total);
    format_size(allowed, sizeof allowed, plan->allowed);
    advise(plan, options, advice, sizeof advice);
    return error_set(error, ERROR_OUT_OF_MEMORY,
                     "the model needs %s of memory (%s), and %s may be used (%s). Either %s", total,
                     sums, allowed, plan->allowed_by, advice);
}

void memory_plan_append_table(const struct memory_plan *plan, struct string_buffer *out) {
    struct plan_row rows[PLAN_ROWS];
    char text[SIZE_TEXT];
    size_t count = list_rows(plan, rows);
    for (size_t i = 0; i < count; i++) {
        format_size(text, sizeof text, rows[i].bytes);
        string_buffer_append_format(out, "  %-32s %12s\n", rows[i].name, text);
    }
    format_size(text, sizeof text, plan->total);
    string_buffer_append_format(out, "  %-32s %12s\n", "together", text);
    format_size(text, sizeof text, plan->allowed);
    string_buffer_append_format(out, "  %-32s %12s  (%s)\n", "allowed",
                                plan->allowed == 0 ? "unknown" : text, plan->allowed_by);
    if (plan->experts_read > 0) {
        format_size(text, sizeof text, plan->experts_read);
        string_buffer_append_format(out,
                                    "  %-32s %12s  (read as they are needed; what memory is "
                                    "left keeps those used last)\n",
                                    "experts, left in the file", text);
    }
}

void memory_plan_log(const struct memory_plan *plan) {
    log_event(LOG_INFO, "memory_plan", log_integer("mapped", (int64_t)plan->mapped),
              log_integer("packed", (int64_t)plan->packed),
              log_integer("kv_pool", (int64_t)plan->kv_pool),
              log_integer("scratch", (int64_t)plan->scratch),
              log_integer("requests", (int64_t)plan->requests),
              log_integer("program", (int64_t)plan->program),
              log_integer("others", (int64_t)plan->others),
              log_integer("total", (int64_t)plan->total),
              log_integer("experts_read", (int64_t)plan->experts_read),
              log_integer("allowed", (int64_t)plan->allowed),
              log_text("allowed_by", plan->allowed_by), log_bool("fits", plan->fits),
              log_integer("kv_tokens", (int64_t)(plan->kv_blocks * KV_BLOCK_TOKENS)));
    if (plan->experts_read > 0) {
        log_event(LOG_WARN, "experts_left_in_file",
                  log_integer("bytes", (int64_t)plan->experts_read),
                  log_text("note", "they do not fit into memory; each is read when it is needed, "
                                   "which is as slow as the disk where it is not in memory"));
    }
    if (plan->kv_blocks < plan->asked_blocks) {
        log_event(LOG_WARN, "kv_pool_shrunk",
                  log_integer("max_total_tokens", (int64_t)(plan->kv_blocks * KV_BLOCK_TOKENS)),
                  log_integer("default", (int64_t)(plan->asked_blocks * KV_BLOCK_TOKENS)),
                  log_text("note", "the default does not fit into memory; fewer tokens can be "
                                   "in use at once"));
    }
}

bool memory_plan_for_gguf(const struct gguf *gguf, const struct engine_options *given,
                          const char *root, struct memory_plan *plan, struct error *error) {
    struct engine_options options = *given;
    struct backend *backend = NULL;
    struct model_description description;
    struct memory_limits limits;
    struct arena arena = {0};
    memory_limits_read(root, &limits);
    bool done = engine_options_complete(&options, error);
    const struct cpu_backend_options cpu = {.thread_count = options.thread_count,
                                            .kernels = options.kernels,
                                            .mapped_weights = options.mapped_weights};
    done = done && cpu_backend_create(&cpu, &backend, error) &&
           description_read(gguf, options.max_sequence_length, &arena, &description, error) &&
           memory_plan_make(gguf, backend, &description, &options, &limits, plan, error);
    if (backend != NULL) {
        backend->ops->free(backend);
    }
    arena_deinit(&arena);
    return done;
}
