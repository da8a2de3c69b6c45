/* served_model.c - see served_model.h. */
#include "server/served_model.h"

#include "base/clock.h"
#include "base/hash_map.h"
#include "base/log.h"
#include "base/string_buffer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool served_model_init(struct served_model *model, const struct served_model_options *options,
                       const char *id, struct engine *engine, struct error *error) {
    const struct engine_info *info = engine_info(engine);
    *model = (struct served_model){.info = info, .engine = engine, .id = strdup(id)};
    if (model->id == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the model");
    }
    model->tokenizer = engine_tokenizer(engine);
    model->created = clock_wall_ns() / 1000000000;
    model->default_temperature = options->default_temperature;
    model->max_choices = options->max_choices;
    for (size_t i = 0; i < info->vocabulary_size; i++) {
        size_t length = tokenizer_piece(model->tokenizer, (int32_t)i, true).length;
        model->longest_piece = length > model->longest_piece ? length : model->longest_piece;
    }
    model->fill_in_middle = fill_in_middle_find(model->tokenizer);
    struct string_buffer identity = {0};
    string_buffer_append_format(&identity, "%s %s %s %" PRIu64, info->name, info->format,
                                info->kernels, info->file_bytes);
    snprintf(model->fingerprint, sizeof model->fingerprint, "fp_%016" PRIx64,
             hash_bytes(string_buffer_text(&identity), identity.length, 0));
    bool identity_failed = identity.failed;
    string_buffer_deinit(&identity);
    if (info->chat_template == NULL) {
        error_set(&model->chat_template_error, ERROR_UNSUPPORTED,
                  "The model file has no chat template; use /v1/completions.");
    } else if (!chat_template_create(info->chat_template, strlen(info->chat_template),
                                     &model->chat_template, &model->chat_template_error)) {
        error_prefix(&model->chat_template_error,
                     "The model file's chat template cannot be used; use /v1/completions");
        log_event(LOG_WARN, "chat_template_unusable", log_text("model", model->id),
                  log_text("reason", model->chat_template_error.message));
    }
    /* What came of too little memory would be the model's for as long as it is loaded. */
    struct error reason = {0};
    (void)chat_traits_probe(model->chat_template, info->chat_template, model->tokenizer,
                            &model->chat_traits, &reason);
    bool has_memory = reason.code != ERROR_OUT_OF_MEMORY &&
                      model->chat_template_error.code != ERROR_OUT_OF_MEMORY && !identity_failed;
    if (!has_memory) {
        chat_template_free(model->chat_template);
        free(model->id);
        *model = (struct served_model){0};
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the model");
    }
    return true;
}

void served_model_deinit(struct served_model *model) {
    chat_template_free(model->chat_template);
    engine_free(model->engine);
    free(model->id);
    *model = (struct served_model){0};
}
