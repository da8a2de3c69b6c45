/* error.c - see error.h. Touches nothing but the struct it is given; safe on any thread. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool error_set(struct error *error, enum error_code code, const char *format, ...) {
    if (error == NULL) {
        return false;
    }
    /* Formatted into a copy first: an argument may point into the old message. */
    char message[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    error->code = code;
    memcpy(error->message, message, sizeof message);
    return false;
}

bool error_prefix(struct error *error, const char *format, ...) {
    if (error == NULL) {
        return false;
    }
    char prefix[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    return error_set(error, error->code, "%s: %s", prefix, error->message);
}

static enum error_code code_from_errno(int error_number) {
    switch (error_number) {
    case ENOSPC:
    case EFBIG: /* larger than this process may write, or the file system can hold */
#ifdef EDQUOT
    case EDQUOT:
#endif
        return ERROR_NO_SPACE;
    case ENOENT:
        return ERROR_NOT_FOUND;
    case ENOMEM:
        return ERROR_OUT_OF_MEMORY;
    default:
        return ERROR_IO;
    }
}

bool error_set_errno(struct error *error, int error_number, const char *format, ...) {
    if (error == NULL) {
        return false;
    }
    char what[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return error_set(error, code_from_errno(error_number), "%s: %s", what, strerror(error_number));
}
