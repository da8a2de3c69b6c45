/* test_memory_limits.c - the container's limit is found wherever the kernel puts it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory_limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char root[64];

static int make_root(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/mistral-limits-XXXXXX");
    return mkdtemp(root) == NULL ? -1 : 0;
}

static int remove_root(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void put(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    *strrchr(full, '/') = '\0';
    assert_true(file_make_directories(full, NULL));
    full[strlen(full)] = '/';
    assert_true(file_write_atomic(full, text, strlen(text), NULL));
}

static struct memory_limits read_limits(void) {
    struct memory_limits limits;
    memory_limits_read(root, &limits);
    return limits;
}

static void the_machine_is_read(void **state) {
    (void)state;
    put("/proc/meminfo",
        "MemTotal:       8388608 kB\nMemFree: 1 kB\nMemAvailable:    4194304 kB\n");
    struct memory_limits limits = read_limits();
    assert_int_equal(limits.machine_bytes, (uint64_t)8 << 30);
    assert_int_equal(limits.available_bytes, (uint64_t)4 << 30);
    assert_int_equal(limits.cgroup_bytes, 0);
    assert_string_equal(limits.cgroup_file, "");
}

static void version_2_takes_the_least_of_the_nested_groups(void **state) {
    put("/proc/self/cgroup", "0::/a/b/c\n");
    put("/sys/fs/cgroup/a/b/c/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.max", "1073741824\n");
    put("/sys/fs/cgroup/a/memory.max", "2147483648\n");
    put("/proc/meminfo", "MemTotal:       8388608 kB\n");
    struct memory_limits limits = read_limits();
    assert_int_equal(limits.cgroup_bytes, (uint64_t)1 << 30);
    assert_non_null(strstr(limits.cgroup_file, "/sys/fs/cgroup/a/b/memory.max"));
    (void)state;
}

/* A container sees its own group as the root of the mount, under the host's path. */
static void a_mount_without_the_path_is_read_at_its_root(void **state) {
    (void)state;
    put("/proc/meminfo", "MemTotal:       8388608 kB\n");
    put("/proc/self/cgroup", "0::/docker/0123\n");
    put("/sys/fs/cgroup/memory.max", "536870912\n");
    assert_int_equal(read_limits().cgroup_bytes, 512 << 20);
}

static void version_1_is_read_and_its_no_limit_known(void **state) {
    (void)state;
    put("/proc/meminfo", "MemTotal:       8388608 kB\n");
    put("/proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory:/x/y\n2:memoryless:/z\n0::/\n");
    put("/sys/fs/cgroup/memory/x/y/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(read_limits().cgroup_bytes, 0);
    put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "268435456\n");
    assert_int_equal(read_limits().cgroup_bytes, 256 << 20);
}

static void a_limit_above_the_machine_is_none(void **state) {
    (void)state;
    put("/proc/meminfo", "MemTotal:       1048576 kB\n");
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "2147483648\n");
    assert_int_equal(read_limits().cgroup_bytes, 0);
}

static void nonsense_is_no_limit(void **state) {
    (void)state;
    put("/proc/meminfo", "MemTotal:       1048576 kB\n");
    put("/proc/self/cgroup", "\n:\n::\n0:\n0::/../../etc\nmemory\n4:memory\n");
    put("/sys/fs/cgroup/memory.max", "twelve\n");
    assert_int_equal(read_limits().cgroup_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_machine_is_read, make_root, remove_root),
        cmocka_unit_test_setup_teardown(version_2_takes_the_least_of_the_nested_groups, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(a_mount_without_the_path_is_read_at_its_root, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(version_1_is_read_and_its_no_limit_known, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(a_limit_above_the_machine_is_none, make_root, remove_root),
        cmocka_unit_test_setup_teardown(nonsense_is_no_limit, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
