/*
 * sandbox_filter.c - see sandbox.h: the filter of system calls, as a program of classic BPF.
 *
 * A list of what is denied, not of what is allowed: C libraries, libcurl and OpenSSL use other
 * calls from version to version, and a server that dies of one in the field helps nobody. What is
 * denied is what a server has no use for and an intruder has. Code pages stay as they are: PCRE2
 * compiles patterns to machine code whenever a model is loaded, with pages that are writable and
 * executable, so mmap and mprotect cannot be refused that here.
 */
#include "base/sandbox.h"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#define FOREIGN_CALLS    0x40000000u /* the x32 numbers begin here */
#else
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#define FOREIGN_CALLS    0x80000000u /* none */
#endif

static const uint32_t denied_calls[] = {
    /* another program in this process's place, or beside it */
    SYS_execve,
    SYS_execveat,
#if defined(SYS_fork)
    SYS_fork,
    SYS_vfork,
#endif
    /* looking into another process */
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_pidfd_getfd,
    SYS_pidfd_open,
    SYS_process_madvise,
    /* another user, another root, other mounts */
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setfsuid,
    SYS_setfsgid,
    SYS_setgroups,
    SYS_capset,
    SYS_chroot,
    SYS_pivot_root,
    SYS_unshare,
    SYS_setns,
    SYS_mount,
    SYS_umount2,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
#if defined(SYS_mount_setattr)
    SYS_mount_setattr,
#endif
    SYS_open_by_handle_at,
    SYS_name_to_handle_at,
    SYS_fanotify_init,
    SYS_quotactl,
    SYS_mknodat,
    SYS_fchownat,
    SYS_fchown,
#if defined(SYS_mknod)
    SYS_mknod,
    SYS_chown,
    SYS_lchown,
#endif
    /* the machine */
    SYS_reboot,
    SYS_kexec_load,
#if defined(SYS_kexec_file_load)
    SYS_kexec_file_load,
#endif
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_syslog,
    SYS_vhangup,
    SYS_personality,
#if defined(SYS_iopl)
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
    SYS_uselib,
    SYS_ustat,
#endif
    /* subsystems with a history */
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_vmsplice,
    SYS_lookup_dcookie,
    SYS_nfsservctl,
    SYS_remap_file_pages,
    SYS_shmget,
    SYS_shmat,
    SYS_shmctl,
    SYS_semget,
    SYS_semctl,
    SYS_semop,
    SYS_msgget,
    SYS_msgctl,
    SYS_msgsnd,
    SYS_msgrcv,
    SYS_mq_open,
    SYS_mq_unlink,
};

/* What remains: IP, names within the machine (resolvers), and the kernel's list of addresses
 * (getaddrinfo). */
static const uint32_t allowed_families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

/* Characters typed into the terminal that started the server. */
static const uint32_t denied_ioctls[] = {TIOCSTI, 0x541C /* TIOCLINUX */};

enum {
    DENIED_COUNT = sizeof denied_calls / sizeof denied_calls[0],
    FAMILY_COUNT = sizeof allowed_families / sizeof allowed_families[0],
    IOCTL_COUNT = sizeof denied_ioctls / sizeof denied_ioctls[0],
    PROGRAM_SIZE = 2 * DENIED_COUNT + 2 * (2 * FAMILY_COUNT + 3) + 2 * IOCTL_COUNT + 32,
    SYS_CLONE3 = 435, /* the same on all processors */
};

struct program {
    struct sock_filter steps[PROGRAM_SIZE];
    unsigned short length; /* one more than there is room for: something was lost */
};

static void add(struct program *program, struct sock_filter step) {
    if (program->length < PROGRAM_SIZE) {
        program->steps[program->length] = step;
    }
    if (program->length <= PROGRAM_SIZE) {
        program->length++;
    }
}

static void load(struct program *program, size_t offset) {
    add(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

static void answer(struct program *program, uint32_t what) {
    add(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, what));
}

static void fail_with(struct program *program, int reason) {
    answer(program, SECCOMP_RET_ERRNO | (uint32_t)reason);
}

/* The next `steps` are passed over unless what was loaded is `value`. */
static void unless_equal_skip(struct program *program, uint32_t value, uint8_t steps) {
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, steps));
}

static void deny_listed(struct program *program) {
    for (size_t i = 0; i < DENIED_COUNT; i++) {
        unless_equal_skip(program, denied_calls[i], 1);
        fail_with(program, EPERM);
    }
    /* Its flags are in memory, where a filter cannot look: C libraries then use clone. */
    unless_equal_skip(program, SYS_CLONE3, 1);
    fail_with(program, ENOSYS);
}

/* A thread is a clone that shares all; anything else is a process. The low half of the first
 * argument: both processors are little-endian. */
static void deny_processes(struct program *program) {
    unless_equal_skip(program, SYS_clone, 4);
    load(program, offsetof(struct seccomp_data, args[0]));
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0));
    fail_with(program, EPERM);
    answer(program, SECCOMP_RET_ALLOW);
}

static void deny_families(struct program *program, uint32_t call) {
    unless_equal_skip(program, call, 2 * FAMILY_COUNT + 2);
    load(program, offsetof(struct seccomp_data, args[0]));
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        unless_equal_skip(program, allowed_families[i], 1);
        answer(program, SECCOMP_RET_ALLOW);
    }
    fail_with(program, EAFNOSUPPORT);
}

static void deny_ioctls(struct program *program) {
    unless_equal_skip(program, SYS_ioctl, 2 * IOCTL_COUNT + 2);
    load(program, offsetof(struct seccomp_data, args[1]));
    for (size_t i = 0; i < IOCTL_COUNT; i++) {
        unless_equal_skip(program, denied_ioctls[i], 1);
        fail_with(program, EPERM);
    }
    answer(program, SECCOMP_RET_ALLOW);
}

bool sandbox_filter_calls(void) {
    struct program program = {.length = 0};
    load(&program, offsetof(struct seccomp_data, arch));
    add(&program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCHITECTURE, 1, 0));
    fail_with(&program, EPERM);
    load(&program, offsetof(struct seccomp_data, nr));
    add(&program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FOREIGN_CALLS, 0, 1));
    fail_with(&program, EPERM);
    deny_listed(&program);
    deny_processes(&program);
    deny_families(&program, SYS_socket);
    deny_families(&program, SYS_socketpair);
    deny_ioctls(&program);
    answer(&program, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {.len = program.length, .filter = program.steps};
    if (program.length > PROGRAM_SIZE || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return false;
    }
    /* Without the second flag kernels before 5.16 slow the whole process down for the filter's
     * sake. */
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                   SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) == 0;
}

#else

#include <errno.h>

bool sandbox_filter_calls(void) {
    errno = ENOSYS;
    return false;
}

#endif
