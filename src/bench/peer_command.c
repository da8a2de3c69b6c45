/* peer_command.c - see peer_command.h. The command runs in a process group of its own, so that a
 * wrapper script is ended together with what it started. */
#include "bench/peer_command.h"

#include "base/clock.h"
#include "base/json_memory.h"
#include "base/string_buffer.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ; // NOLINT(readability-redundant-declaration): macOS declares none

enum {
    MOST_WORDS = 256,
    MOST_OPTIONS = 16,       /* those of a test */
    OUTPUT_LIMIT = 16 << 20, /* of the JSON */
    COMPLAINT_LIMIT = 1 << 12,
    MOST_SHOWN = 300, /* bytes of the last complaint */
    LOOK_MS = 50,     /* from look to look whether it ended, or is to end */
};

#define BLANKS        " \t\r\n"
#define GRACE_SECONDS 2.0 /* from SIGTERM to SIGKILL */

struct peer_command {
    char *text;                    /* the words, each with its NUL; owned */
    const char *words[MOST_WORDS]; /* [count], in text */
    size_t count;
    char program[4096]; /* its path */
    bool has_no_depth;  /* it has -gp and no -d: a context comes before answers only */
};

/* --- the command line --- */

/* Copies one word to *out, without its quotes. False when a quote is not closed. */
static bool copy_word(const char **text, char **out) {
    const char *at = *text;
    char quote = '\0';
    for (; *at != '\0' && (quote != '\0' || strchr(BLANKS, *at) == NULL); at++) {
        if (*at == quote) {
            quote = '\0';
        } else if (quote == '\0' && (*at == '\'' || *at == '"')) {
            quote = *at;
        } else {
            bool escapes = *at == '\\' && at[1] != '\0' && quote != '\'' &&
                           (quote == '\0' || at[1] == '"' || at[1] == '\\');
            at += escapes;
            *(*out)++ = *at;
        }
    }
    *(*out)++ = '\0';
    *text = at;
    return quote == '\0';
}

static bool split(struct peer_command *command, const char *text, struct error *error) {
    command->text = malloc(strlen(text) + 1); /* a word and its NUL take no more than they did */
    char *out = command->text;
    if (out == NULL) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the command");
        return false;
    }
    for (text += strspn(text, BLANKS); *text != '\0'; text += strspn(text, BLANKS)) {
        if (command->count == MOST_WORDS) {
            return error_set(error, ERROR_INVALID_ARGUMENT, "more than %d words", MOST_WORDS);
        }
        command->words[command->count++] = out;
        if (!copy_word(&text, &out)) {
            return error_set(error, ERROR_INVALID_ARGUMENT, "a quote is not closed");
        }
    }
    if (command->count == 0) {
        error_set(error, ERROR_INVALID_ARGUMENT, "the command is empty");
        return false;
    }
    return true;
}

