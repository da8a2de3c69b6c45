/* test_config.c - settings: where values come from, what is refused and in which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "config/config.h"
#include "config/dotenv.h"
#include "config/knob.h"
#include "config/suggest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One load, with files written for it; folder is a temporary one. */
struct load {
    char folder[64];
    char toml_path[96], env_path[96];
    struct config config;
    struct argument_operands operands;
    struct error error;
    bool done;
};

static int make_folder(void **state) {
    struct load *load = calloc(1, sizeof *load);
    snprintf(load->folder, sizeof load->folder, "/tmp/mistral-config-XXXXXX");
    if (mkdtemp(load->folder) == NULL) {
        return -1;
    }
    snprintf(load->toml_path, sizeof load->toml_path, "%s/c.toml", load->folder);
    snprintf(load->env_path, sizeof load->env_path, "%s/c.env", load->folder);
    *state = load;
    return 0;
}

static int remove_folder(void **state) {
    struct load *load = *state;
    unlink(load->toml_path);
    unlink(load->env_path);
    rmdir(load->folder);
    free(load);
    return 0;
}

/* Arguments and environment end with NULL; toml and env may be NULL. */
static void run(struct load *load, enum config_reader reader, const char *toml, const char *env,
                char *const *environment, char *const *arguments,
                const struct argument_option *options) {
    char *all[16];
    size_t count = 0;
    if (toml != NULL) {
        assert_true(file_write_atomic(load->toml_path, toml, strlen(toml), NULL));
        all[count++] = "--config";
        all[count++] = load->toml_path;
    }
    if (env != NULL) {
        assert_true(file_write_atomic(load->env_path, env, strlen(env), NULL));
        all[count++] = "--env-file";
        all[count++] = load->env_path;
    }
    while (arguments != NULL && *arguments != NULL) {
        all[count++] = *arguments++;
    }
    const struct config_source source = {.reader = reader,
                                         .arguments = all,
                                         .argument_count = count,
                                         .options = options,
                                         .environment = environment};
    load->error = (struct error){0};
    load->done = config_load(&source, &load->config, &load->operands, &load->error);
}

#define LIST(...) ((char *const[]){__VA_ARGS__, NULL})

/* The message, without the folder of the files in it. */
static void assert_refused(struct load *load, const char *expected) {
    if (load->done) {
        config_deinit(&load->config);
        fail_msg("accepted; expected: %s", expected);
    }
    const char *message = load->error.message;
    size_t folder = strlen(load->folder);
    if (strncmp(message, load->folder, folder) == 0) {
        message += folder + 1;
    }
    assert_string_equal(message, expected);
}

static void assert_loaded(const struct load *load) {
    if (!load->done) {
        fail_msg("refused: %s", load->error.message);
    }
}

static void defaults_are_those_of_the_table(void **state) {
    struct load *load = *state;
    run(load, READ_BY_SERVE, NULL, NULL, NULL, NULL, NULL);
    assert_loaded(load);
    assert_string_equal(load->config.host, "127.0.0.1");
    assert_int_equal(load->config.port, 8080);
    assert_null(load->config.api_key);
    assert_int_equal(load->config.max_sequence_length, 32768);
    assert_true(load->config.temperature > 0.69 && load->config.temperature < 0.71);
    assert_string_equal(load->config.log_format, "json");
    assert_int_equal(load->config.origins[KNOB_port].layer, CONFIG_FROM_DEFAULT);
    config_deinit(&load->config);
}

