/*
 * stream_reader.h - what a streamed answer says: when text comes, how many tokens the server
 * counts, whether it ends as its protocol wants it to.
 *
 * Reads OpenAI's server-sent events and Ollama's lines of JSON, from any server, which may lie. One
 * reader an answer; a zeroed struct with `protocol` set is ready. Not thread-safe.
 */
#ifndef MISTRAL_BENCH_STREAM_READER_H
#define MISTRAL_BENCH_STREAM_READER_H

#include "base/string_buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum stream_protocol { STREAM_OPENAI, STREAM_OLLAMA };

struct stream_reader {
    enum stream_protocol protocol;
    struct string_buffer line;  /* of which not all has come */
    struct string_buffer *text; /* the answer's text is appended here; NULL: it is dropped */
    size_t text_bytes;          /* of it, so far */
    int64_t prompt_tokens;      /* as the server counts; meaningful when has_usage */
    int64_t output_tokens;
    bool has_usage;
    bool is_done;      /* [DONE] came, or "done": true */
    bool is_malformed; /* what came is not the protocol's; nothing more is read */
    bool is_refused;   /* the stream itself carries an error */
    char problem[160]; /* the first of it, for people; "" for none */
};

void stream_reader_deinit(struct stream_reader *reader);

/* Takes more bytes of the body; true when there was text of the answer in them. */
bool stream_reader_push(struct stream_reader *reader, const char *bytes, size_t length);

/* The end of the body: a last line without a newline counts. */
bool stream_reader_finish(struct stream_reader *reader);

/* The message of a body that is a server's complaint: {"error": "…"}, {"error": {"message": "…"}},
 * or its first line. */
void stream_reader_complaint(const char *body, size_t length, char *out, size_t size);

#endif