static bool is_program(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

/* Before anything is measured, not when its turn comes. */
static bool find_program(struct peer_command *command, struct error *error) {
    const char *name = command->words[0];
    const char *folders = strchr(name, '/') != NULL ? "" : getenv("PATH");
    for (const char *at = folders; at != NULL;) {
        int length = (int)strcspn(at, ":");
        int used = snprintf(command->program, sizeof command->program, "%.*s%s%s", length, at,
                            length > 0 ? "/" : "", name);
        if (used < (int)sizeof command->program && is_program(command->program)) {
            return true;
        }
        at = at[length] == ':' ? at + length + 1 : NULL;
    }
    return error_set(error, ERROR_NOT_FOUND, "there is no program '%.200s'", name);
}

bool peer_command_create(const char *text, struct peer_command **command, struct error *error) {
    struct peer_command *made = calloc(1, sizeof *made);
    *command = NULL;
    if (made == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the command");
    }
    if (!split(made, text, error) || !find_program(made, error)) {
        peer_command_free(made);
        return false;
    }
    *command = made;
    return true;
}

void peer_command_free(struct peer_command *command) {
    if (command != NULL) {
        free(command->text);
        free(command);
    }
}

/* --- the process --- */

struct child {
    pid_t process; /* and its group */
    bool ended;
    int status;           /* of waitpid, once it ended */
    bool cancelled;       /* it was told to end */
    int64_t cancelled_ns; /* when */
    int files[2];         /* of its output and its complaints; -1: closed */
    struct string_buffer texts[2];
};

enum { OUTPUT, COMPLAINTS };

static bool spawn(const char *program, const char *const *words, int output, int complaints,
                  pid_t *process) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t signals;
    int status = posix_spawn_file_actions_init(&actions);
    if (status != 0) {
        errno = status;
        return false;
    }
    status = posix_spawnattr_init(&attributes);
    if (status == 0) {
        sigemptyset(&signals);
        sigaddset(&signals, SIGPIPE);
        posix_spawnattr_setsigdefault(&attributes, &signals);
        posix_spawnattr_setpgroup(&attributes, 0);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
        status = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        status = status == 0 ? posix_spawn_file_actions_adddup2(&actions, output, 1) : status;
        status = status == 0 ? posix_spawn_file_actions_adddup2(&actions, complaints, 2) : status;
        status = status == 0 ? posix_spawn(process, program, &actions, &attributes,
                                           (char *const *)words, environ)
                             : status;
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    errno = status;
    return status == 0;
}

static void close_files(int files[2]) {
    for (size_t i = 0; i < 2; i++) {
        if (files[i] >= 0) {
            close(files[i]);
            files[i] = -1;
        }
    }
}

static bool make_pipe(int ends[2]) {
    if (pipe(ends) != 0) {
        ends[0] = ends[1] = -1;
        return false;
    }
    return fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0;
}

static bool child_start(struct child *child, const char *program, const char *const *words,
                        struct error *error) {
    int output[2] = {-1, -1}, complaints[2] = {-1, -1};
    bool done = make_pipe(output) && make_pipe(complaints) &&
                spawn(program, words, output[1], complaints[1], &child->process);
    if (done) {
        child->files[OUTPUT] = output[0];
        child->files[COMPLAINTS] = complaints[0];
        output[0] = complaints[0] = -1;
    } else {
        error_set_errno(error, errno, "cannot start '%.200s'", program);
    }
    close_files(output);
    close_files(complaints);
    return done;
}

/* Takes what a pipe has: of the output the first bytes, and one more than allowed to tell; of the
 * complaints the last. */
static void child_read(struct child *child, size_t which) {
    char bytes[4096];
    struct string_buffer *text = &child->texts[which];
    ssize_t length = read(child->files[which], bytes, sizeof bytes);
    if (length <= 0) {
        if (length == 0 || (errno != EINTR && errno != EAGAIN)) {
            close(child->files[which]);
            child->files[which] = -1;
        }
        return;
    }
    if (which == COMPLAINTS && text->length > COMPLAINT_LIMIT) {
        memmove(text->data, text->data + text->length - COMPLAINT_LIMIT, COMPLAINT_LIMIT + 1);
        text->length = COMPLAINT_LIMIT;
    }
    if (text->length <= OUTPUT_LIMIT) {
        string_buffer_append(text, bytes, (size_t)length);
    }
}

static void child_cancel(struct child *child) {
    int64_t now = clock_now_ns();
    if (!child->cancelled) {
        child->cancelled = true;
        child->cancelled_ns = now;
        kill(-child->process, SIGTERM);
    } else if (clock_seconds(now - child->cancelled_ns) > GRACE_SECONDS) {
        kill(-child->process, SIGKILL);
    }
}

/* Reads until the process has ended and its pipes have no more: what it may have left behind could
 * hold them open for ever. */
static void child_finish(struct child *child, bool (*cancelled)(void)) {
    for (bool quiet = false; !(child->ended && quiet);) {
        if (cancelled != NULL && cancelled()) {
            child_cancel(child);
        }
        if (!child->ended) {
            pid_t found = waitpid(child->process, &child->status, WNOHANG);
            child->ended = found == child->process || (found < 0 && errno == ECHILD);
        }
        struct pollfd polls[2] = {{.fd = child->files[OUTPUT], .events = POLLIN},
                                  {.fd = child->files[COMPLAINTS], .events = POLLIN}};
        quiet = poll(polls, 2, child->ended ? 0 : LOOK_MS) <= 0;
        for (size_t i = 0; !quiet && i < 2; i++) {
            if (polls[i].revents != 0) {
                child_read(child, i);
            }
        }
    }
    if (child->cancelled) {
        kill(-child->process, SIGKILL); /* what the command itself did not take along */
    }
    close_files(child->files);
}

/* --- what it said --- */

/* The last line with anything in it, fit for a terminal. */
static void last_complaint(const struct string_buffer *complaints, char *line, size_t size) {
    const char *text = string_buffer_text(complaints);
    size_t end = complaints->length, used = 0;
    while (end > 0 && strchr(BLANKS, text[end - 1]) != NULL) {
        end--;
    }
    size_t at = end;
    while (at > 0 && text[at - 1] != '\n' && text[at - 1] != '\r') {
        at--;
    }
    while (at < end && used + 5 < size) {
        uint32_t code_point = '?';
        size_t length = utf8_decode(text + at, end - at, &code_point);
        at += length > 0 ? length : 1;
        bool is_control = code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0);
        used += utf8_encode(is_control ? ' ' : length > 0 ? code_point : '?', line + used);
    }
    line[used] = '\0';
}

