/*
 * chat.c - a chat at the terminal: line editing and history by libedit, a few commands, answers as
 * they come. Main thread.
 *
 * At the prompt Ctrl-C is an ordinary key (the line is dropped; twice on an empty line ends the
 * chat), so no signal can hit libedit; while an answer comes it cancels the answer.
 */
#include "base/file.h"
#include "base/utf8.h"
#include "cli/conversation.h"
#include "cli/interrupt.h"
#include "cli/run.h"
#include "cli/terminal.h"

#include <ctype.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { HISTORY_LINES = 1000 };

struct chat {
    struct generator *generator;
    const struct run_settings *settings;
    struct conversation conversation;
    struct string_buffer system; /* empty: none */
    EditLine *editor;
    History *history;
    struct string_buffer history_path; /* empty: not kept */
    const char *prompt;
    bool line_was_empty; /* when Ctrl-C came */
    bool interrupted;    /* the line ended by Ctrl-C */
    bool gave_up_once;   /* Ctrl-C on an empty line: the next one ends the chat */
    bool ended;
};

/* The terminal's modes before libedit changed them, for a SIGTERM at the prompt. */
static struct termios modes_before;

static void on_terminate(int number) {
    tcsetattr(STDIN_FILENO, TCSANOW, &modes_before);
    signal(number, SIG_DFL);
    raise(number);
}

/* Line editing. */

static char *give_prompt(EditLine *editor) {
    struct chat *chat = NULL;
    el_get(editor, EL_CLIENTDATA, &chat);
    return (char *)(uintptr_t)chat->prompt; /* libedit only reads it */
}

/* Bound to Ctrl-C. */
static unsigned char on_interrupt_key(EditLine *editor, int key) {
    (void)key;
    struct chat *chat = NULL;
    el_get(editor, EL_CLIENTDATA, &chat);
    const LineInfo *line = el_line(editor);
    chat->interrupted = true;
    chat->line_was_empty = line->lastchar == line->buffer;
    return CC_EOF;
}

/* $XDG_STATE_HOME/mistral/history or ~/.local/state/mistral/history; nothing when there is no home.
 */
static void find_history(struct string_buffer *path) {
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (state != NULL && state[0] == '/') {
        string_buffer_append_format(path, "%s/mistral", state);
    } else if (home != NULL && home[0] != '\0') {
        string_buffer_append_format(path, "%s/.local/state/mistral", home);
    } else {
        return;
    }
    if (file_make_directories(string_buffer_text(path), NULL)) {
        string_buffer_append_text(path, "/history");
    } else {
        string_buffer_clear(path);
    }
}

static bool open_editor(struct chat *chat, struct error *error) {
    /* libedit reads characters of the locale; "C" has none beyond ASCII. */
    if (MB_CUR_MAX == 1 && setlocale(LC_CTYPE, "C.UTF-8") == NULL) {
        setlocale(LC_CTYPE, "en_US.UTF-8");
    }
    tcgetattr(STDIN_FILENO, &modes_before);
    signal(SIGTERM, on_terminate);
    FILE *shown = terminal_is(stdout) ? stdout : stderr;
    chat->editor = el_init("mistral", stdin, shown, stderr);
    chat->history = history_init();
    if (chat->editor == NULL || chat->history == NULL) {
        return error_set(error, ERROR_IO, "the terminal cannot be used for a chat");
    }
    HistEvent event;
    history(chat->history, &event, H_SETSIZE, HISTORY_LINES);
    history(chat->history, &event, H_SETUNIQUE, 1);
    el_set(chat->editor, EL_CLIENTDATA, chat);
    el_set(chat->editor, EL_PROMPT, give_prompt);
    el_set(chat->editor, EL_EDITOR, "emacs");
    el_set(chat->editor, EL_HIST, history, chat->history);
    el_set(chat->editor, EL_SETTY, "-d", "-isig", NULL);
    el_set(chat->editor, EL_ADDFN, "interrupt", "drop the line", on_interrupt_key);
    el_source(chat->editor, NULL); /* the person's ~/.editrc */
    el_set(chat->editor, EL_BIND, "^C", "interrupt", NULL);
    if (chat->settings->keep_history) {
        find_history(&chat->history_path);
    }
    if (chat->history_path.length > 0) {
        history(chat->history, &event, H_LOAD, string_buffer_text(&chat->history_path));
    }
    return true;
}

