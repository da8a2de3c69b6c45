/* json_scanner.c - see json_scanner.h. RFC 8259, byte by byte; text is taken to be UTF-8. */
#include "text/chat/json_scanner.h"

#include <string.h>

/* Where in a number: what has been read of it. */
enum {
    NUMBER_SIGN,
    NUMBER_ZERO,
    NUMBER_DIGITS,
    NUMBER_POINT,
    NUMBER_FRACTION,
    NUMBER_E,
    NUMBER_E_SIGN,
    NUMBER_EXPONENT,
};

static bool is_space(char byte) {
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static bool is_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

static enum json_scan_state open_container(struct json_scanner *scanner, bool is_list) {
    if (scanner->depth == JSON_SCANNER_MAX_DEPTH) {
        return JSON_SCAN_BAD;
    }
    scanner->is_list[scanner->depth++] = is_list;
    return is_list ? JSON_SCAN_VALUE_OR_END : JSON_SCAN_KEY_OR_END;
}

static enum json_scan_state close_container(struct json_scanner *scanner, bool is_list) {
    if (scanner->is_list[scanner->depth - 1] != is_list) {
        return JSON_SCAN_BAD;
    }
    scanner->depth--;
    return scanner->depth == 0 ? JSON_SCAN_DONE : JSON_SCAN_NEXT;
}

static enum json_scan_state begin_value(struct json_scanner *scanner, char byte) {
    static const char *const words[] = {"true", "false", "null"};
    switch (byte) {
    case '{':
        return open_container(scanner, false);
    case '[':
        return open_container(scanner, true);
    case '"':
        scanner->escape = 0;
        return JSON_SCAN_IN_STRING;
    default:
        break;
    }
    if (byte == '-' || is_digit(byte)) {
        scanner->number = byte == '-' ? NUMBER_SIGN : byte == '0' ? NUMBER_ZERO : NUMBER_DIGITS;
        return JSON_SCAN_IN_NUMBER;
    }
    for (int i = 0; i < 3; i++) {
        if (byte == words[i][0]) {
            scanner->word = words[i] + 1;
            return JSON_SCAN_IN_WORD;
        }
    }
    return JSON_SCAN_BAD;
}

static enum json_scan_state after_value(struct json_scanner *scanner, char byte) {
    if (byte == ',') {
        return scanner->is_list[scanner->depth - 1] ? JSON_SCAN_VALUE : JSON_SCAN_KEY;
    }
    return byte == '}' || byte == ']' ? close_container(scanner, byte == ']') : JSON_SCAN_BAD;
}

/* In a key or a string; `after` is what follows its end. */
static enum json_scan_state in_string(struct json_scanner *scanner, char byte,
                                      enum json_scan_state after) {
    enum json_scan_state stay = (enum json_scan_state)scanner->state;
    if (scanner->escape == 1) {
        scanner->escape = byte == 'u' ? 2 : 0;
        return byte != '\0' && strchr("\"\\/bfnrtu", byte) != NULL ? stay : JSON_SCAN_BAD;
    }
    if (scanner->escape >= 2) {
        scanner->escape = scanner->escape == 5 ? 0 : scanner->escape + 1;
        return byte != '\0' && strchr("0123456789abcdefABCDEF", byte) != NULL ? stay
                                                                              : JSON_SCAN_BAD;
    }
    if (byte == '\\') {
        scanner->escape = 1;
        return stay;
    }
    if (byte == '"') {
        return after;
    }
    return (unsigned char)byte < 0x20 ? JSON_SCAN_BAD : stay;
}

/* Whether the byte goes on with the number; the number may end where `ends` is set. */
static bool in_number(struct json_scanner *scanner, char byte, bool *ends) {
    /* For each place: the place after a digit, after a point and after an "e"; 0: not allowed. */
    static const struct {
        uint8_t digit, point, e;
        bool may_end;
    } places[] = {
        [NUMBER_SIGN] = {NUMBER_DIGITS, 0, 0, false},
        [NUMBER_ZERO] = {0, NUMBER_POINT, NUMBER_E, true},
        [NUMBER_DIGITS] = {NUMBER_DIGITS, NUMBER_POINT, NUMBER_E, true},
        [NUMBER_POINT] = {NUMBER_FRACTION, 0, 0, false},
        [NUMBER_FRACTION] = {NUMBER_FRACTION, 0, NUMBER_E, true},
        [NUMBER_E] = {NUMBER_EXPONENT, 0, 0, false},
        [NUMBER_E_SIGN] = {NUMBER_EXPONENT, 0, 0, false},
        [NUMBER_EXPONENT] = {NUMBER_EXPONENT, 0, 0, true},
    };
    uint8_t at = scanner->number;
    uint8_t next = 0;
    if (is_digit(byte)) {
        next = at == NUMBER_SIGN && byte == '0' ? NUMBER_ZERO : places[at].digit;
    } else if (byte == '.') {
        next = places[at].point;
    } else if (byte == 'e' || byte == 'E') {
        next = places[at].e;
    } else if ((byte == '+' || byte == '-') && at == NUMBER_E) {
        next = NUMBER_E_SIGN;
    }
    *ends = places[at].may_end;
    scanner->number = next;
    return next != 0;
}

static enum json_scan_state step(struct json_scanner *scanner, char byte) {
    bool ends = false;
    switch ((enum json_scan_state)scanner->state) {
    case JSON_SCAN_BEGIN:
        return byte == '{' ? open_container(scanner, false) : JSON_SCAN_BAD;
    case JSON_SCAN_KEY_OR_END:
        if (byte == '}') {
            return close_container(scanner, false);
        }
        scanner->escape = 0;
        return byte == '"' ? JSON_SCAN_IN_KEY : JSON_SCAN_BAD;
    case JSON_SCAN_KEY:
        scanner->escape = 0;
        return byte == '"' ? JSON_SCAN_IN_KEY : JSON_SCAN_BAD;
    case JSON_SCAN_IN_KEY:
        return in_string(scanner, byte, JSON_SCAN_COLON);
    case JSON_SCAN_COLON:
        return byte == ':' ? JSON_SCAN_VALUE : JSON_SCAN_BAD;
    case JSON_SCAN_VALUE_OR_END:
        return byte == ']' ? close_container(scanner, true) : begin_value(scanner, byte);
    case JSON_SCAN_VALUE:
        return begin_value(scanner, byte);
    case JSON_SCAN_IN_STRING:
        return in_string(scanner, byte, JSON_SCAN_NEXT);
    case JSON_SCAN_IN_NUMBER:
        if (in_number(scanner, byte, &ends)) {
            return JSON_SCAN_IN_NUMBER;
        }
        if (!ends) {
            return JSON_SCAN_BAD;
        }
        return is_space(byte) ? JSON_SCAN_NEXT : after_value(scanner, byte);
    case JSON_SCAN_IN_WORD:
        if (byte != *scanner->word) {
            return JSON_SCAN_BAD;
        }
        scanner->word++;
        return *scanner->word == '\0' ? JSON_SCAN_NEXT : JSON_SCAN_IN_WORD;
    case JSON_SCAN_NEXT:
        return after_value(scanner, byte);
    case JSON_SCAN_DONE:
    case JSON_SCAN_BAD:
        break;
    }
    return JSON_SCAN_BAD;
}

enum json_scan_state json_scanner_push(struct json_scanner *scanner, char byte) {
    enum json_scan_state state = (enum json_scan_state)scanner->state;
    bool in_token = state == JSON_SCAN_IN_KEY || state == JSON_SCAN_IN_STRING ||
                    state == JSON_SCAN_IN_NUMBER || state == JSON_SCAN_IN_WORD;
    if (!in_token && is_space(byte) && state < JSON_SCAN_DONE) {
        return state;
    }
    scanner->state = (uint8_t)step(scanner, byte);
    return (enum json_scan_state)scanner->state;
}