/* Each layer in turn is the highest that says something. */
static void higher_layers_win(void **state) {
    struct load *load = *state;
    const char *toml = "[server]\nport = 1\n";
    const char *env = "MISTRAL_PORT=2 # two\n";
    char *const *environment = LIST("HOME=/h", "MISTRAL_PORT=3");
    struct {
        const char *toml, *env;
        char *const *environment, *const *arguments;
        int64_t port;
        enum config_layer layer;
        const char *origin;
    } cases[] = {
        {toml, NULL, NULL, NULL, 1, CONFIG_FROM_TOML, ":2:1"},
        {toml, env, NULL, NULL, 2, CONFIG_FROM_ENV_FILE, ":1:1"},
        {toml, env, environment, NULL, 3, CONFIG_FROM_ENVIRONMENT,
         "environment variable MISTRAL_PORT"},
        {toml, env, environment, LIST("--port=4"), 4, CONFIG_FROM_COMMAND_LINE, "--port"},
        {toml, env, environment, LIST("--port", "4", "--port", "5"), 5, CONFIG_FROM_COMMAND_LINE,
         "--port"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run(load, READ_BY_SERVE, cases[i].toml, cases[i].env, cases[i].environment,
            cases[i].arguments, NULL);
        assert_loaded(load);
        assert_int_equal(load->config.port, cases[i].port);
        assert_int_equal(load->config.origins[KNOB_port].layer, cases[i].layer);
        struct string_buffer origin = {0};
        config_describe_origin(&load->config.origins[KNOB_port], &origin);
        assert_non_null(strstr(string_buffer_text(&origin), cases[i].origin));
        string_buffer_deinit(&origin);
        config_deinit(&load->config);
    }
}

static void toml_mistakes_are_named(void **state) {
    struct load *load = *state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"[server]\nprot = 1\n",
         "c.toml:2:1: server.prot: there is no such setting; did you mean 'server.port'?"},
        {"port = 1\n", "c.toml:1:1: port: there is no such setting; did you mean 'server.port'?"},
        {"[servr]\nport = 1\n",
         "c.toml:1:2: servr: there is no such section; did you mean 'server'?"},
        {"[zebra]\n", "c.toml:1:2: zebra: there is no such section"},
        {"\"server.port\" = 1\n",
         "c.toml:1:1: server.port: there is no such setting; did you mean 'server.port'?"},
        {"[server]\n  port = \"8080\"\n",
         "c.toml:2:3: server.port: it takes an integer from 0 to 65535, not a string"},
        {"[server]\nport = 65536\n",
         "c.toml:2:1: server.port: it takes an integer from 0 to 65535, not '65536'"},
        {"[server]\nport = {}\n",
         "c.toml:2:1: server.port: it takes an integer from 0 to 65535, not a table"},
        {"server = 1\n", "c.toml:1:1: server: this is a section, not a setting"},
        {"[logging]\nlevel = \"loud\"\n", "c.toml:2:1: logging.level: it takes one of "
                                          "trace|debug|info|warn|error|off, not 'loud'"},
        {"[inference]\ntemperature = nan\n",
         "c.toml:2:1: inference.temperature: it takes a number from 0 to 100, not 'nan'"},
        {"[inference]\nmax_sequence_length = 1\n[memory]\nmax_seq_len = 2\n",
         "c.toml:4:1: memory.max_seq_len: its value differs from that of "
         "inference.max_sequence_length, which is the same setting; keep one"},
        {"[server]\nhost = \"a\nport = 1", "c.toml:2:9: this string has no closing quote on its "
                                           "line"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run(load, READ_BY_SERVE, cases[i].text, NULL, NULL, NULL, NULL);
        assert_refused(load, cases[i].message);
    }
    run(load, READ_BY_SERVE,
        "[inference]\nmax_sequence_length = 64\ntemperature = 1\n[memory]\nmax_seq_len = 64", NULL,
        NULL, NULL, NULL);
    assert_loaded(load);
    assert_int_equal(load->config.max_sequence_length, 64);
    config_deinit(&load->config);
}

