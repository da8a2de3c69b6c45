/*
 * test_description.c - what descriptions are made of metadata, and what metadata is refused.
 *
 * Files are built in memory with a family's least keys, and one more: the case's own. Whether the
 * arithmetic that follows from a description is the model's is for tests/golden to say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/description.h"
#include "model/gguf_writer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct number {
    const char *key;
    double value; /* a whole number: u32, else f32 */
};

/* The sizes that all families ask for. */
static const struct number sizes[] = {
    {"block_count", 8},          {"embedding_length", 64},     {"context_length", 512},
    {"feed_forward_length", 96}, {"attention.head_count", 4},  {"attention.head_count_kv", 2},
    {"vocab_size", 100},         {"attention.key_length", 16},
};

enum { SIZE_COUNT = sizeof sizes / sizeof sizes[0], MOST = 12 };

static void add(struct gguf_writer *writer, const char *architecture, struct number number) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", architecture, number.key);
    if (number.value == floor(number.value)) {
        gguf_writer_add_u32(writer, key, (uint32_t)number.value);
    } else {
        gguf_writer_add_f32(writer, key, (float)number.value);
    }
}

/* Numbers end with an empty key; one of `sizes` is replaced by one of the same key. */
static bool describe(const char *architecture, const struct number *numbers, struct arena *arena,
                     struct model_description *out, struct error *error) {
    struct gguf_writer writer = {0};
    struct string_buffer head = {0};
    struct gguf *gguf = NULL;
    gguf_writer_add_text(&writer, "general.architecture", string_view_of(architecture));
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        struct number number = sizes[i];
        bool replaced = false;
        for (const struct number *n = numbers; n->key != NULL; n++) {
            replaced = replaced || strcmp(n->key, number.key) == 0;
        }
        if (!replaced) {
            add(&writer, architecture, number);
        }
    }
    for (const struct number *n = numbers; n->key != NULL; n++) {
        add(&writer, architecture, *n);
    }
    assert_true(gguf_writer_head(&writer, &head, error));
    assert_true(gguf_open_bytes("test.gguf", head.data, head.length, &gguf, error));
    bool done = description_read(gguf, 0, arena, out, error);
    gguf_close(gguf);
    string_buffer_deinit(&head);
    gguf_writer_deinit(&writer);
    return done;
}

struct refusal {
    const char *architecture;
    struct number numbers[MOST];
    const char *key; /* that the message names */
};

static const struct refusal refusals[] = {
    {"llama", {{"block_count", 0}}, "llama.block_count"},
    {"llama", {{"block_count", 5000}}, "llama.block_count"},
    {"llama", {{"attention.head_count", 0}}, "llama.attention.head_count"},
    {"llama", {{"attention.head_count_kv", 0}}, "llama.attention.head_count_kv"},
    {"llama", {{"attention.head_count_kv", 3}}, "llama.attention.head_count_kv"},
    {"llama", {{"attention.key_length", 2000}}, "llama.attention.key_length"},
    {"llama", {{"embedding_length", 4e9}}, "llama.embedding_length"},
    {"llama", {{"context_length", 0}}, "llama.context_length"},
    {"llama", {{"attention.sliding_window", 2147483648.0}}, "llama.attention.sliding_window"},
    {"llama", {{"rope.dimension_count", 7}}, "llama.rope.dimension_count"},
    {"llama", {{"rope.dimension_count", 18}}, "llama.rope.dimension_count"},
    {"llama", {{"rope.freq_base", 0.5}}, "llama.rope.freq_base"},
    {"llama", {{"rope.scaling.factor", -1.5}}, "llama.rope.scaling.factor"},
    {"llama", {{"expert_count", 2000}, {"expert_used_count", 2}}, "llama.expert_count"},
    {"llama", {{"expert_count", 8}}, "llama.expert_used_count"},
    {"llama", {{"expert_count", 8}, {"expert_used_count", 9}}, "llama.expert_used_count"},
    {"llama",
     {{"expert_count", 8}, {"expert_used_count", 2}, {"expert_group_count", 3}},
     "llama.expert_group_count"},
    {"llama",
     {{"expert_count", 8},
      {"expert_used_count", 4},
      {"expert_group_count", 4},
      {"expert_group_used_count", 1}},
     "llama.expert_group_count"},
    {"llama",
     {{"expert_count", 8}, {"expert_used_count", 2}, {"expert_gating_func", 9}},
     "llama.expert_gating_func"},
    {"llama", {{"nextn_predict_layers", 8}}, "llama.nextn_predict_layers"},
    {"llama", {{"attention.layer_norm_rms_epsilon", 2}}, "attention.layer_norm_rms_epsilon"},
    {"gemma2", {{"attn_logit_softcapping", -0.5}}, "gemma2.attn_logit_softcapping"},
    {"gemma3", {{"attention.sliding_window", 8}, {"rope.freq_base_swa", 0.5}}, "rope.freq_base"},
    {"gemma4", {{"attention.shared_kv_layers", 8}}, "gemma4.attention.shared_kv_layers"},
    {"gemma4", {{"attention.shared_kv_layers", 9}}, "gemma4.attention.shared_kv_layers"},
    {"gemma4", {{"embedding_length_per_layer_input", 4e9}}, "embedding_length_per_layer_input"},
    {"gpt-oss", {{"attention.sliding_window", 8}}, "gpt-oss.expert_count"},
    {"qwen3moe", {{"attention.sliding_window", 0}}, "qwen3moe.expert_count"},
    {"deepseek2", {{"attention.kv_lora_rank", 16}}, "deepseek2.attention.key_length_mla"},
    {"deepseek2",
     {{"attention.key_length_mla", 20}, {"attention.value_length_mla", 10}},
     "deepseek2.attention.kv_lora_rank"},
    {"deepseek2",
     {{"attention.key_length_mla", 16},
      {"attention.value_length_mla", 10},
      {"attention.kv_lora_rank", 16}},
     "deepseek2.attention.key_length_mla"},
};

