/*
 * test_sandbox.c - what a process may no longer do once it is in its sandbox, and what it still
 * may.
 *
 * Each test enters it in a child, since nobody comes out again; the child's exit code is the line
 * that failed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/ptrace.h>
#include <sys/syscall.h>
#endif

enum { CHILD_SKIPS = 254 };

static char folder[] = "/tmp/test_sandbox_XXXXXX";
static uint16_t listen_port, other_port; /* free a moment ago */
static bool connects_anywhere;

/* In the child: ends it with this line's number where the condition is false. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, strerror(errno));          \
            _exit(__LINE__ % 250 + 1);                                                             \
        }                                                                                          \
    } while (0)

static void run_in_child(void (*body)(const struct sandbox_state *state)) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char writable[64], readable[64];
        snprintf(writable, sizeof writable, "%s/writable", folder);
        snprintf(readable, sizeof readable, "%s/readable", folder);
        const struct sandbox_path paths[] = {{writable, true},  {readable, false},
                                             {"/usr", false},   {"/lib", false},
                                             {"/lib64", false}, {"/nowhere", true}};
        const struct sandbox_rules rules = {
            .paths = paths,
            .path_count = sizeof paths / sizeof paths[0],
            .listen_ports = &listen_port,
            .listen_count = 1,
            .connect_ports = &listen_port,
            .connect_count = 1,
            .connects_anywhere = connects_anywhere,
        };
        struct sandbox_state state;
        sandbox_enter(&rules, &state);
        CHECK((state.files && state.system_calls) == (state.reason == NULL));
        body(&state);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_SKIPS) {
        skip(); /* this kernel, or this build, has it not */
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void *add_one(void *number) {
    ++*(int *)number;
    return NULL;
}

static bool is_refused(long result, int reason) {
    return result < 0 && errno == reason;
}

/* --- system calls --- */

static void start_a_program(const struct sandbox_state *state) {
    char *const arguments[] = {(char[]){"true"}, NULL};
    if (!state->system_calls) {
        _exit(CHILD_SKIPS);
    }
    CHECK(is_refused(execve("/usr/bin/true", arguments, arguments + 1), EPERM));
    int file = open("/usr/bin/true", O_RDONLY | O_CLOEXEC);
    CHECK(file >= 0);
    CHECK(is_refused(fexecve(file, arguments, arguments + 1), EPERM));
    CHECK(is_refused(fork(), EPERM));
    CHECK(system("true") != 0);
}

static void test_no_program_can_be_started(void **unused) {
    (void)unused;
    run_in_child(start_a_program);
}

static void change_the_machine(const struct sandbox_state *state) {
    if (!state->system_calls) {
        _exit(CHILD_SKIPS);
    }
#if defined(__linux__)
    static const long calls[] = {
        SYS_ptrace,      SYS_process_vm_readv, SYS_mount,       SYS_umount2,
        SYS_pivot_root,  SYS_unshare,          SYS_setns,       SYS_bpf,
        SYS_init_module, SYS_finit_module,     SYS_kexec_load,  SYS_reboot,
        SYS_setuid,      SYS_keyctl,           SYS_userfaultfd, SYS_perf_event_open,
        SYS_chroot,      SYS_io_uring_setup,   SYS_swapon,      SYS_mknodat};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        CHECK(is_refused(syscall(calls[i], -1L, 0L, 0L, 0L, 0L, 0L), EPERM));
    }
    CHECK(is_refused(socket(AF_PACKET, SOCK_RAW, 0), EAFNOSUPPORT));
    CHECK(is_refused(socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0), EAFNOSUPPORT));
    CHECK(is_refused(ioctl(0, TIOCSTI, "x"), EPERM));
#endif
}

static void test_nothing_that_changes_the_machine_is_left(void **unused) {
    (void)unused;
    run_in_child(change_the_machine);
}

static void work(const struct sandbox_state *state) {
    (void)state;
    pthread_t thread;
    int number = 1;
    CHECK(pthread_create(&thread, NULL, add_one, &number) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && number == 2);
    void *pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && madvise(pages, 1 << 20, MADV_DONTNEED) == 0);
    CHECK(mprotect(pages, 1 << 20, PROT_READ) == 0 && munmap(pages, 1 << 20) == 0);
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(socket(AF_INET, SOCK_DGRAM, 0) >= 0);
    char *copy = strdup("memory");
    CHECK(copy != NULL && copy[0] == 'm');
    free(copy);
}

static void test_threads_memory_and_sockets_are_as_before(void **unused) {
    (void)unused;
    run_in_child(work);
}

/* --- files --- */

static int open_in(const char *name, int how) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return open(path, how | O_CLOEXEC, 0600);
}

static bool rename_in(const char *from, const char *to) {
    char old[128], fresh[128];
    snprintf(old, sizeof old, "%s/%s", folder, from);
    snprintf(fresh, sizeof fresh, "%s/%s", folder, to);
    return rename(old, fresh) == 0;
}

