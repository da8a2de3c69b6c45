/*
 * sandbox.c - see sandbox.h: Landlock, by its system calls.
 *
 * Numbers and layouts are the kernel's (Documentation/userspace-api/landlock.rst); they stand here
 * because a distribution's headers are older than the kernels that its programs meet.
 */
#include "base/sandbox.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#endif

#if !defined(__linux__)

void sandbox_enter(const struct sandbox_rules *rules, struct sandbox_state *state) {
    (void)rules;
    *state = (struct sandbox_state){.reason = "not applicable: Landlock and seccomp are Linux's"};
}

#elif defined(HAS_SANITIZER)

void sandbox_enter(const struct sandbox_rules *rules, struct sandbox_state *state) {
    (void)rules;
    *state = (struct sandbox_state){.reason = "not applicable: this build has a sanitizer"};
}

#else

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same on all processors. */
enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446 };
enum { ASK_VERSION = 1 };
enum { RULE_PATH_BENEATH = 1, RULE_NET_PORT = 2 };
enum { SCOPE_ABSTRACT_SOCKETS = 1, SCOPE_SIGNALS = 2 };
enum { PORT_LISTEN = 1, PORT_CONNECT = 2 };

/* Before 2 a file could not be renamed into another folder, which the models folder needs. */
enum { VERSION_RENAME = 2, VERSION_TRUNCATE, VERSION_PORTS, VERSION_IOCTL, VERSION_SCOPES };

enum {
    EXECUTE = 1 << 0,
    WRITE_FILE = 1 << 1,
    READ_FILE = 1 << 2,
    READ_FOLDER = 1 << 3,
    REMOVE_FOLDER = 1 << 4,
    REMOVE_FILE = 1 << 5,
    MAKE_FOLDER = 1 << 7,
    MAKE_FILE = 1 << 8,
    MAKE_LINK = 1 << 12,
    UP_TO_RENAME = (1 << 14) - 1, /* all of version 2; devices, sockets and pipes among them */
    RENAME = 1 << 13,
    TRUNCATE = 1 << 14,
    IOCTL = 1 << 15,
};

struct ruleset {
    uint64_t files, ports, scopes;
};

struct path_rule {
    uint64_t allowed;
    int32_t folder;
} __attribute__((packed));

struct port_rule {
    uint64_t allowed, port;
};

static uint64_t known_rights(int version) {
    return UP_TO_RENAME | (version >= VERSION_TRUNCATE ? (uint64_t)TRUNCATE : 0) |
           (version >= VERSION_IOCTL ? (uint64_t)IOCTL : 0);
}

static uint64_t rights_of(const struct sandbox_path *path, bool is_folder) {
    uint64_t rights = READ_FILE | (is_folder ? (uint64_t)READ_FOLDER : 0);
    if (path->writable) {
        rights |= WRITE_FILE | TRUNCATE;
        rights |= is_folder ? (uint64_t)(REMOVE_FOLDER | REMOVE_FILE | MAKE_FOLDER | MAKE_FILE |
                                         MAKE_LINK | RENAME)
                            : 0;
    }
    return rights;
}

/* False: the rule was refused, and the path would be lost. */
static bool allow_path(int ruleset, const struct sandbox_path *path, uint64_t known) {
    struct stat status;
    int file = open(path->path, O_PATH | O_CLOEXEC);
    if (file < 0) {
        return true; /* what is not there cannot be asked for */
    }
    bool done = fstat(file, &status) == 0;
    if (done) {
        struct path_rule rule = {.allowed = rights_of(path, S_ISDIR(status.st_mode)) & known,
                                 .folder = file};
        done = syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0) == 0;
    }
    close(file);
    return done;
}

static bool allow_ports(int ruleset, const uint16_t *ports, size_t count, uint64_t right) {
    for (size_t i = 0; i < count; i++) {
        struct port_rule rule = {.allowed = right, .port = ports[i]};
        if (syscall(ADD_RULE, ruleset, RULE_NET_PORT, &rule, 0) != 0) {
            return false;
        }
    }
    return true;
}

static bool add_rules(int ruleset, const struct sandbox_rules *rules, int version) {
    for (size_t i = 0; i < rules->path_count; i++) {
        if (!allow_path(ruleset, &rules->paths[i], known_rights(version))) {
            return false;
        }
    }
    return version < VERSION_PORTS ||
           (allow_ports(ruleset, rules->listen_ports, rules->listen_count, PORT_LISTEN) &&
            (rules->connects_anywhere ||
             allow_ports(ruleset, rules->connect_ports, rules->connect_count, PORT_CONNECT)));
}

static void restrict_files_and_ports(const struct sandbox_rules *rules,
                                     struct sandbox_state *state) {
    long version = syscall(CREATE_RULESET, NULL, (size_t)0, ASK_VERSION);
    if (version < VERSION_RENAME) {
        state->reason = version < 0 ? "this kernel has no Landlock, or it is turned off"
                                    : "this kernel's Landlock is too old (5.19 is needed)";
        return;
    }
    state->landlock = (int)version;
    struct ruleset handled = {.files = known_rights((int)version),
                              .ports = PORT_LISTEN | (rules->connects_anywhere ? 0U : PORT_CONNECT),
                              .scopes = SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS};
    size_t size = version >= VERSION_SCOPES  ? sizeof handled
                  : version >= VERSION_PORTS ? 2 * sizeof(uint64_t)
                                             : sizeof(uint64_t);
    int ruleset = (int)syscall(CREATE_RULESET, &handled, size, 0);
    state->files = ruleset >= 0 && add_rules(ruleset, rules, (int)version) &&
                   syscall(RESTRICT_SELF, ruleset, 0) == 0;
    if (ruleset >= 0) {
        close(ruleset);
    }
    state->ports = state->files && version >= VERSION_PORTS;
    if (!state->files) {
        state->reason = "Landlock refused the rules";
    }
}

void sandbox_enter(const struct sandbox_rules *rules, struct sandbox_state *state) {
    *state = (struct sandbox_state){0};
    /* Both ask for it: no program that could be started would gain a right (setuid). */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        state->reason = "the kernel does not know no_new_privs";
        return;
    }
    restrict_files_and_ports(rules, state);
    state->system_calls = sandbox_filter_calls();
    if (!state->system_calls && state->reason == NULL) {
        state->reason = "the kernel refused the filter of system calls";
    }
}

#endif