static void bad_metadata_is_refused_by_its_key(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *r = &refusals[i];
        struct arena arena = {0};
        struct model_description d;
        struct error error = {0};
        if (describe(r->architecture, r->numbers, &arena, &d, &error)) {
            fail_msg("%s with %s = %g was taken", r->architecture, r->numbers[0].key,
                     r->numbers[0].value);
        }
        if (strstr(error.message, r->key) == NULL || strstr(error.message, "test.gguf") == NULL) {
            fail_msg("%s with %s = %g: expected the file and '%s' in: %s", r->architecture,
                     r->numbers[0].key, r->numbers[0].value, r->key, error.message);
        }
        arena_deinit(&arena);
    }
}

static void an_unknown_architecture_is_told_what_there_is(void **state) {
    (void)state;
    struct arena arena = {0};
    struct model_description d;
    struct error error = {0};
    const struct number none[] = {{NULL, 0}};
    assert_false(describe("mamba", none, &arena, &d, &error));
    assert_int_equal(error.code, ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "'mamba'"));
    for (size_t i = 0; description_architecture(i) != NULL; i++) {
        assert_non_null(strstr(error.message, description_architecture(i)));
    }
    arena_deinit(&arena);
}

/* Each with its least keys: every row of the list is reached, and no family reads past them. */
static void every_architecture_is_described(void **state) {
    (void)state;
    static const struct number more[] = {
        {"expert_count", 8},
        {"expert_used_count", 2},
        {"attention.key_length_mla", 20},
        {"attention.value_length_mla", 10},
        {"attention.kv_lora_rank", 16},
        {"rope.dimension_count", 8},
        {NULL, 0},
    };
    for (size_t i = 0; description_architecture(i) != NULL; i++) {
        struct arena arena = {0};
        struct model_description d;
        struct error error = {0};
        if (!describe(description_architecture(i), more, &arena, &d, &error)) {
            fail_msg("%s", error.message);
        }
        assert_string_equal(d.architecture, description_architecture(i));
        assert_int_equal(d.layer_count, 8);
        for (size_t l = 0; l < d.layer_count; l++) {
            assert_true(d.layers[l].kv_layer < d.kv_layer_count);
            assert_true((d.layers[l].parts & (PART_DENSE | PART_EXPERTS)) != 0);
        }
        arena_deinit(&arena);
    }
}

static void windows_follow_the_family_unless_the_file_has_a_pattern(void **state) {
    (void)state;
    struct arena arena = {0};
    struct model_description d;
    struct error error = {0};
    const struct number gemma[] = {{"attention.sliding_window", 32}, {NULL, 0}};
    assert_true(describe("gemma3", gemma, &arena, &d, &error));
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(d.layers[i].window, i == 5 ? 0 : 32);
        assert_int_equal(d.layers[i].rope, i == 5 ? 0 : 1);
    }
    assert_int_equal(description_common_window(&d), 0);
    const struct number third[] = {
        {"attention.sliding_window", 32}, {"attention.sliding_window_pattern", 3}, {NULL, 0}};
    assert_true(describe("llama", third, &arena, &d, &error));
    assert_int_equal(d.layers[2].window, 0);
    assert_int_equal(d.layers[3].window, 32);
    const struct number all[] = {{"attention.sliding_window", 32}, {NULL, 0}};
    assert_true(describe("llama", all, &arena, &d, &error));
    assert_int_equal(description_common_window(&d), 32);
    arena_deinit(&arena);
}

static void layers_that_predict_further_tokens_are_left_out(void **state) {
    (void)state;
    struct arena arena = {0};
    struct model_description d;
    struct error error = {0};
    const struct number numbers[] = {{"nextn_predict_layers", 2}, {NULL, 0}};
    assert_true(describe("qwen3", numbers, &arena, &d, &error));
    assert_int_equal(d.layer_count, 6);
    arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_metadata_is_refused_by_its_key),
        cmocka_unit_test(an_unknown_architecture_is_told_what_there_is),
        cmocka_unit_test(every_architecture_is_described),
        cmocka_unit_test(windows_follow_the_family_unless_the_file_has_a_pattern),
        cmocka_unit_test(layers_that_predict_further_tokens_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
