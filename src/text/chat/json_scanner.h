/*
 * json_scanner.h - follows one JSON object byte by byte and says where in it we are.
 *
 * For text that arrives in pieces and may turn out not to be JSON. Keeps no text. A zeroed struct
 * is ready for the object's "{". One thread.
 */
#ifndef MISTRAL_TEXT_CHAT_JSON_SCANNER_H
#define MISTRAL_TEXT_CHAT_JSON_SCANNER_H

#include <stdbool.h>
#include <stdint.h>

enum { JSON_SCANNER_MAX_DEPTH = 64 };

enum json_scan_state {
    JSON_SCAN_BEGIN, /* nothing but white space so far */
    JSON_SCAN_KEY_OR_END,
    JSON_SCAN_KEY,
    JSON_SCAN_IN_KEY,
    JSON_SCAN_COLON,
    JSON_SCAN_VALUE,
    JSON_SCAN_VALUE_OR_END, /* of a list */
    JSON_SCAN_IN_STRING,
    JSON_SCAN_IN_NUMBER,
    JSON_SCAN_IN_WORD, /* true, false, null */
    JSON_SCAN_NEXT,    /* a value is over: a comma, or the end of what it is in */
    JSON_SCAN_DONE,    /* the "}" of the object itself */
    JSON_SCAN_BAD,     /* this is no JSON object */
};

struct json_scanner {
    uint8_t state;                        /* enum json_scan_state */
    uint8_t number;                       /* where in a number */
    uint8_t escape;                       /* in a string: 0, 1 after "\", 2 … 5 in \uXXXX */
    uint8_t depth;                        /* open objects and lists */
    const char *word;                     /* what must still come of true, false, null */
    bool is_list[JSON_SCANNER_MAX_DEPTH]; /* [depth] */
};

/* The state after this byte; BAD stays BAD. A byte after DONE is BAD. */
enum json_scan_state json_scanner_push(struct json_scanner *scanner, char byte);

#endif
