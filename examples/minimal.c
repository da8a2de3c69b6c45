/*
 * minimal.c - a whole program over include/mistral.h alone: asks a model one question and prints
 * the answer as it comes.
 *
 *     build/examples/minimal MODEL.gguf "What is the capital of France?"
 */
#include <mistral.h>

#include <stdio.h>
#include <string.h>

/* The question as a conversation in JSON; a question that does not fit is cut. */
static void write_conversation(const char *question, char *json, size_t size) {
    size_t at = (size_t)snprintf(json, size, "[{\"role\": \"user\", \"content\": \"");
    for (; *question != '\0' && at + 16 < size; question++) {
        unsigned char c = (unsigned char)*question;
        if (c == '"' || c == '\\') {
            json[at++] = '\\';
            json[at++] = (char)c;
        } else if (c < 0x20) {
            at += (size_t)snprintf(json + at, size - at, "\\u%04x", c);
        } else {
            json[at++] = (char)c;
        }
    }
    snprintf(json + at, size - at, "\"}]");
}

static int print_answer(struct mistral_stream *stream) {
    struct mistral_event event;
    while (mistral_next(stream, -1, &event)) {
        if (event.kind == MISTRAL_FAILED) {
            fprintf(stderr, "minimal: %s\n", event.error.message);
            return 1;
        }
        fwrite(event.text, 1, event.text_length, stdout);
        fflush(stdout);
        if (event.kind == MISTRAL_DONE) {
            fprintf(stderr, "\n%zu prompt tokens in %.2f s, %zu tokens in %.2f s\n",
                    event.prompt_tokens, event.prefill_seconds, event.generated_tokens,
                    event.decode_seconds);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fputs("usage: minimal MODEL.gguf QUESTION\n", stderr);
        return 2;
    }
    int status = 1;
    static char conversation[64 * 1024];
    struct mistral_error error = {0};
    struct mistral_tokens tokens = {0};
    struct mistral_stream *stream = NULL;
    struct mistral_options options = mistral_options_default();
    struct mistral_engine *engine = mistral_open(argv[1], &options, NULL, NULL, &error);

    write_conversation(argv[2], conversation, sizeof conversation);
    if (engine != NULL && mistral_tokenize_chat(engine, conversation, &tokens, &error)) {
        struct mistral_request request = mistral_request_default();
        request.prompt = tokens.ids;
        request.prompt_count = tokens.count;
        request.max_tokens = 200;
        request.temperature = 0;
        stream = mistral_submit(engine, &request, &error);
    }
    if (stream != NULL) {
        status = print_answer(stream);
    } else {
        fprintf(stderr, "minimal: %s\n", error.message);
    }
    mistral_stream_free(stream);
    mistral_tokens_free(&tokens);
    mistral_close(engine);
    return status;
}
