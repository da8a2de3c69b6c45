/* test_base.c - the rules of src/base: overflow, growth, UTF-8's edges, a pool that joins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/arithmetic.h"
#include "base/bandwidth.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash_map.h"
#include "base/mailbox.h"
#include "base/random.h"
#include "base/string_buffer.h"
#include "base/thread_pool.h"
#include "base/utf8.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void error_prefix_keeps_code_and_message(void **state) {
    (void)state;
    struct error error = {0};
    assert_false(error_set(&error, ERROR_FORMAT, "bad %s", "magic"));
    error_prefix(&error, "file '%s'", "a.gguf");
    assert_int_equal(error.code, ERROR_FORMAT);
    assert_string_equal(error.message, "file 'a.gguf': bad magic");
    error_set_errno(&error, ENOSPC, "cannot write");
    assert_int_equal(error.code, ERROR_NO_SPACE);
}

static void string_buffer_grows_and_keeps_nul(void **state) {
    (void)state;
    struct string_buffer buffer = {0};
    for (int i = 0; i < 1000; i++) {
        string_buffer_append_format(&buffer, "%d,", i);
    }
    assert_int_equal(buffer.length, 3890);
    assert_int_equal(strlen(buffer.data), buffer.length);
    assert_false(string_buffer_reserve(&buffer, SIZE_MAX - 5));
    assert_true(buffer.failed);
    assert_int_equal(buffer.length, 3890);
    string_buffer_deinit(&buffer);
}

static void arena_refuses_overflow_and_aligns(void **state) {
    (void)state;
    struct arena arena = {0};
    assert_null(arena_alloc(&arena, SIZE_MAX / 2, 4));
    for (size_t i = 1; i < 200; i++) {
        uint8_t *memory = arena_alloc(&arena, i * 37, 1);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 64, 0);
        for (size_t j = 0; j < i * 37; j++) {
            assert_int_equal(memory[j], 0);
            memory[j] = 0xff;
        }
    }
    arena_deinit(&arena);
}

static void hash_map_holds_what_was_set(void **state) {
    (void)state;
    struct hash_map map = {0};
    static char keys[5000][8];
    for (uint64_t i = 0; i < 5000; i++) {
        int length = snprintf(keys[i], sizeof keys[i], "k%d", (int)i);
        assert_true(hash_map_set(&map, (struct string_view){keys[i], (size_t)length}, i));
    }
    assert_true(hash_map_set(&map, (struct string_view){NULL, 0}, 77));
    for (uint64_t i = 0; i < 5000; i++) {
        const uint64_t *value = hash_map_get(&map, string_view_of(keys[i]));
        assert_non_null(value);
        assert_int_equal(*value, i);
    }
    assert_int_equal(*hash_map_get(&map, string_view_of("")), 77);
    assert_null(hash_map_get(&map, string_view_of("absent")));
    assert_int_equal(map.count, 5001);
    hash_map_deinit(&map);
}

static void utf8_round_trips_every_code_point(void **state) {
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (c >= 0xd800 && c <= 0xdfff) {
            continue;
        }
        char bytes[4];
        uint32_t back = 0;
        size_t length = utf8_encode(c, bytes);
        if (utf8_decode(bytes, length, &back) != length || back != c) {
            fail_msg("U+%04X came back as U+%04X", c, back);
        }
        for (size_t cut = 1; cut < length; cut++) {
            if (utf8_decode(bytes, cut, &back) != 0 || utf8_incomplete_tail(bytes, cut) != cut) {
                fail_msg("U+%04X cut after %zu bytes was not seen as incomplete", c, cut);
            }
        }
        if (utf8_incomplete_tail(bytes, length) != 0) {
            fail_msg("U+%04X whole was seen as incomplete", c);
        }
    }
}

static void utf8_refuses_malformed(void **state) {
    (void)state;
    static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xc1\xbf",
                                      "\xe0\x80\x80", "\xed\xa0\x80",     "\xf0\x80\x80\x80",
                                      "\xff",         "\xf4\x90\x80\x80", "\xe2\x28\xa1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint32_t code_point;
        assert_int_equal(utf8_decode(bad[i], strlen(bad[i]), &code_point), 0);
        size_t at = 99;
        assert_false(utf8_validate(bad[i], strlen(bad[i]), &at));
        assert_int_equal(at, 0);
    }
    assert_int_equal(utf8_incomplete_tail("a\xff", 2), 0);
    assert_int_equal(utf8_incomplete_tail("\xe2\x82\xac", 3), 0);
}

struct pool_job {
    struct thread_pool *pool;
    _Atomic uint64_t sum;
    size_t chunks;
};

static void add_chunks(void *context, size_t thread_index) {
    struct pool_job *job = context;
    (void)thread_index;
    for (size_t c; (c = thread_pool_next_chunk(job->pool)) < job->chunks;) {
        atomic_fetch_add(&job->sum, c);
    }
}

static void thread_pool_runs_every_chunk_once(void **state) {
    (void)state;
    for (size_t threads = 1; threads <= 5; threads++) {
        struct error error = {0};
        struct pool_job job = {.chunks = 100};
        assert_true(thread_pool_create(threads, &job.pool, &error));
        for (int run = 0; run < 300; run++) {
            if (run % 100 == 99) {
                usleep(2000); /* long enough for the workers to fall asleep */
            }
            atomic_store(&job.sum, 0);
            thread_pool_run(job.pool, add_chunks, &job);
            assert_int_equal(atomic_load(&job.sum), 4950);
        }
        thread_pool_free(job.pool);
    }
}