static void env_file_mistakes_are_named(void **state) {
    struct load *load = *state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"A=1\nMISTRAL_PROT=1\n",
         "c.env:2:1: MISTRAL_PROT: there is no such setting; did you mean 'MISTRAL_PORT'?"},
        {"export MISTRAL_PORT=x",
         "c.env:1:8: MISTRAL_PORT: it takes an integer from 0 to 65535, not 'x'"},
        {"MISTRAL_PORT=1\nMISTRAL_API_PORT=2",
         "c.env:2:1: MISTRAL_API_PORT: its value differs from that of MISTRAL_PORT, which is the "
         "same setting; keep one"},
        {"MISTRAL_HOST=${HOST:-x}",
         "c.env:1:1: MISTRAL_HOST: ${...} is not expanded here; write the value itself, or put it "
         "between single quotes if it is meant as it stands"},
        {"MISTRAL_HOST", "c.env:1:13: an equals sign is missing after the name"},
        {"MISTRAL_HOST='a", "c.env:1:14: this value has no closing '"},
        {"MISTRAL_HOST='a' b", "c.env:1:18: text after the closing '"},
        {"\xff", "c.env:1:1: the bytes here are not UTF-8 text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run(load, READ_BY_SERVE, NULL, cases[i].text, NULL, NULL, NULL);
        assert_refused(load, cases[i].message);
    }
    run(load, READ_BY_SERVE, NULL,
        "MISTRAL_MEMORY_LIMIT=64G\nMISTRAL_HEALTH_INTERVAL=30s\nOTHER=${X}\n"
        "MISTRAL_API_KEY='${literal}'\nMISTRAL_HOST=\nMISTRAL_PORT=7\nMISTRAL_API_PORT=7",
        NULL, NULL, NULL);
    assert_loaded(load);
    assert_string_equal(load->config.api_key, "${literal}");
    assert_string_equal(load->config.host, "127.0.0.1");
    assert_int_equal(load->config.port, 7);
    config_deinit(&load->config);
}

static void environment_mistakes_are_named(void **state) {
    struct load *load = *state;
    run(load, READ_BY_SERVE, NULL, NULL, LIST("MISTRAL_PORT=tcp://10.0.0.1:80"), NULL, NULL);
    assert_refused(load, "environment variable MISTRAL_PORT: it takes an integer from 0 to 65535, "
                         "not 'tcp://10.0.0.1:80'");
    run(load, READ_BY_SERVE, NULL, NULL, LIST("MISTRAL_API_KEY=", "MISTRAL_NONSENSE=1"), NULL,
        NULL);
    assert_loaded(load);
    assert_null(load->config.api_key);
    config_deinit(&load->config);
}

static void a_path_knows_the_home_folder(void **state) {
    struct load *load = *state;
    setenv("HOME", "/home/someone", 1);
    run(load, READ_BY_LIST, NULL, "MISTRAL_MODEL_PATH=~/models", NULL, NULL, NULL);
    assert_loaded(load);
    assert_string_equal(load->config.models_path, "/home/someone/models");
    config_deinit(&load->config);
}

