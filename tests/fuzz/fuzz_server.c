/*
 * fuzz_server.c - any bytes as what a client sends to the whole server: every route, with a tiny
 * model.
 *
 * The first two bytes say which allocation of the program's own code fails (0: none), the rest goes
 * to a socket; what comes back must begin as an HTTP answer does, or be nothing. One server,
 * started with the first input, serves all; what an input leaves behind (a model that was made,
 * cached beginnings) the next one meets.
 *
 * The linker leads malloc and its kin through here (--wrap), also what jansson and libevent ask
 * for.
 */
/* NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the linker's names. */
#include "fuzz.h"

#include "base/file.h"
#include "base/json_memory.h"
#include "base/log.h"
#include "engine/engine.h"
#include "metrics/metrics.h"
#include "server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_INPUT = 1 << 16, WAIT_SECONDS = 15 };

/* --- the allocation that fails --- */

static _Atomic uint32_t until_failure; /* 0: none */
static _Thread_local bool is_client;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static bool fails(void) {
    uint32_t left = is_client ? 0 : atomic_load(&until_failure);
    while (left != 0 && !atomic_compare_exchange_weak(&until_failure, &left, left - 1)) {
    }
    return left == 1;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    return fails() ? NULL : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming) */

/* --- the server --- */

static char folder[] = "/tmp/fuzz-server-XXXXXX";
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t is_listening = PTHREAD_COND_INITIALIZER;
static uint16_t port; /* guarded by lock; 0: not yet */

static void fail(const char *what, const char *why) {
    fprintf(stderr, "fuzz_server: %s: %s\n", what, why);
    abort();
}

static void listening(void *context, const char *host, uint16_t bound) {
    (void)context;
    (void)host;
    pthread_mutex_lock(&lock);
    port = bound;
    pthread_cond_signal(&is_listening);
    pthread_mutex_unlock(&lock);
}

/* The model lies beside the models folder, so that no request removes it, and again in it. */
static void copy_model(const char *path) {
    char *bytes = NULL;
    size_t length = 0;
    struct error error = {0};
    if (!file_read_all(FUZZ_MODEL, 1 << 24, &bytes, &length, &error) ||
        !file_write_atomic(path, bytes, length, &error)) {
        fail("model", error.message);
    }
    free(bytes);
}

static void *serve(void *context) {
    static struct config config;
    static char models[64], served[64], again[96];
    struct server_options options = server_options_default();
    struct engine_options engine_options = engine_options_default();
    struct engine *engine = NULL;
    struct error error = {0};
    (void)context;
    snprintf(models, sizeof models, "%s/models", folder);
    snprintf(served, sizeof served, "%s/served.gguf", folder);
    snprintf(again, sizeof again, "%s/tiny.gguf", models);
    mkdir(models, 0700);
    copy_model(served);
    copy_model(again);
    config.models_path = models;
    config.default_quantization = "q5_k_m";
    config.hub_endpoint = "http://127.0.0.1:9"; /* where nothing is */
    engine_options.thread_count = 1;
    engine_options.max_total_tokens = 1024;
    options.port = 0;
    options.config = &config;
    options.engine = &engine_options;
    options.listening = listening;
    options.head_timeout = options.body_timeout = 2;
    if (!metrics_create(&options.metrics, &error) ||
        !engine_create(served, &engine_options, NULL, NULL, &engine, &error) ||
        !server_run(&options, engine, &error)) {
        fail("server", error.message);
    }
    return NULL;
}

static void start(void) {
    pthread_t thread;
    if (mkdtemp(folder) == NULL || setenv("HOME", folder, 1) != 0) {
        fail("folder", folder);
    }
    log_configure(LOG_OFF, LOG_FORMAT_JSON);
    event_set_mem_functions(__wrap_malloc, __wrap_realloc, free);
    if (pthread_create(&thread, NULL, serve, NULL) != 0) {
        fail("thread", "none");
    }
    pthread_detach(thread);
    pthread_mutex_lock(&lock);
    while (port == 0) {
        pthread_cond_wait(&is_listening, &lock);
    }
    pthread_mutex_unlock(&lock);
}

/* --- the client --- */

static int connect_to_server(void) {
    int made = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    const struct timeval wait = {.tv_sec = WAIT_SECONDS};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (made < 0 || connect(made, (struct sockaddr *)&address, sizeof address) != 0) {
        fail("the server is gone", "no connection");
    }
    return made;
}

/* Sends, says that nothing more comes, and reads to the end. */
static void exchange(const uint8_t *data, size_t size) {
    static const char beginning[] = "HTTP/1.1 ";
    int client = connect_to_server();
    char answer[4096], first[sizeof beginning - 1] = {0};
    size_t received = 0;
    ssize_t count;
    (void)!send(client, data, size, MSG_NOSIGNAL);
    shutdown(client, SHUT_WR);
    while ((count = recv(client, answer, sizeof answer, 0)) > 0) {
        for (size_t i = 0; i < (size_t)count && received + i < sizeof first; i++) {
            first[received + i] = answer[i];
        }
        received += (size_t)count;
    }
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        fail("no end of the answer", "");
    }
    size_t judged = received < sizeof first ? received : sizeof first;
    if (memcmp(first, beginning, judged) != 0) {
        fail("the answer begins otherwise", "");
    }
    close(client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool is_started;
    if (size < 2 || size > MOST_INPUT) {
        return 0;
    }
    is_client = true;
    if (!is_started) {
        start();
        is_started = true;
    }
    atomic_store(&until_failure, (uint32_t)data[0] | (uint32_t)data[1] << 8);
    exchange(data + 2, size - 2);
    atomic_store(&until_failure, 0);
    return 0;
}
