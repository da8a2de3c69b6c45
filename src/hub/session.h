/*
 * session.h - what the steps of one pull share: where to ask, whom to tell, when to give up.
 * Private to hub/.
 */
#ifndef MISTRAL_HUB_SESSION_H
#define MISTRAL_HUB_SESSION_H

#include "hub/http.h"
#include "hub/hub.h"

struct hub_session {
    const struct hub_pull_options *options;
    const char *folder;            /* the models folder */
    struct string_buffer endpoint; /* no slash at its end */
    const char *token;             /* for the endpoint; NULL: none */
    const char *mirror_name;       /* the variable that names another endpoint */
    const char *sha256;            /* of the file that is being fetched, for progress; NULL: none */
};

/* Fills a request with the session's token, timeout and cancellation. */
struct http_request session_request(struct hub_session *session, const char *url);

void session_report(const struct hub_session *session, enum hub_stage stage, const char *file,
                    uint64_t done, uint64_t total, const char *note);

/* Has the shape that http_request wants; the context is a session. */
bool session_is_cancelled(void *session);

/* The same without waiting, and without telling anybody: how long it would be. Any thread. */
bool session_retry_delay(const struct hub_session *session, const struct http_response *response,
                         size_t *attempt, int64_t *milliseconds, struct error *error);

/* After a transient failure, the *attempt-th in a row: waits as long as the server asks, or longer
 * each time, and returns true; or gives up with an error. *attempt starts at 0. */
bool session_wait_to_retry(struct hub_session *session, const struct http_response *response,
                           size_t *attempt, const char *file, uint64_t done, uint64_t total,
                           struct error *error);

/* ERROR_NETWORK: what happened, and what can be done about it. Returns false. */
bool session_fail_unreachable(const struct hub_session *session,
                              const struct http_response *response, struct error *error);

#endif