/* False when the command failed. */
static bool judge_end(const struct peer_command *command, const struct child *child,
                      struct error *error) {
    char complaint[MOST_SHOWN], how[64];
    if (child->cancelled) {
        return error_set(error, ERROR_CANCELLED, "interrupted");
    }
    if (WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0) {
        return true;
    }
    if (WIFSIGNALED(child->status)) {
        snprintf(how, sizeof how, "was ended by signal %d", WTERMSIG(child->status));
    } else {
        snprintf(how, sizeof how, "failed with exit code %d", WEXITSTATUS(child->status));
    }
    last_complaint(&child->texts[COMPLAINTS], complaint, sizeof complaint);
    return error_set(error, ERROR_IO, "'%.200s' %s%s%s", command->words[0], how,
                     complaint[0] == '\0' ? "" : ": ", complaint);
}

/* How a test is asked for, and what its result says that it was. */
struct question {
    size_t prompt, generated, depth; /* n_prompt, n_gen, n_depth */
    char texts[3][48];
    const char *options[MOST_OPTIONS + 1]; /* the last is NULL */
};

static void ask(const struct peer_command *command, const struct engine_bench_test *test,
                struct question *question) {
    size_t prompt = test->generates ? 0 : test->length;
    size_t generated = test->generates ? test->length : 0;
    char(*texts)[sizeof question->texts[0]] = question->texts;
    *question =
        (struct question){prompt, generated, test->depth, .options = {"-r", "1", "-o", "json"}};
    const char **more = question->options + 4;
    if (test->depth > 0 && command->has_no_depth) {
        question->prompt = test->depth;
        question->depth = prompt = generated = 0;
        snprintf(texts[2], sizeof texts[2], "%zu,%zu", test->depth, test->length);
        *more++ = "-gp";
        *more++ = texts[2];
    } else if (test->depth > 0) {
        snprintf(texts[2], sizeof texts[2], "%zu", test->depth);
        *more++ = "-d";
        *more++ = texts[2];
    }
    snprintf(texts[0], sizeof texts[0], "%zu", prompt);
    snprintf(texts[1], sizeof texts[1], "%zu", generated);
    memcpy(more, (const char *const[]){"-p", texts[0], "-n", texts[1]}, 4 * sizeof *more);
}

/* A number of the result that is there and is another than was asked for. */
static bool differs(const json_t *result, const char *key, size_t asked) {
    const json_t *value = json_object_get(result, key);
    return json_is_integer(value) && json_integer_value(value) != (json_int_t)asked;
}

/* The JSON that was printed: an array, or its last object where something else stands between, as
 * ik_llama.cpp tells on standard output what it does while it loads. NULL: none. */
static json_t *parse(const struct string_buffer *output) {
    const char *text = string_buffer_text(output);
    json_t *document = json_guarded(json_loadb, text, output->length, 0, NULL);
    const char *last = strrchr(text, '{');
    if (document == NULL && last != NULL) {
        json_t *object = json_guarded(json_loadb, last, strlen(last), JSON_DISABLE_EOF_CHECK, NULL);
        document = object == NULL ? NULL : json_pack("[o]", object);
    }
    return document;
}

