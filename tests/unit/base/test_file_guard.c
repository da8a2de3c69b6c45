/*
 * test_file_guard.c - maps whose files are cut short, overwritten or removed while they are read:
 * the reader goes on and is told, other maps are as they were, and other faults stay what they are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/file_guard.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILE_BYTES = 300000, MANY = 200 };

static char folder[] = "/tmp/test_file_guard_XXXXXX";

static const char *make_file(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < FILE_BYTES; i++) {
        fputc((int)(i % 251), file);
    }
    fclose(file);
    return path;
}

/* cmocka puts a handler of its own in the place of ours before each test. */
static struct sigaction ours;

static struct mapped_file map(const char *path) {
    struct mapped_file mapped = {0};
    struct error error = {0};
    assert_true(file_map(path, &mapped, &error));
    assert_true(file_check(&mapped, path, &error));
    sigaction(SIGBUS, &ours, NULL);
    return mapped;
}

static void assert_whole(const struct mapped_file *mapped, const char *path) {
    struct error error = {0};
    for (size_t i = 0; i < FILE_BYTES; i++) {
        if (mapped->data[i] != i % 251) {
            fail_msg("byte %zu is %u", i, mapped->data[i]);
        }
    }
    assert_true(file_check(mapped, path, &error));
}

static void assert_lost(const struct mapped_file *mapped, const char *path, const char *why) {
    struct error error = {0};
    assert_false(file_check(mapped, path, &error));
    assert_int_equal(error.code, ERROR_IO);
    if (strstr(error.message, path) == NULL || strstr(error.message, why) == NULL) {
        fail_msg("got '%s'; wanted '%s' and '%s'", error.message, path, why);
    }
}

static void a_file_that_is_cut_short_reads_as_zeros_and_is_told(void **state) {
    (void)state;
    struct mapped_file other = map(make_file("other"));
    const char *path = make_file("cut");
    struct mapped_file mapped = map(path);
    assert_int_equal(truncate(path, 10), 0);
    for (size_t i = 8192; i < FILE_BYTES; i++) {
        assert_int_equal(mapped.data[i], 0);
    }
    assert_lost(&mapped, path, "cut short while it was in use: it had 300000 bytes and has 10");
    make_file("cut"); /* whole again, and too late */
    assert_lost(&mapped, path, "while it was in use");
    assert_whole(&other, "other");
    file_unmap(&mapped);
    mapped = map(path);
    assert_whole(&mapped, path);
    file_unmap(&mapped);
    file_unmap(&other);
}

static void *read_all(void *argument) {
    const struct mapped_file *mapped = argument;
    volatile uint8_t sum = 0;
    file_guard_thread();
    for (size_t i = 0; i < mapped->size; i++) {
        sum = (uint8_t)(sum + mapped->data[i]);
    }
    return NULL;
}

/* The threads inherit a mask that would have the system end the process. */
static void threads_may_meet_the_same_end_at_once(void **state) {
    (void)state;
    const char *path = make_file("threads");
    struct mapped_file mapped = map(path);
    pthread_t threads[8];
    sigset_t all, before;
    sigfillset(&all);
    assert_int_equal(truncate(path, 0), 0);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &mapped), 0);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_lost(&mapped, path, "cut short");
    file_unmap(&mapped);
}

static void a_file_that_is_overwritten_in_its_place_is_told(void **state) {
    (void)state;
    const char *path = make_file("overwritten");
    struct mapped_file mapped = map(path);
    usleep(20000); /* a tick of the clock that files are dated by */
    int file = open(path, O_WRONLY);
    assert_int_equal(pwrite(file, "x", 1, 5000), 1);
    close(file);
    assert_lost(&mapped, path, "overwritten while it was in use");
    file_unmap(&mapped);
}

static void a_file_that_is_moved_replaced_or_removed_stays_what_it_was(void **state) {
    (void)state;
    char path[160], elsewhere[160];
    snprintf(path, sizeof path, "%s", make_file("moved"));
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", folder);
    struct mapped_file mapped = map(path);
    struct error error = {0};
    assert_int_equal(rename(path, elsewhere), 0);
    assert_true(file_write_atomic(elsewhere, "new", 3, &error));
    assert_whole(&mapped, path);
    assert_int_equal(unlink(elsewhere), 0);
    assert_whole(&mapped, path);
    file_unmap(&mapped);
}

