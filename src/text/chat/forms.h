/*
 * forms.h - the forms in which models write calls of tools and thoughts: one row a form.
 *
 * A row's texts are what the models' own templates write, white space included. Templates and
 * models differ in white space, so whoever reads an answer takes the texts without what is around
 * them. A call is, in this order,
 *
 *     section_open { open before_name NAME id_open ID after_name ARGUMENTS after_arguments close
 *                    between } … section_close
 *
 * where what is NULL is not there, and a call of CALL_JSON has its name in its JSON object. Pure
 * data; any thread.
 */
#ifndef MISTRAL_TEXT_CHAT_FORMS_H
#define MISTRAL_TEXT_CHAT_FORMS_H

#include <stdbool.h>
#include <stddef.h>

/* How a call's name and arguments are written. */
enum call_codec {
    CALL_JSON,   /* {"name": …, "arguments": {…}} */
    CALL_NAMED,  /* the name, a mark, the arguments as a JSON object */
    CALL_TAGGED, /* the name; then key_open KEY key_close value_open VALUE value_close, each value
                  * as it is when it is a text, else as JSON */
    CALL_GEMMA,  /* name{key:value,…}: JSON without quotes; texts stand between two text_marks */
};

struct tool_call_form {
    const char *name; /* of the form, in tests and messages */
    enum call_codec codec;
    bool is_list;       /* CALL_JSON: the section is one JSON list, its calls apart by `between` */
    bool has_short_ids; /* ids are nine letters and digits */
    const char *section_open, *section_close;
    const char *open, *before_name, *id_open, *after_name, *after_arguments, *close, *between;
    const char *name_key, *arguments_key;                        /* CALL_JSON */
    const char *key_open, *key_close, *value_open, *value_close; /* CALL_TAGGED */
    const char *text_mark;                                       /* CALL_GEMMA */
    /* What a template that knows the form writes before a call's name, where it is not what opens a
     * call in an answer; NULL: it is. */
    const char *sign;
    /* What some models write where `section_open` or `open` should be; NULL: nothing else. */
    const char *other_open;
};

/* How thoughts are told from what is said. */
struct thinking_form {
    const char *name;
    const char *open, *close;
    /* Where all an answer says stands in messages of a channel each, as in gpt-oss's harmony
     * format: what opens the message for the user. NULL: it stands by itself. */
    const char *content_open;
};

extern const struct tool_call_form tool_call_forms[];
extern const size_t tool_call_form_count;
extern const struct thinking_form thinking_forms[];
extern const size_t thinking_form_count;

/* By name; NULL: there is none. */
const struct tool_call_form *tool_call_form_named(const char *name);
const struct thinking_form *thinking_form_named(const char *name);

/* The text that opens a form's calls. NULL: none has to come (Llama 3). */
const char *tool_call_form_opening(const struct tool_call_form *form);

#endif