static void command_line_mistakes_are_named(void **state) {
    struct load *load = *state;
    bool json = false;
    int64_t count = 0;
    double number = 0;
    const struct argument_option options[] = {
        {.name = "json", .letter = 'j', .kind = ARGUMENT_SWITCH, .target = &json},
        {.name = "count",
         .letter = 'n',
         .kind = ARGUMENT_INTEGER,
         .target = &count,
         .minimum = 1,
         .maximum = 9},
        {.name = "number", .kind = ARGUMENT_NUMBER, .target = &number, .minimum = 0, .maximum = 1},
        {0},
    };
    const struct {
        char *const *arguments;
        const char *message;
    } cases[] = {
        {LIST("--prot", "1"), "unknown option '--prot'; did you mean '--port'?"},
        {LIST("--jsn"), "unknown option '--jsn'; did you mean '--json'?"},
        {LIST("--zzzzzz"), "unknown option '--zzzzzz'"},
        {LIST("-z"), "unknown option '-z' (a text that begins with a dash goes behind --)"},
        {LIST("--port"), "--port needs a value"},
        {LIST("--port", "-1"), "--port: it takes an integer from 0 to 65535, not '-1'"},
        {LIST("--json=yes"), "--json takes no value (--json turns it on, --no-json off)"},
        {LIST("--no-port"), "unknown option '--no-port'"},
        {LIST("--count", "10"), "--count takes an integer from 1 to 9, not '10'"},
        {LIST("-n9x"), "--count takes an integer from 1 to 9, not '9x'"},
        {LIST("--number", "nan"), "--number takes a number from 0 to 1, not 'nan'"},
        {LIST("--config", "/nonexistent.toml"),
         "cannot open '/nonexistent.toml': No such file or directory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run(load, READ_BY_SERVE, NULL, NULL, NULL, cases[i].arguments, options);
        assert_refused(load, cases[i].message);
    }
    run(load, READ_BY_PULL, NULL, NULL, NULL, LIST("--temperature", "1"), options);
    assert_refused(load, "--temperature is a setting that this subcommand does not read");
}

static void operands_and_options_mix(void **state) {
    struct load *load = *state;
    bool json = false;
    bool stream = true;
    int64_t count = 0;
    const char *text = NULL;
    struct argument_operands stops = {0};
    const struct argument_option options[] = {
        {.name = "json", .letter = 'j', .kind = ARGUMENT_SWITCH, .target = &json},
        {.name = "stream", .kind = ARGUMENT_SWITCH, .target = &stream},
        {.name = "count",
         .letter = 'n',
         .kind = ARGUMENT_INTEGER,
         .target = &count,
         .minimum = 1,
         .maximum = 9},
        {.name = "system", .kind = ARGUMENT_TEXT, .target = &text},
        {.name = "stop", .kind = ARGUMENT_TEXTS, .target = &stops},
        {0},
    };
    run(load, READ_BY_RUN, NULL, NULL, NULL,
        LIST("model", "-jn3", "--stop", "a", "-", "--no-stream", "--stop=b"), options);
    assert_refused(load, "-j takes no value");
    run(load, READ_BY_RUN, NULL, NULL, NULL,
        LIST("model", "-j", "-n3", "--stop", "a", "-", "--no-stream", "--stop=b", "--system=", "--",
             "--x"),
        options);
    assert_loaded(load);
    assert_true(json);
    assert_false(stream);
    assert_int_equal(count, 3);
    assert_string_equal(text, "");
    assert_int_equal(stops.count, 2);
    assert_string_equal(stops.texts[1], "b");
    assert_int_equal(load->operands.count, 3);
    assert_string_equal(load->operands.texts[0], "model");
    assert_string_equal(load->operands.texts[1], "-");
    assert_string_equal(load->operands.texts[2], "--x");
    config_deinit(&load->config);
}

static void sizes_have_units(void **state) {
    (void)state;
    const struct knob size = {.kind = KNOB_BYTES, .maximum = 1e15};
    static const struct {
        const char *text;
        uint64_t bytes; /* 0: refused */
    } cases[] = {
        {"4096", 4096},
        {"512M", 512ULL << 20},
        {"64G", 64ULL << 30},
        {"8GiB", 8ULL << 30},
        {"1kb", 1024},
        {"1.5k", 1536},
        {"2T", 2ULL << 40},
        {"10b", 10},
        {"", 0},
        {"G", 0},
        {"-1G", 0},
        {"1X", 0},
        {"1Gi B", 0},
        {"1e300G", 0},
        {"nan", 0},
        {"2000T", 0},
    };
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct knob_value value = {0};
        bool good = knob_parse(&size, cases[i].text, &arena, &value, NULL);
        assert_int_equal(good, cases[i].bytes != 0);
        if (good) {
            assert_int_equal(value.bytes, cases[i].bytes);
        }
    }
    arena_deinit(&arena);
}

