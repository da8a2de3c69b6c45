/*
 * profile.c - see profile.h.
 *
 * What the rules rest on: a step of decoding reads every weight once, and the keys and values of
 * each sequence in it; memory delivers so many bytes a second; what is not weights is left for the
 * KV pool. Arithmetic is not in them, so a batch may pay off less than they say: measure.
 */
#include "config/profile.h"

#include "base/bytes.h"
#include "config/knob.h"
#include "config/suggest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* Mistral 7B: 32 layers, 8 heads of keys and values of 128. Its weights in q5_k_m, as llama.cpp
 * mixes q5_k and q6_k; tests/python/test_profiles.py adds them up. */
#define WEIGHT_BYTES    UINT64_C(5130674176)
#define KV_TOKEN_VALUES ((uint64_t)32 * 2 * 8 * 128)
#define SPARE_BYTES     GIB /* scratch of a step, requests, the program */

enum {
    CONTEXT = 32768,      /* of one request, tokens */
    ANSWER_TOKENS = 4096, /* an answer's context on average, where many run at once */
    ANSWER_RATE = 20,     /* tokens a second that each answer of a full batch gets at least … */
    SLOWDOWN = 2,         /* … or this part of what one alone would get, where that is less */
    MAX_BATCH = 256,
    CORE_PROMPT_TOKENS = 64, /* of a prefill chunk, for each core */
    MIN_CHUNK = 128,
    MAX_CHUNK = 2048,
};