static bool read_speed(const struct peer_command *command, const struct question *asked,
                       const struct string_buffer *output, double *speed, struct error *error) {
    const char *name = command->words[0];
    if (output->failed || output->length > OUTPUT_LIMIT) {
        return error_set(error, ERROR_FORMAT, "'%.200s' printed more than %d MiB", name,
                         OUTPUT_LIMIT >> 20);
    }
    json_t *document = parse(output);
    const json_t *result = json_array_get(document, json_array_size(document) - 1);
    const json_t *average = json_object_get(result, "avg_ts");
    double value = json_number_value(average);
    bool done = false;
    if (document == NULL) {
        error_set(error, ERROR_FORMAT, "'%.200s' printed no JSON: does it take '-o json'?", name);
    } else if (!json_is_number(average) || !(value > 0) || !isfinite(value)) {
        error_set(error, ERROR_FORMAT,
                  "the JSON of '%.200s' has no speed: avg_ts of its last element", name);
    } else if (differs(result, "n_prompt", asked->prompt) ||
               differs(result, "n_gen", asked->generated) ||
               differs(result, "n_depth", asked->depth)) {
        error_set(error, ERROR_FORMAT,
                  "'%.200s' measured another test last: leave -p, -n, -pg, -gp and -d to us", name);
    } else {
        *speed = value;
        done = true;
    }
    json_decref(document);
    return done;
}

/* Runs the command with more words behind it, to its end. False when it could not be started. */
static bool run(const struct peer_command *command, const char *const *options,
                bool (*cancelled)(void), struct child *child, struct error *error) {
    const char *words[MOST_WORDS + MOST_OPTIONS + 1];
    size_t used = command->count;
    memcpy(words, command->words, used * sizeof *words);
    for (size_t i = 0; options[i] != NULL; i++) {
        words[used++] = options[i];
    }
    words[used] = NULL;
    *child = (struct child){.files = {-1, -1}};
    if (!child_start(child, command->program, words, error)) {
        return false;
    }
    child_finish(child, cancelled);
    return true;
}

static void child_deinit(struct child *child) {
    string_buffer_deinit(&child->texts[OUTPUT]);
    string_buffer_deinit(&child->texts[COMPLAINTS]);
}

/* Its help says what it has: llama.cpp's -d (--n-depth), or ik_llama.cpp's -gp. A program that does
 * not tell is taken for the former. */
static bool learn_contexts(struct peer_command *command, bool (*cancelled)(void),
                           struct error *error) {
    struct child child;
    if (!run(command, (const char *const[]){"--help", NULL}, cancelled, &child, error)) {
        return false;
    }
    bool ended = !child.cancelled;
    const char *help = string_buffer_text(&child.texts[OUTPUT]);
    command->has_no_depth = strstr(help, " -gp ") != NULL && strstr(help, "--n-depth") == NULL;
    child_deinit(&child);
    return ended || error_set(error, ERROR_CANCELLED, "interrupted");
}

bool peer_command_check(struct peer_command *command, const struct engine_bench_test *tests,
                        size_t count, bool (*cancelled)(void), struct error *error) {
    bool learned = false;
    for (size_t i = 0; i < count; i++) {
        if (tests[i].depth == 0) {
            continue;
        }
        if (!learned && !learn_contexts(command, cancelled, error)) {
            return false;
        }
        learned = true;
        if (command->has_no_depth && !tests[i].generates) {
            return error_set(error, ERROR_INVALID_ARGUMENT,
                             "'%.200s' has no -d and cannot read a prompt after a context: ask for "
                             "--prompt 0 with --depth",
                             command->words[0]);
        }
    }
    return true;
}

bool peer_command_run(struct peer_command *command, const struct engine_bench_test *test,
                      bool (*cancelled)(void), double *tokens_a_second, struct error *error) {
    struct question question;
    struct child child;
    ask(command, test, &question);
    if (!run(command, question.options, cancelled, &child, error)) {
        return false;
    }
    bool done = judge_end(command, &child, error) &&
                read_speed(command, &question, &child.texts[OUTPUT], tokens_a_second, error);
    child_deinit(&child);
    return done;
}
