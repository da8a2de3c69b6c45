/* http.c - see http.h. */
#include "hub/http.h"

#include "base/bytes.h"
#include "base/json_memory.h"
#include "hub/hub.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    HTTP_MAX_REDIRECTS = 10,
    HTTP_BUFFER_BYTES = 256 * 1024,
    HTTP_MESSAGE_BYTES = 512, /* of an error's body that are read */
};

struct transfer {
    const struct http_request *request;
    struct http_response *response;
    CURL *curl;
    bool refused;                         /* body() returned false */
    bool cancelled;                       /* cancelled() returned true */
    char message[HTTP_MESSAGE_BYTES + 1]; /* the body of an answer that is not 200 or 206 */
    size_t message_length;
};

/* OpenSSL's start reads what it had no memory for. */
static void *allocate_crypto(size_t bytes, const char *file, int line) {
    (void)file;
    (void)line;
    return bytes == 0 ? NULL : json_memory_allocate(bytes);
}

static void *reallocate_crypto(void *memory, size_t bytes, const char *file, int line) {
    (void)file;
    (void)line;
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    return realloc(memory, bytes);
}

static void free_crypto(void *memory, const char *file, int line) {
    (void)file;
    (void)line;
    free(memory);
}

void hub_set_memory(void) {
    (void)CRYPTO_set_mem_functions(allocate_crypto, reallocate_crypto, free_crypto);
}

/* Tried again by the next one when it fails. */
static bool initialise_curl(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool is_ready; /* guarded by lock */
    pthread_mutex_lock(&lock);
    is_ready = is_ready || curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    bool ready = is_ready;
    pthread_mutex_unlock(&lock);
    return ready;
}

struct hub_connection {
    CURL *curl;
};

struct hub_connection *hub_connection_create(void) {
    struct hub_connection *client = initialise_curl() ? calloc(1, sizeof *client) : NULL;
    if (client != NULL) {
        client->curl = curl_easy_init();
    }
    if (client != NULL && client->curl == NULL) {
        free(client);
        client = NULL;
    }
    return client;
}

void hub_connection_free(struct hub_connection *client) {
    if (client != NULL) {
        curl_easy_cleanup(client->curl);
        free(client);
    }
}

/* Headers. */

/* The value behind "Name:", without blanks around it; false when the header is another. */
static bool header_value(const char *line, size_t length, const char *name, char *value,
                         size_t size) {
    size_t name_length = strlen(name);
    if (length <= name_length || line[name_length] != ':' ||
        strncasecmp(line, name, name_length) != 0) {
        return false;
    }
    size_t start = name_length + 1;
    while (start < length && isspace((unsigned char)line[start])) {
        start++;
    }
    while (length > start && isspace((unsigned char)line[length - 1])) {
        length--;
    }
    snprintf(value, size, "%.*s", (int)size_min(length - start, size - 1), line + start);
    return true;
}

/* Decimal digits at the start of text; -1: none, or too many. */
static int64_t leading_number(const char *text) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    return !isdigit((unsigned char)text[0]) || errno != 0 ? -1 : value;
}

static size_t on_header(char *line, size_t size, size_t count, void *context) {
    struct transfer *transfer = context;
    struct http_response *response = transfer->response;
    size_t length = size * count;
    char value[512];
    if (length > 5 && strncmp(line, "HTTP/", 5) == 0) { /* a new answer: a redirect came before */
        response->retry_after = -1;
        response->range_start = -1;
        response->error_code[0] = '\0';
        response->challenge[0] = '\0';
        transfer->message_length = 0;
    } else if (header_value(line, length, "Retry-After", value, sizeof value)) {
        response->retry_after = leading_number(value); /* a date counts as "does not say" */
    } else if (header_value(line, length, "Content-Range", value, sizeof value)) {
        response->range_start = strncmp(value, "bytes ", 6) == 0 ? leading_number(value + 6) : -1;
    } else if (header_value(line, length, "X-Error-Code", value, sizeof value)) {
        snprintf(response->error_code, sizeof response->error_code, "%.63s", value);
    } else if (header_value(line, length, "WWW-Authenticate", value, sizeof value)) {
        snprintf(response->challenge, sizeof response->challenge, "%s", value);
    }
    return length;
}

/* Bodies. */

static size_t on_body(char *bytes, size_t size, size_t count, void *context) {
    struct transfer *transfer = context;
    size_t length = size * count;
    curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &transfer->response->status);
    long status = transfer->response->status;
    if (status == 200 || status == 206) {
        transfer->refused =
            !transfer->request->body(transfer->request->context, transfer->response, bytes, length);
        return transfer->refused ? CURL_WRITEFUNC_ERROR : length;
    }
    size_t kept = size_min(length, HTTP_MESSAGE_BYTES - transfer->message_length);
    memcpy(transfer->message + transfer->message_length, bytes, kept);
    transfer->message_length += kept;
    return length;
}

static int on_progress(void *context, curl_off_t total, curl_off_t now, curl_off_t upload_total,
                       curl_off_t upload_now) {
    (void)total, (void)now, (void)upload_total, (void)upload_now;
    struct transfer *transfer = context;
    const struct http_request *request = transfer->request;
    transfer->cancelled = request->cancelled != NULL && request->cancelled(request->context);
    return transfer->cancelled ? 1 : 0;
}

/* The request. */