static void use_files(const struct sandbox_state *state) {
    if (!state->files) {
        _exit(CHILD_SKIPS);
    }
    CHECK(open_in("readable/file", O_RDONLY) >= 0);
    CHECK(is_refused(open_in("readable/file", O_WRONLY), EACCES));
    CHECK(is_refused(open_in("readable/fresh", O_WRONLY | O_CREAT), EACCES));
    CHECK(is_refused(open_in("outside", O_RDONLY), EACCES));
    CHECK(is_refused(open_in("writable/link", O_RDONLY), EACCES)); /* to what is outside */
    CHECK(is_refused(open("/", O_RDONLY | O_DIRECTORY), EACCES));
    CHECK(open_in("writable/file", O_RDWR | O_CREAT | O_TRUNC) >= 0);
    char path[128];
    snprintf(path, sizeof path, "%s/writable/deep", folder);
    CHECK(mkdir(path, 0700) == 0);
    CHECK(rename_in("writable/file", "writable/deep/file"));
    CHECK(!rename_in("writable/deep/file", "readable/stolen"));
    snprintf(path, sizeof path, "%s/writable/deep/file", folder);
    CHECK(unlink(path) == 0);
    snprintf(path, sizeof path, "%s/readable/file", folder);
    CHECK(is_refused(unlink(path), EACCES));
    snprintf(path, sizeof path, "%s/writable/deep", folder);
    CHECK(rmdir(path) == 0);
}

static void test_only_named_files_are_within_reach(void **unused) {
    (void)unused;
    run_in_child(use_files);
}

/* --- ports --- */

static long bind_to(uint16_t port) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return bind(socket(AF_INET, SOCK_STREAM, 0), (const struct sockaddr *)&address, sizeof address);
}

static long connect_to(uint16_t port) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect(socket(AF_INET, SOCK_STREAM, 0), (const struct sockaddr *)&address,
                   sizeof address);
}

static void use_ports(const struct sandbox_state *state) {
    if (!state->ports) {
        _exit(CHILD_SKIPS);
    }
    CHECK(is_refused(bind_to(other_port), EACCES));
    CHECK(is_refused(connect_to(other_port), EACCES));
    CHECK(bind_to(listen_port) == 0 || errno == EADDRINUSE);
    CHECK(is_refused(connect_to(listen_port), ECONNREFUSED));
}

static void test_only_named_ports_are_within_reach(void **unused) {
    (void)unused;
    run_in_child(use_ports);
}

static void connect_freely(const struct sandbox_state *state) {
    if (!state->ports) {
        _exit(CHILD_SKIPS);
    }
    CHECK(is_refused(connect_to(other_port), ECONNREFUSED));
    CHECK(is_refused(bind_to(other_port), EACCES));
}

static void test_connecting_can_be_left_free(void **unused) {
    (void)unused;
    connects_anywhere = true;
    run_in_child(connect_freely);
    connects_anywhere = false;
}

static uint16_t free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int probe = socket(AF_INET, SOCK_STREAM, 0);
    bool found = bind(probe, (struct sockaddr *)&address, size) == 0 &&
                 getsockname(probe, (struct sockaddr *)&address, &size) == 0;
    close(probe);
    return found ? ntohs(address.sin_port) : 0;
}

static int make_files(void **unused) {
    (void)unused;
    listen_port = free_port();
    other_port = free_port();
    if (mkdtemp(folder) == NULL || listen_port == 0 || other_port == 0) {
        return -1;
    }
    char path[128], link[128];
    snprintf(path, sizeof path, "%s/writable", folder);
    int status = mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/readable", folder);
    status |= mkdir(path, 0700);
    int inside = open_in("readable/file", O_WRONLY | O_CREAT);
    int outside = open_in("outside", O_WRONLY | O_CREAT);
    snprintf(path, sizeof path, "%s/outside", folder);
    snprintf(link, sizeof link, "%s/writable/link", folder);
    status |= symlink(path, link);
    close(inside);
    close(outside);
    return inside < 0 || outside < 0 ? -1 : status;
}

static int remove_files(void **unused) {
    (void)unused;
    static const char *const names[] = {
        "readable/file", "writable/file", "writable/link", "outside", "writable", "readable", "."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s%s", folder, names[i][0] == '.' ? "" : "/",
                 names[i][0] == '.' ? "" : names[i]);
        remove(path);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_program_can_be_started),
        cmocka_unit_test(test_nothing_that_changes_the_machine_is_left),
        cmocka_unit_test(test_threads_memory_and_sockets_are_as_before),
        cmocka_unit_test(test_only_named_files_are_within_reach),
        cmocka_unit_test(test_only_named_ports_are_within_reach),
        cmocka_unit_test(test_connecting_can_be_left_free),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