static void close_editor(struct chat *chat) {
    HistEvent event;
    if (chat->history != NULL && chat->history_path.length > 0) {
        mode_t mask = umask(077); /* what one asked is nobody else's */
        history(chat->history, &event, H_SAVE, string_buffer_text(&chat->history_path));
        umask(mask);
    }
    if (chat->history != NULL) {
        history_end(chat->history);
    }
    if (chat->editor != NULL) {
        el_end(chat->editor);
    }
    string_buffer_deinit(&chat->history_path);
}

/* One line without its newline; false at the end of the chat or of the line's life (Ctrl-C). */
static bool read_line(struct chat *chat, const char *prompt, struct string_buffer *line) {
    chat->prompt = prompt;
    chat->interrupted = false;
    int count = 0;
    const char *text = el_gets(chat->editor, &count);
    if (chat->interrupted || text == NULL || count <= 0) {
        fputc('\n', stderr);
        bool twice = chat->line_was_empty && chat->gave_up_once;
        chat->ended = !chat->interrupted || twice;
        chat->gave_up_once = chat->interrupted && chat->line_was_empty;
        if (chat->gave_up_once && !chat->ended) {
            fputs("(Ctrl-C again or Ctrl-D ends the chat)\n", stderr);
        }
        return false;
    }
    chat->gave_up_once = false;
    size_t length = (size_t)count;
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r')) {
        length--;
    }
    string_buffer_append(line, text, length);
    return true;
}

/* A message: one line, or all lines between two """. */
static bool read_message(struct chat *chat, struct string_buffer *message) {
    static const char fence[] = "\"\"\"";
    struct string_buffer line = {0};
    bool done = read_line(chat, ">>> ", &line);
    if (done && strncmp(string_buffer_text(&line), fence, 3) == 0) {
        const char *rest = string_buffer_text(&line) + 3;
        for (;;) {
            const char *end = strstr(rest, fence);
            string_buffer_append(message, rest, end == NULL ? strlen(rest) : (size_t)(end - rest));
            if (end != NULL) {
                break;
            }
            string_buffer_append_char(message, '\n');
            string_buffer_clear(&line);
            done = read_line(chat, "... ", &line);
            if (!done) {
                break;
            }
            rest = string_buffer_text(&line);
        }
    } else if (done) {
        string_buffer_append_buffer(message, &line);
    }
    string_buffer_deinit(&line);
    return done;
}

/* Answers. */

static bool respond(struct chat *chat, const char *text, size_t length, struct error *error) {
    struct token_list prompt = {0};
    struct generation generation = {0};
    struct engine_request request = chat->settings->request;
    interrupt_clear();
    if (!conversation_add(&chat->conversation, "user", text, length, error)) {
        return false;
    }
    bool done = conversation_encode(&chat->conversation, chat->generator->engine, &prompt, error);
    if (done) {
        request.prompt = prompt.ids;
        request.prompt_count = prompt.count;
        done = generate(chat->generator, &request, run_write_event, NULL, &generation, error);
    }
    if (generation.text.length > 0) {
        fputc('\n', stdout);
        fflush(stdout);
    }
    if (done) {
        done =
            conversation_add(&chat->conversation, "assistant", string_buffer_text(&generation.text),
                             generation.text.length, error);
    } else {
        conversation_drop_last(&chat->conversation); /* the question can be asked again */
    }
    if (done && generation.finish_reason == FINISH_CANCELLED) {
        fprintf(stderr, "%s(stopped)%s\n", terminal_style(stderr, STYLE_DIM),
                terminal_style(stderr, STYLE_PLAIN));
    }
    if (done && chat->settings->verbose) {
        run_print_timings(&generation.usage);
    }
    interrupt_clear();
    generation_deinit(&generation);
    token_list_deinit(&prompt);
    return done;
}

/* Commands. */

static bool do_help(struct chat *chat, const char *argument, struct error *error);

static bool do_clear(struct chat *chat, const char *argument, struct error *error) {
    (void)argument;
    const char *system = chat->system.length == 0 ? NULL : string_buffer_text(&chat->system);
    return conversation_restart(&chat->conversation, system, error);
}

/* Without a text: shows the one in force. */
static bool do_system(struct chat *chat, const char *argument, struct error *error) {
    if (argument[0] == '\0') {
        printf("%s\n",
               chat->system.length == 0 ? "(no system text)" : string_buffer_text(&chat->system));
        return true;
    }
    string_buffer_clear(&chat->system);
    string_buffer_append_text(&chat->system, argument);
    if (chat->system.failed) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the text");
    }
    return do_clear(chat, "", error);
}

