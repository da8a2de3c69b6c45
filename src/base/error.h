/*
 * error.h - the one way a function of this program says what went wrong.
 *
 * A function that can fail returns bool and takes a `struct error *` as its last argument. True:
 * the error is untouched. False: code and message are set, and everything the function had acquired
 * is released. Library code never prints and never exits; whoever owns the terminal or the socket
 * does. A message names the file, line, offset or field at fault, and where possible the way out.
 */
#ifndef MISTRAL_BASE_ERROR_H
#define MISTRAL_BASE_ERROR_H

#include <stdbool.h>

enum error_code {
    ERROR_NONE = 0,
    ERROR_INVALID_ARGUMENT, /* the caller's input is wrong: a bad option, request, or value */
    ERROR_NOT_FOUND,        /* a named thing (file, model, key) does not exist */
    ERROR_FORMAT,           /* bytes from outside do not follow their format */
    ERROR_UNSUPPORTED,      /* well-formed, but not something this program can do */
    ERROR_IO,               /* the operating system refused a read, write, map or socket call */
    ERROR_NO_SPACE,         /* the disk is full */
    ERROR_OUT_OF_MEMORY,    /* an allocation failed, or the memory plan does not fit */
    ERROR_NETWORK,          /* a remote host could not be reached or answered wrongly */
    ERROR_CONTEXT_LENGTH,   /* a prompt does not fit the model's or the server's context */
    ERROR_BUSY,             /* a bounded queue is full; try again later */
    ERROR_CANCELLED,        /* stopped because somebody asked for it */
};

struct error {
    enum error_code code;
    char message[1024]; /* UTF-8, one line, no trailing newline; cut when longer */
};

/* Sets the error and returns false, so that `return error_set(...)` reads as one step.
 * A NULL error is allowed and means that the caller does not want the reason. */
bool error_set(struct error *error, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the message that is already there. Returns false. */
bool error_prefix(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* As error_set, with ERROR_NO_SPACE, ERROR_NOT_FOUND, ERROR_OUT_OF_MEMORY or ERROR_IO chosen from
 * errno, and ": <strerror>" appended. */
bool error_set_errno(struct error *error, int error_number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