static void dotenv_reads_quotes_and_comments(void **state) {
    (void)state;
    static const char text[] =
        "\xef\xbb\xbf# comment\n\n A = b c # d\r\nB=a#b\nexport C='# $x\\n'\n"
        "D=\"a\\n\\\"b\\q\\$\nsecond\" # c\nE=\nexport=1\nF= ' a '\nG=#x";
    static const struct {
        const char *name, *value;
        size_t line, column;
    } expected[] = {{"A", "b c", 3, 2},     {"B", "a#b", 4, 1},
                    {"C", "# $x\\n", 5, 8}, {"D", "a\n\"b\\q$\nsecond", 6, 1},
                    {"E", "", 8, 1},        {"export", "1", 9, 1},
                    {"F", " a ", 10, 1},    {"G", "", 11, 1}};
    struct arena arena = {0};
    struct dotenv_entry *entry = NULL;
    struct error error = {0};
    assert_true(dotenv_parse("f", text, sizeof text - 1, &arena, &entry, &error));
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++, entry = entry->next) {
        assert_non_null(entry);
        assert_string_equal(entry->name, expected[i].name);
        assert_string_equal(entry->value, expected[i].value);
        assert_int_equal(entry->line, expected[i].line);
        assert_int_equal(entry->column, expected[i].column);
    }
    assert_null(entry);
    arena_deinit(&arena);
}

static void suggestions_are_near_or_none(void **state) {
    (void)state;
    static const struct {
        const char *given, *best;
    } cases[] = {{"serv", "serve"}, {"srevE", "serve"}, {"lst", "list"},
                 {"x", ""},         {"perplex", ""},    {"toekn-ize", "tokenize"}};
    static const char *const names[] = {"run", "serve", "list", "tokenize", "perplexity"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct suggestion suggestion = suggest_for(cases[i].given);
        for (size_t j = 0; j < sizeof names / sizeof names[0]; j++) {
            suggest_offer(&suggestion, string_view_of(names[j]));
        }
        assert_int_equal(suggestion.best.length, strlen(cases[i].best));
        assert_true(string_view_is(suggestion.best, cases[i].best));
    }
}

/* Every row can be reached and parsed, and no two rows share a spelling. */
static void the_table_is_sound(void **state) {
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        const struct knob *knob = &knob_rows[i];
        struct knob_value value = {0};
        if (knob->default_text != NULL) {
            assert_true(knob_parse(knob, knob->default_text, &arena, &value, NULL));
        }
        assert_true(knob->readers != 0 && strlen(knob->sentence) > 8);
        for (size_t j = 0; j < KNOB_COUNT; j++) {
            size_t at = 0;
            struct string_view word;
            while (knob_next_word(knob->keys, &at, &word)) {
                char key[64];
                snprintf(key, sizeof key, "%.*s", (int)word.length, word.data);
                assert_int_equal(knob_list_has(knob_rows[j].keys, key), i == j);
            }
            bool same_flag = knob->flag != NULL && knob_rows[j].flag != NULL &&
                             strcmp(knob->flag, knob_rows[j].flag) == 0;
            assert_true(!same_flag || i == j);
        }
    }
    arena_deinit(&arena);
}

static void help_lists_what_is_read(void **state) {
    (void)state;
    struct string_buffer help = {0};
    config_append_help(READ_BY_PULL, &help);
    assert_non_null(strstr(help.data, "--endpoint URL"));
    assert_non_null(strstr(help.data, "HF_TOKEN"));
    assert_null(strstr(help.data, "--port"));
    for (const char *line = help.data; *line != '\0'; line += strcspn(line, "\n") + 1) {
        assert_true(strcspn(line, "\n") <= 100);
    }
    string_buffer_deinit(&help);
}

int main(void) {
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(defaults_are_those_of_the_table),
        WITH_FOLDER(higher_layers_win),
        WITH_FOLDER(toml_mistakes_are_named),
        WITH_FOLDER(env_file_mistakes_are_named),
        WITH_FOLDER(environment_mistakes_are_named),
        WITH_FOLDER(a_path_knows_the_home_folder),
        WITH_FOLDER(command_line_mistakes_are_named),
        WITH_FOLDER(operands_and_options_mix),
        cmocka_unit_test(sizes_have_units),
        cmocka_unit_test(dotenv_reads_quotes_and_comments),
        cmocka_unit_test(suggestions_are_near_or_none),
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(help_lists_what_is_read),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
