/* list.c - mistral list: what lies in the models folder and the other stores, or which aliases
 * there are. */
#include "base/bytes.h"
#include "cli/cli.h"
#include "cli/json_output.h"
#include "cli/terminal.h"
#include "hub/hub.h"

#include <jansson.h>
#include <string.h>
#include <time.h>

static struct {
    bool json;
    bool aliases;
} options;

static const struct argument_option option_table[] = {
    {.name = "aliases",
     .kind = ARGUMENT_SWITCH,
     .target = &options.aliases,
     .sentence = "the short names that pull and run know"},
    {.name = "json", .kind = ARGUMENT_SWITCH, .target = &options.json, .sentence = "as JSON"},
    {0},
};

static void format_time(int64_t seconds, const char *format, char *out, size_t size) {
    time_t time = (time_t)seconds;
    struct tm local;
    if (localtime_r(&time, &local) == NULL || strftime(out, size, format, &local) == 0) {
        snprintf(out, size, "?");
    }
}

static bool print_aliases(struct error *error) {
    json_t *array = options.json ? json_array() : NULL;
    for (const struct hub_alias *alias = hub_aliases(); alias->name != NULL; alias++) {
        if (options.json) {
            json_array_append_new(array, json_pack("{s:s, s:s}", "name", alias->name, "repository",
                                                   alias->repository));
        } else {
            printf("%-20s hf:%s\n", alias->name, alias->repository);
        }
    }
    return !options.json || json_output_print(array, error);
}

static bool print_json(const char *folder, const struct hub_model_list *list, struct error *error) {
    json_t *models = json_array();
    for (size_t i = 0; i < list->count; i++) {
        const struct hub_model *model = &list->models[i];
        char modified[64];
        format_time(model->modified, "%Y-%m-%dT%H:%M:%S%z", modified, sizeof modified);
        json_array_append_new(models,
                              json_pack("{s:s, s:s, s:s, s:I, s:s}", "name", model->name, "store",
                                        hub_store_name(model->store), "path", model->path, "bytes",
                                        (json_int_t)model->bytes, "modified", modified));
    }
    return json_output_print(json_pack("{s:s, s:o}", "folder", folder, "models", models), error);
}

static void print_table(const char *folder, const struct hub_model_list *list) {
    if (list->count == 0) {
        printf("no models in %s; get one with: mistral pull smollm2\n", folder);
        return;
    }
    size_t width = strlen("NAME");
    for (size_t i = 0; i < list->count; i++) {
        width = size_max(width, strlen(list->models[i].name));
    }
    printf("%s%-*s  %10s  %-16s  STORE%s\n", terminal_style(stdout, STYLE_BOLD), (int)width, "NAME",
           "SIZE", "MODIFIED", terminal_style(stdout, STYLE_PLAIN));
    for (size_t i = 0; i < list->count; i++) {
        char size[32];
        char modified[64];
        terminal_format_bytes(size, sizeof size, list->models[i].bytes);
        format_time(list->models[i].modified, "%Y-%m-%d %H:%M", modified, sizeof modified);
        printf("%-*s  %10s  %-16s  %s\n", (int)width, list->models[i].name, size, modified,
               hub_store_name(list->models[i].store));
    }
}

static bool list_models(struct cli *cli, struct error *error) {
    if (options.aliases) {
        return print_aliases(error);
    }
    struct string_buffer folder = {0};
    struct hub_model_list list = {0};
    bool done =
        hub_models_folder(&cli->config, &folder, error) && hub_list_all(&cli->config, &list, error);
    if (done && options.json) {
        done = print_json(string_buffer_text(&folder), &list, error);
    } else if (done) {
        print_table(string_buffer_text(&folder), &list);
    }
    hub_model_list_deinit(&list);
    string_buffer_deinit(&folder);
    return done;
}

const struct cli_command cli_list_command = {
    .name = "list",
    .usage = "",
    .summary = "show the models in the models folder and in Ollama's and Hugging Face's stores",
    .reader = READ_BY_LIST,
    .options = option_table,
    .run = list_models,
};
