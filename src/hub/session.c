/* session.c - see session.h. */
#include "hub/session.h"

#include <stdio.h>
#include <time.h>

enum {
    SESSION_MAX_FAILURES = 5,       /* in a row, before giving up */
    SESSION_MAX_WAIT_SECONDS = 120, /* that a server may ask for */
};

struct http_request session_request(struct hub_session *session, const char *url) {
    return (struct http_request){
        .url = url,
        .token = session->token,
        .timeout_seconds = (long)session->options->config->hub_timeout,
        .cancelled = session_is_cancelled,
        .context = session,
    };
}

void session_report(const struct hub_session *session, enum hub_stage stage, const char *file,
                    uint64_t done, uint64_t total, const char *note) {
    const struct hub_pull_options *options = session->options;
    if (options->progress != NULL) {
        const char *sha256 = session->sha256 == NULL ? "" : session->sha256;
        const struct hub_progress progress = {stage, file, sha256, done, total, note};
        options->progress(options->context, &progress);
    }
}

bool session_is_cancelled(void *context) {
    const struct hub_session *session = context;
    const struct hub_pull_options *options = session->options;
    return options->cancelled != NULL && options->cancelled(options->context);
}

/* In slices, so that Ctrl-C does not have to wait for the end. */
static bool wait_milliseconds(struct hub_session *session, int64_t milliseconds,
                              struct error *error) {
    const struct timespec slice = {.tv_nsec = 50 * 1000 * 1000};
    for (; milliseconds > 0; milliseconds -= 50) {
        if (session_is_cancelled(session)) {
            return error_set(error, ERROR_CANCELLED, "cancelled");
        }
        nanosleep(&slice, NULL);
    }
    return true;
}

bool session_retry_delay(const struct hub_session *session, const struct http_response *response,
                         size_t *attempt, int64_t *milliseconds, struct error *error) {
    (*attempt)++;
    if (response->retry_after > SESSION_MAX_WAIT_SECONDS) {
        return error_set(error, ERROR_NETWORK, "%s; it asks to come back in %lld seconds",
                         response->reason, (long long)response->retry_after);
    }
    if (*attempt > SESSION_MAX_FAILURES) {
        return response->unreachable
                   ? session_fail_unreachable(session, response, error)
                   : error_set(error, ERROR_NETWORK, "gave up after %d failures in a row: %s",
                               SESSION_MAX_FAILURES, response->reason);
    }
    /* 0.25 s, 0.5 s, … 4 s */
    *milliseconds =
        response->retry_after >= 0 ? response->retry_after * 1000 : 250 << (*attempt - 1);
    return true;
}

bool session_wait_to_retry(struct hub_session *session, const struct http_response *response,
                           size_t *attempt, const char *file, uint64_t done, uint64_t total,
                           struct error *error) {
    int64_t milliseconds = 0;
    if (!session_retry_delay(session, response, attempt, &milliseconds, error)) {
        return false;
    }
    session_report(session, HUB_WAITING, file, done, total, response->reason);
    return wait_milliseconds(session, milliseconds, error);
}

bool session_fail_unreachable(const struct hub_session *session,
                              const struct http_response *response, struct error *error) {
    return error_set(error, ERROR_NETWORK,
                     "cannot reach %s: %s. Check the connection (a proxy goes into https_proxy, a "
                     "mirror into %s), or put a GGUF file into %s by other means",
                     string_buffer_text(&session->endpoint), response->reason, session->mirror_name,
                     session->folder);
}