static bool add_header(struct curl_slist **headers, const char *name, const char *value,
                       struct error *error) {
    struct string_buffer line = {0};
    string_buffer_append_format(&line, "%s%s", name, value);
    struct curl_slist *longer =
        line.failed ? NULL : curl_slist_append(*headers, string_buffer_text(&line));
    string_buffer_deinit(&line);
    *headers = longer == NULL ? *headers : longer;
    return longer != NULL || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a request");
}

/* A token comes from outside; a line break in it would smuggle in other headers. */
static bool make_headers(const struct http_request *request, struct curl_slist **headers,
                         struct error *error) {
    for (const char *c = request->token; c != NULL && *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~') {
            return error_set(error, ERROR_INVALID_ARGUMENT,
                             "the token for %.200s has a blank or a character in it that no token "
                             "has; check HF_TOKEN",
                             request->url);
        }
    }
    return (request->accept == NULL || add_header(headers, "Accept: ", request->accept, error)) &&
           (request->token == NULL ||
            add_header(headers, "Authorization: Bearer ", request->token, error));
}

static void set_options(CURL *curl, struct transfer *transfer, struct curl_slist *headers) {
    const struct http_request *request = transfer->request;
    bool secure = strncasecmp(request->url, "https:", 6) == 0;
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)HTTP_MAX_REDIRECTS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, (long)HTTP_BUFFER_BYTES);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "mistral.c");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers); /* not sent on to another host */
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, request->timeout_seconds);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, request->timeout_seconds);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    if (request->range_start > 0 || request->range_end > 0) {
        char range[64];
        int length =
            snprintf(range, sizeof range, "%llu-", (unsigned long long)request->range_start);
        if (request->range_end > 0) {
            snprintf(range + length, sizeof range - (size_t)length, "%llu",
                     (unsigned long long)request->range_end - 1);
        }
        curl_easy_setopt(curl, CURLOPT_RANGE, range); /* copied by libcurl */
    }
}

static bool is_transient_status(long status) {
    return status == 408 || status == 429 || status >= 500;
}

static bool is_one_of(CURLcode code, const CURLcode *codes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (codes[i] == code) {
            return true;
        }
    }
    return false;
}

/* What another attempt cannot cure. */
static const CURLcode permanent_failures[] = {
    CURLE_UNSUPPORTED_PROTOCOL,
    CURLE_URL_MALFORMAT,
    CURLE_OUT_OF_MEMORY,
    CURLE_TOO_MANY_REDIRECTS,
    CURLE_PEER_FAILED_VERIFICATION,
    CURLE_SSL_CACERT_BADFILE,
};

static const CURLcode no_connection[] = {
    CURLE_COULDNT_RESOLVE_HOST,
    CURLE_COULDNT_RESOLVE_PROXY,
    CURLE_COULDNT_CONNECT,
};

/* The server's own words, if they are text on one line. */
static void describe_status(struct transfer *transfer) {
    struct http_response *response = transfer->response;
    char *message = transfer->message;
    message[transfer->message_length] = '\0';
    bool is_text = transfer->message_length > 0 && message[0] != '<';
    for (char *c = message; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\r' || *c == '\t') {
            *c = ' ';
        } else if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            is_text = false;
        }
    }
    snprintf(response->reason, sizeof response->reason, "the server answered %ld%s%.200s",
             response->status, is_text ? ": " : "", is_text ? message : "");
}

static bool judge(struct transfer *transfer, CURLcode code, const char *details,
                  struct error *error) {
    struct http_response *response = transfer->response;
    if (transfer->cancelled) {
        return error_set(error, ERROR_CANCELLED, "cancelled");
    }
    if (transfer->refused) {
        return false;
    }
    if (code == CURLE_OK) {
        response->transient = is_transient_status(response->status);
        describe_status(transfer);
        return true;
    }
    snprintf(response->reason, sizeof response->reason, "%.250s",
             details[0] != '\0' ? details : curl_easy_strerror(code));
    response->transient = !is_one_of(code, permanent_failures,
                                     sizeof permanent_failures / sizeof permanent_failures[0]);
    response->unreachable =
        is_one_of(code, no_connection, sizeof no_connection / sizeof no_connection[0]);
    return response->transient || error_set(error, ERROR_NETWORK, "%s", response->reason);
}

bool http_get(const struct http_request *request, struct http_response *response,
              struct error *error) {
    *response = (struct http_response){.retry_after = -1, .range_start = -1};
    struct curl_slist *headers = NULL;
    struct hub_connection *own = request->client == NULL ? hub_connection_create() : NULL;
    struct hub_connection *client = request->client == NULL ? own : request->client;
    bool done = false;
    if (client == NULL) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a request");
        goto cleanup;
    }
    if (!make_headers(request, &headers, error)) {
        goto cleanup;
    }
    CURL *curl = client->curl;
    struct transfer transfer = {.request = request, .response = response, .curl = curl};
    char details[CURL_ERROR_SIZE] = "";
    curl_easy_reset(curl); /* the connections stay */
    set_options(curl, &transfer, headers);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, details);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &response->status);
    done = judge(&transfer, code, details, error) && code == CURLE_OK;
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
cleanup:
    hub_connection_free(own);
    curl_slist_free_all(headers);
    return done;
}

void http_append_escaped(struct string_buffer *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (isalnum(c) || (c != '\0' && strchr("-._~", c) != NULL)) {
            string_buffer_append_char(out, (char)c);
        } else {
            string_buffer_append_format(out, "%%%02X", c);
        }
    }
}