static void add(struct profile *profile, enum config_knob knob, const char *value,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

static void add(struct profile *profile, enum config_knob knob, const char *value,
                const char *format, ...) {
    struct profile_setting *setting = &profile->settings[profile->count++];
    va_list arguments;
    va_start(arguments, format);
    setting->knob = knob;
    snprintf(setting->value, sizeof setting->value, "%s", value);
    vsnprintf(setting->reason, sizeof setting->reason, format, arguments);
    va_end(arguments);
}

struct amount {
    char text[24];
};

static struct amount number(uint64_t value) {
    struct amount amount;
    snprintf(amount.text, sizeof amount.text, "%" PRIu64, value);
    return amount;
}

/* Whole MiB, as GiB where they are whole. */
static struct amount size_of(uint64_t bytes) {
    struct amount amount;
    bool whole = bytes % GIB == 0 && bytes > 0;
    snprintf(amount.text, sizeof amount.text, "%" PRIu64 "%s", bytes / (whole ? GIB : MIB),
             whole ? "G" : "M");
    return amount;
}

struct sizes {
    uint64_t heap, pool; /* bytes */
    bool rounds_kv;      /* q8_0 */
    uint64_t token_bytes;
    uint64_t batch, tokens;
};

static struct sizes derive_sizes(const struct machine *machine) {
    struct sizes sizes = {.heap = (uint64_t)((double)machine->memory_bytes * machine->share)};
    sizes.heap -= sizes.heap % MIB;
    uint64_t taken = WEIGHT_BYTES + SPARE_BYTES;
    /* Where the model does not fit, a smaller one will be served. */
    sizes.pool = sizes.heap > taken + taken / 8 ? sizes.heap - taken : sizes.heap / 4;
    sizes.rounds_kv = sizes.pool / (2 * KV_TOKEN_VALUES) < CONTEXT;
    sizes.token_bytes = sizes.rounds_kv ? KV_TOKEN_VALUES * 34 / 32 : KV_TOKEN_VALUES * 2;
    uint64_t answer = ANSWER_TOKENS * sizes.token_bytes;
    uint64_t step = (uint64_t)(machine->bandwidth / ANSWER_RATE);
    if (step < SLOWDOWN * WEIGHT_BYTES) {
        step = SLOWDOWN * WEIGHT_BYTES;
    }
    uint64_t by_speed = (step - WEIGHT_BYTES) / answer, by_memory = sizes.pool / answer;
    sizes.batch = by_speed < by_memory ? by_speed : by_memory;
    sizes.batch = sizes.batch < 1 ? 1 : sizes.batch > MAX_BATCH ? MAX_BATCH : sizes.batch;
    sizes.batch -= sizes.batch > 8 ? sizes.batch % 8 : 0;
    sizes.tokens = sizes.pool / sizes.token_bytes;
    if (sizes.tokens > sizes.batch * CONTEXT) {
        sizes.tokens = sizes.batch * CONTEXT;
    }
    sizes.tokens = sizes.tokens < 1024 ? 1024 : sizes.tokens - sizes.tokens % 1024;
    return sizes;
}

static void derive_memory(struct profile *profile, const struct sizes *sizes) {
    uint64_t context = sizes->tokens < CONTEXT ? sizes->tokens : CONTEXT;
    uint64_t pool = sizes->tokens * sizes->token_bytes;
    uint64_t cache = pool / 4;
    add(profile, KNOB_max_sequence_length, number(context).text,
        sizes->tokens < CONTEXT ? "all that the KV pool holds" : "Mistral 7B's own context");
    add(profile, KNOB_max_total_tokens, number(sizes->tokens).text,
        sizes->tokens == sizes->batch * CONTEXT ? "a whole context for each answer of a full batch"
                                                : "what fits beside the weights at %" PRIu64
                                                  " bytes a token",
        sizes->token_bytes);
    add(profile, KNOB_prefix_cache_size, size_of(cache - cache % MIB).text,
        "a quarter of the KV pool, for beginnings that no request uses now");
    add(profile, KNOB_memory_pool_size, size_of(pool + (MIB - pool % MIB) % MIB).text,
        "max_total_tokens of %" PRIu64 " bytes each", sizes->token_bytes);
    add(profile, KNOB_kv_cache_dtype, sizes->rounds_kv ? "q8_0" : "f16",
        sizes->rounds_kv ? "in f16 not one whole context of %d tokens would fit"
                         : "a whole context of %d tokens fits without rounding further",
        CONTEXT);
    add(profile, KNOB_heap_size, size_of(sizes->heap).text, "%.0f %% of the memory",
        profile->machine.share * 100);
}

static void derive_speed(struct profile *profile, const struct sizes *sizes) {
    const struct machine *machine = &profile->machine;
    double step =
        (double)WEIGHT_BYTES + (double)(sizes->batch * ANSWER_TOKENS) * (double)sizes->token_bytes;
    add(profile, KNOB_max_batch_size, number(sizes->batch).text,
        "with so many answers of %d tokens a step reads %.1f GB: at most %.1f tokens/s for each, "
        "%.0f in all",
        ANSWER_TOKENS, step / 1e9, machine->bandwidth / step,
        (double)sizes->batch * machine->bandwidth / step);
    add(profile, KNOB_max_running_requests, number(2 * sizes->batch).text,
        "a second batch reads its prompts meanwhile");
    uint64_t chunk = MIN_CHUNK;
    uint64_t wanted = machine->cores == 0 ? MAX_CHUNK : CORE_PROMPT_TOKENS * machine->cores;
    while (chunk < MAX_CHUNK && chunk * 2 <= wanted) {
        chunk *= 2;
    }
    add(profile, KNOB_prefill_chunk_size, number(chunk).text,
        machine->cores == 0 ? "the most that any profile takes: a GPU wants wide steps"
                            : "%d prompt tokens a core, so that a step lasts about as long on any "
                              "machine",
        CORE_PROMPT_TOKENS);
    if (machine->cores > 0) {
        add(profile, KNOB_num_threads, number(machine->cores).text,
            "one a core%s; a slower kind of core would be waited for",
            machine->share < 0.8 ? " of the fast kind" : "");
    }
}

bool profile_make(const char *name, struct profile *profile, struct error *error) {
    *profile = (struct profile){0};
    const struct machine *known = machine_find(name);
    if (known != NULL) {
        profile->machine = *known;
    } else if (strcmp(name, "auto") != 0) {
        struct suggestion suggestion = suggest_for(name);
        suggest_offer(&suggestion, string_view_of("auto"));
        for (known = machine_table; known->name != NULL; known++) {
            suggest_offer(&suggestion, string_view_of(known->name));
        }
        bool near = suggestion.best.length > 0;
        return error_set(
            error, ERROR_INVALID_ARGUMENT,
            "there is no profile '%.100s'; %s%.*s%s'mistral config profile' lists them, "
            "and a file's name ends in .toml",
            name, near ? "did you mean '" : "", (int)suggestion.best.length, suggestion.best.data,
            near ? "'? " : "");
    } else if (!machine_look(&profile->machine, error)) {
        return false;
    }
    struct sizes sizes = derive_sizes(&profile->machine);
    derive_speed(profile, &sizes);
    derive_memory(profile, &sizes);
    profile->ceiling = profile->machine.bandwidth / (double)WEIGHT_BYTES;
    return true;
}

/* Printing. */

static void append_section(const struct profile *profile, struct string_view section, size_t first,
                           struct string_buffer *out) {
    string_buffer_append_format(out, "\n[%.*s]\n", (int)section.length, section.data);
    for (size_t i = first; i < profile->count; i++) {
        const struct profile_setting *setting = &profile->settings[i];
        const struct knob *knob = &knob_rows[setting->knob];
        struct string_view key = knob_key(knob);
        if (string_view_equals(knob_section(knob), section)) {
            bool is_number = setting->value[strspn(setting->value, "0123456789")] == '\0';
            const char *quote = is_number ? "" : "\"";
            string_buffer_append_format(out, "# %s\n%.*s = %s%s%s\n", setting->reason,
                                        (int)(key.length - section.length - 1),
                                        key.data + section.length + 1, quote, setting->value,
                                        quote);
        }
    }
}

void profile_append_toml(const struct profile *profile, struct string_buffer *out) {
    const struct machine *machine = &profile->machine;
    string_buffer_append_format(out,
                                "# %s. %s.\n"
                                "# Printed by 'mistral config profile %s'; '--profile %s' applies "
                                "it below all that is set.\n"
                                "# From: ",
                                machine->title, machine->status, machine->name, machine->name);
    if (machine->cores > 0) {
        string_buffer_append_format(out, "%zu cores, ", machine->cores);
    }
    string_buffer_append_format(out,
                                "%.0f GiB of memory, %.1f GB/s\n"
                                "# (%s).\n"
                                "# Sized for Mistral 7B in q5_k_m: %.2f GB of weights. Its ceiling "
                                "here is %.1f / %.2f = %.0f\n"
                                "# tokens/s: one answer, a token at a time, cannot go faster; "
                                "several answers share a reading.\n",
                                (double)machine->memory_bytes / (double)GIB,
                                machine->bandwidth / 1e9, machine->source,
                                (double)WEIGHT_BYTES / 1e9, machine->bandwidth / 1e9,
                                (double)WEIGHT_BYTES / 1e9, profile->ceiling);
    for (size_t i = 0; i < profile->count; i++) {
        struct string_view section = knob_section(&knob_rows[profile->settings[i].knob]);
        size_t before = 0;
        while (!string_view_equals(knob_section(&knob_rows[profile->settings[before].knob]),
                                   section)) {
            before++;
        }
        if (before == i) {
            append_section(profile, section, i, out);
        }
    }
}

void profile_append_list(struct string_buffer *out) {
    for (const struct machine *machine = machine_table; machine->name != NULL; machine++) {
        string_buffer_append_format(out, "%-14s %s\n", machine->name, machine->title);
    }
    string_buffer_append_format(out, "%-14s %s\n", "auto", "this machine, found and measured");
}
