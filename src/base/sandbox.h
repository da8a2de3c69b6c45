/*
 * sandbox.h - what this process may still do: which files, which ports, which system calls.
 *
 * Linux only: Landlock (from 5.19) for files, its ports (from 6.7), and a seccomp filter. Neither
 * needs a privilege, and neither can be taken back: call it once, before other threads exist, which
 * all inherit it. What is open already stays usable. Elsewhere, and in a build with a sanitizer
 * (whose own reports need what is denied here), nothing happens and the state says why.
 */
#ifndef MISTRAL_BASE_SANDBOX_H
#define MISTRAL_BASE_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file, or a folder with all below it. One that does not exist is passed over. */
struct sandbox_path {
    const char *path;
    bool writable; /* created, written, renamed and removed there too */
};

/* Everything that is not named is denied; nothing may be executed in any case. */
struct sandbox_rules {
    const struct sandbox_path *paths; /* [path_count] */
    size_t path_count;
    const uint16_t *listen_ports; /* [listen_count] of TCP; 0: any free one that the kernel picks */
    size_t listen_count;
    const uint16_t *connect_ports; /* [connect_count] of TCP, on any address */
    size_t connect_count;
    bool connects_anywhere; /* to every port instead */
};

/* What is on afterwards. */
struct sandbox_state {
    bool files;         /* Landlock: paths */
    bool ports;         /* Landlock: TCP ports; false also where the kernel's Landlock knows none */
    bool system_calls;  /* the filter */
    int landlock;       /* the kernel's version of it; 0: none */
    const char *reason; /* why `files` or `system_calls` is not on; NULL: both are */
};

/* Turns on what the kernel has. Never fails: the state tells. */
void sandbox_enter(const struct sandbox_rules *rules, struct sandbox_state *state);

/* sandbox_filter.c: the filter alone; false with errno. After it these fail with EPERM (clone3 with
 * ENOSYS, a socket of another family with EAFNOSUPPORT): starting a program or a process, looking
 * into another process, everything that changes the machine, and whole subsystems that a server
 * never needs. */
bool sandbox_filter_calls(void);

#endif