static void a_kept_head_outlives_the_file(void **state) {
    (void)state;
    const char *path = make_file("head");
    struct mapped_file mapped = map(path);
    struct error error = {0};
    assert_true(file_keep_head(&mapped, 10000, &error));
    assert_whole(&mapped, path);
    assert_int_equal(truncate(path, 0), 0);
    volatile uint8_t past = mapped.data[FILE_BYTES - 1];
    assert_int_equal(past, 0);
    for (size_t i = 0; i < 10000; i++) {
        assert_int_equal(mapped.data[i], i % 251);
    }
    assert_lost(&mapped, path, "cut short");
    file_unmap(&mapped);
    mapped = map(make_file("head"));
    assert_true(file_keep_head(&mapped, FILE_BYTES, &error)); /* all of it */
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(mapped.data[FILE_BYTES - 1], (FILE_BYTES - 1) % 251);
    file_unmap(&mapped);
}

static void there_may_be_many_maps_one_after_the_other_and_at_once(void **state) {
    (void)state;
    const char *path = make_file("many");
    struct mapped_file maps[MANY];
    for (size_t i = 0; i < MANY; i++) {
        maps[i] = map(path);
    }
    for (size_t i = 0; i < MANY; i += 2) {
        file_unmap(&maps[i]);
    }
    assert_int_equal(truncate(path, 0), 0);
    for (size_t i = 1; i < MANY; i += 2) {
        volatile uint8_t byte = maps[i].data[FILE_BYTES / 2];
        assert_int_equal(byte, 0);
        assert_lost(&maps[i], path, "cut short");
        file_unmap(&maps[i]);
    }
}

/* ---- faults that are none of ours ---- */

/* Reads past the end of a map that nobody guards. */
static void fault(const char *path) {
    int file = open(path, O_RDONLY);
    const uint8_t *data = mmap(NULL, FILE_BYTES, PROT_READ, MAP_PRIVATE, file, 0);
    assert_int_equal(truncate(path, 0), 0);
    volatile uint8_t byte = data[FILE_BYTES / 2];
    (void)byte;
}

static void exit_17(int number) {
    (void)number;
    _exit(17);
}

static void exit_18(int number, siginfo_t *info, void *context) {
    (void)context;
    _exit(number == SIGBUS && info->si_addr != NULL ? 18 : 1);
}

enum handler { HANDLER_DEFAULT, HANDLER_PLAIN, HANDLER_WITH_INFO };

/* In a process of its own, in which the handler is the one before ours. */
static int status_after_fault(enum handler handler, bool is_sent) {
    const char *path = make_file("foreign");
    pid_t child = fork();
    if (child == 0) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        if (handler == HANDLER_PLAIN) {
            action.sa_handler = exit_17;
        } else if (handler == HANDLER_WITH_INFO) {
            action.sa_sigaction = exit_18;
            action.sa_flags = SA_SIGINFO;
        }
        sigaction(SIGBUS, &action, NULL);
        struct mapped_file mapped;
        struct error error;
        if (!file_map(path, &mapped, &error)) {
            _exit(2);
        }
        if (is_sent) {
            kill(getpid(), SIGBUS);
        } else {
            fault(path);
        }
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static int default_status[2], plain_status[2], info_status; /* [is sent] */

static void other_faults_go_to_who_had_them_before(void **state) {
    (void)state;
    for (int is_sent = 0; is_sent < 2; is_sent++) {
        int status = default_status[is_sent];
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
        status = plain_status[is_sent];
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 17);
    }
    assert_true(WIFEXITED(info_status) && WEXITSTATUS(info_status) == 18);
}

int main(void) {
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    /* Before the first map in this process, which installs the handler. */
    for (int is_sent = 0; is_sent < 2; is_sent++) {
        default_status[is_sent] = status_after_fault(HANDLER_DEFAULT, is_sent);
        plain_status[is_sent] = status_after_fault(HANDLER_PLAIN, is_sent);
    }
    info_status = status_after_fault(HANDLER_WITH_INFO, false);
    struct mapped_file mapped;
    struct error error;
    if (!file_map(make_file("first"), &mapped, &error)) {
        return 1;
    }
    file_unmap(&mapped);
    sigaction(SIGBUS, NULL, &ours);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_faults_go_to_who_had_them_before),
        cmocka_unit_test(a_file_that_is_cut_short_reads_as_zeros_and_is_told),
        cmocka_unit_test(threads_may_meet_the_same_end_at_once),
        cmocka_unit_test(a_file_that_is_overwritten_in_its_place_is_told),
        cmocka_unit_test(a_file_that_is_moved_replaced_or_removed_stays_what_it_was),
        cmocka_unit_test(a_kept_head_outlives_the_file),
        cmocka_unit_test(there_may_be_many_maps_one_after_the_other_and_at_once),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 ? failed : 1;
}
