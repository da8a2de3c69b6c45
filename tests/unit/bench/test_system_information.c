/*
 * test_system_information.c - what every report says of where it was made: nothing is missing, a
 * model's checksum is the file's, and settings are told without the secret ones.
 */
#include "bench/system_information.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_nothing_is_missing(void **state) {
    (void)state;
    static const char *const keys[] = {"time",           "cpu",    "cores",
                                       "memory_bytes",   "os",     "device",
                                       "engine_version", "commit", "processors"};
    struct system_information information = {0};
    assert_true(system_information_read(&information, NULL));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *text = system_information_find(&information, keys[i]);
        assert_non_null(text);
        assert_true(strlen(text) > 0);
    }
    assert_null(system_information_find(&information, "model_sha256"));
    system_information_deinit(&information);
}

static void test_a_model_has_its_checksum(void **state) {
    (void)state;
    char path[] = "/tmp/mistral-test-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0 && write(file, "abc", 3) == 3);
    close(file);
    struct system_information information = {0};
    struct error error = {0};
    assert_true(system_information_add_model(&information, path, &error));
    /* FIPS 180-2's example */
    assert_string_equal(system_information_find(&information, "model_sha256"),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(system_information_find(&information, "model_file"), path + 5);
    unlink(path);
    assert_false(system_information_add_model(&information, path, &error));
    system_information_deinit(&information);
}

static void test_settings_are_told_without_secrets(void **state) {
    (void)state;
    char *arguments[] = {"--api-key", "hush", "--num-threads", "2", "--port", "8080"};
    char *environment[] = {NULL};
    const struct config_source source = {.reader = READ_BY_SERVE,
                                         .arguments = arguments,
                                         .argument_count = 6,
                                         .environment = environment};
    struct config config;
    struct argument_operands operands;
    struct system_information information = {0};
    assert_true(config_load(&source, &config, &operands, NULL));
    assert_true(system_information_add_settings(&information, &config, READ_BY_SERVE, NULL));
    const char *text = system_information_find(&information, "settings");
    assert_non_null(strstr(text, "num_threads=2"));
    assert_null(strstr(text, "hush"));
    assert_null(strstr(text, "8080")); /* the default, though given */
    system_information_deinit(&information);
    config_deinit(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_missing),
        cmocka_unit_test(test_a_model_has_its_checksum),
        cmocka_unit_test(test_settings_are_told_without_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