static bool do_show(struct chat *chat, const char *argument, struct error *error) {
    (void)argument;
    (void)error;
    const struct engine_info *info = engine_info(chat->generator->engine);
    printf("%s: %s, %.4g million parameters, %s, context %zu tokens, %zu threads, %s kernels\n",
           info->name, info->architecture, (double)info->parameter_count * 1e-6, info->format,
           info->context_length, info->thread_count, info->kernels);
    return true;
}

static bool do_quit(struct chat *chat, const char *argument, struct error *error) {
    (void)argument;
    (void)error;
    chat->ended = true;
    return true;
}

static const struct {
    const char *name, *argument, *sentence;
    bool (*run)(struct chat *chat, const char *argument, struct error *error);
} chat_commands[] = {
    {"/help", "", "this list", do_help},
    {"/clear", "", "forget what was said", do_clear},
    {"/system", " [TEXT]", "show or set what the model should know first; forgets the rest",
     do_system},
    {"/show", "", "the model and how it runs", do_show},
    {"/quit", "", "end the chat (also /bye, Ctrl-D)", do_quit},
    {"/bye", "", NULL, do_quit},
};

enum { CHAT_COMMAND_COUNT = sizeof chat_commands / sizeof chat_commands[0] };

static bool do_help(struct chat *chat, const char *argument, struct error *error) {
    (void)chat;
    (void)argument;
    (void)error;
    for (size_t i = 0; i < CHAT_COMMAND_COUNT; i++) {
        if (chat_commands[i].sentence != NULL) {
            char left[32];
            snprintf(left, sizeof left, "%s%s", chat_commands[i].name, chat_commands[i].argument);
            printf("  %-18s%s\n", left, chat_commands[i].sentence);
        }
    }
    printf("  %-18s%s\n  %-18s%s\n", "\"\"\"", "begins and ends a message of several lines",
           "Ctrl-C", "stops an answer, or drops the line");
    return true;
}

static bool obey(struct chat *chat, const char *line, struct error *error) {
    size_t length = strcspn(line, " \t");
    const char *argument = line + length + strspn(line + length, " \t");
    for (size_t i = 0; i < CHAT_COMMAND_COUNT; i++) {
        if (strlen(chat_commands[i].name) == length &&
            strncmp(chat_commands[i].name, line, length) == 0) {
            return chat_commands[i].run(chat, argument, error);
        }
    }
    return error_set(error, ERROR_INVALID_ARGUMENT, "unknown command %.*s; /help lists them",
                     (int)length, line);
}

static bool is_blank(const struct string_buffer *text) {
    for (size_t i = 0; i < text->length; i++) {
        if (!isspace((unsigned char)text->data[i])) {
            return false;
        }
    }
    return true;
}

/* One message; what goes wrong with it is shown, and the chat goes on. */
static void take_turn(struct chat *chat) {
    struct string_buffer message = {0};
    struct error error = {0};
    bool done = true;
    if (read_message(chat, &message) && !is_blank(&message)) {
        HistEvent event;
        history(chat->history, &event, H_ENTER, string_buffer_text(&message));
        if (!utf8_validate(message.data, message.length, NULL)) {
            done = error_set(&error, ERROR_INVALID_ARGUMENT, "that was not UTF-8");
        } else if (message.data[0] == '/') {
            done = obey(chat, message.data, &error);
        } else {
            done = respond(chat, message.data, message.length, &error);
        }
    }
    if (!done) {
        terminal_print_error(&error);
        if (error.code == ERROR_CONTEXT_LENGTH) {
            fputs("The conversation is full: /clear starts a new one.\n", stderr);
        }
    }
    fflush(stdout);
    string_buffer_deinit(&message);
}

bool chat_run(struct generator *generator, const struct run_settings *settings,
              struct error *error) {
    const struct engine *engine = generator->engine;
    struct chat chat = {.generator = generator, .settings = settings};
    bool done = conversation_init(&chat.conversation, engine, error);
    if (done && settings->system != NULL) {
        done = do_system(&chat, settings->system, error);
    }
    done = done && open_editor(&chat, error);
    if (done) {
        fprintf(stderr, "%s%s%s, context %zu tokens. /help lists commands, Ctrl-D ends the chat.\n",
                terminal_style(stderr, STYLE_BOLD), engine_info(engine)->name,
                terminal_style(stderr, STYLE_PLAIN), engine_info(engine)->context_length);
    }
    while (done && !chat.ended) {
        take_turn(&chat);
    }
    close_editor(&chat);
    conversation_deinit(&chat.conversation);
    string_buffer_deinit(&chat.system);
    return done;
}