static void file_errors_name_the_path(void **state) {
    (void)state;
    struct error error = {0};
    struct mapped_file file;
    assert_false(file_map("/", &file, &error));
    assert_string_equal(error.message, "'/' is a directory, not a file");
    assert_false(file_map("/nonexistent/x", &file, &error));
    assert_int_equal(error.code, ERROR_NOT_FOUND);
    assert_false(file_map("/dev/null", &file, &error));
    assert_string_equal(error.message, "'/dev/null' is not a regular file");
}

static void file_write_atomic_replaces(void **state) {
    (void)state;
    struct error error = {0};
    char directory[] = "/tmp/mistral-test-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char path[64], nested[80];
    snprintf(path, sizeof path, "%s/f", directory);
    snprintf(nested, sizeof nested, "%s/a/b/c", directory);
    assert_true(file_write_atomic(path, "one", 3, &error));
    assert_true(file_write_atomic(path, "second", 6, &error));
    char *text = NULL;
    size_t length = 0;
    assert_true(file_read_all(path, 100, &text, &length, &error));
    assert_string_equal(text, "second");
    free(text);
    assert_false(file_read_all(path, 5, &text, &length, &error));
    assert_true(file_make_directories(nested, &error));
    assert_true(file_is_directory(nested));
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    assert_int_equal(system(command), 0);
}

static void *send_two(void *argument) {
    static struct mailbox_message messages[2];
    mailbox_send(argument, &messages[0]);
    mailbox_send(argument, &messages[1]);
    return messages;
}

static void mailbox_keeps_order_and_wakes(void **state) {
    (void)state;
    struct mailbox mailbox;
    assert_true(mailbox_init(&mailbox, NULL, NULL));
    assert_null(mailbox_wait_all(&mailbox, 1000000));
    pthread_t sender;
    assert_int_equal(pthread_create(&sender, NULL, send_two, &mailbox), 0);
    struct mailbox_message *first = mailbox_wait_all(&mailbox, -1);
    void *messages;
    pthread_join(sender, &messages);
    assert_ptr_equal(first, messages);
    struct mailbox_message *second =
        first->next != NULL ? first->next : mailbox_receive_all(&mailbox);
    assert_ptr_equal(second, (struct mailbox_message *)messages + 1);
    mailbox_deinit(&mailbox);
}

static void random_is_reproducible(void **state) {
    (void)state;
    struct random_state a, b;
    random_seed(&a, 42);
    random_seed(&b, 42);
    for (int i = 0; i < 100; i++) {
        double value = random_uniform(&a);
        assert_true(value >= 0 && value < 1 && value == random_uniform(&b));
    }
    random_seed(&a, 0);
    assert_int_equal(random_next(&a), 0x99ec5f36cb75f2b4ULL); /* the authors' reference output */
}

/* Of a second's work at least a million operations must be left, on any machine. */
static void machine_limits_are_measured(void **state) {
    (void)state;
    struct arithmetic arithmetic = {0};
    double bandwidth = 0;
    struct error error = {0};
    assert_true(arithmetic_measure(1, 0.01, "portable", &arithmetic, &error));
    assert_string_equal(arithmetic.int8_instructions, "portable C");
    assert_true(arithmetic_measure(1, 0.01, NULL, &arithmetic, &error));
    assert_true(arithmetic.int8_operations > 1e6 && arithmetic.f32_operations > 1e6);
    assert_true(arithmetic.int8_instructions != NULL && arithmetic.f32_instructions != NULL);
    assert_true(bandwidth_measure(1, 8 << 20, 0.01, &bandwidth, &error));
    assert_true(bandwidth > 1e6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_prefix_keeps_code_and_message),
        cmocka_unit_test(string_buffer_grows_and_keeps_nul),
        cmocka_unit_test(arena_refuses_overflow_and_aligns),
        cmocka_unit_test(hash_map_holds_what_was_set),
        cmocka_unit_test(utf8_round_trips_every_code_point),
        cmocka_unit_test(utf8_refuses_malformed),
        cmocka_unit_test(thread_pool_runs_every_chunk_once),
        cmocka_unit_test(file_errors_name_the_path),
        cmocka_unit_test(file_write_atomic_replaces),
        cmocka_unit_test(mailbox_keeps_order_and_wakes),
        cmocka_unit_test(random_is_reproducible),
        cmocka_unit_test(machine_limits_are_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
