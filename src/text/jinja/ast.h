/*
 * ast.h - a parsed template: what the parser builds, the scope pass completes, and renderings
 * walk. Immutable once compiled, in the template's arena.
 *
 * Variables are resolved before any rendering, by Jinja's rules: a for statement, a macro, a
 * set-block and their like are frames; an assignment inside a frame does not reach out of it. Each
 * name of a frame has a slot in the activation of the function (the template, or a macro) that the
 * frame belongs to.
 */
#ifndef MISTRAL_TEXT_JINJA_AST_H
#define MISTRAL_TEXT_JINJA_AST_H

#include "text/jinja/builtin.h"
#include "text/jinja/operators.h"

/* A slot: `up` activations outwards from the one that runs. */
struct jinja_reference {
    uint32_t up, slot;
};

/* A name as the parser sees it: one of each spelling. */
struct jinja_name {
    struct string_view text;     /* followed by a NUL */
    struct jinja_symbol *symbol; /* the scope pass's own */
    uint32_t context_index;      /* of the caller's variable, when `from_context` */
    bool from_context;
};

enum jinja_load_action {
    JINJA_LOAD_NOTHING, /* assigned later, or never */
    JINJA_LOAD_CONTEXT, /* the caller's variable of that name, or a global function */
    JINJA_LOAD_OUTER,   /* the value of an outer frame's variable */
    JINJA_LOAD_LATER,   /* a parameter: set by whoever enters the frame */
};

/* What a frame's slot holds when the frame is entered. */
struct jinja_load {
    struct jinja_load *next;
    uint32_t slot;
    enum jinja_load_action action;
    struct jinja_reference outer;
    struct jinja_name *name; /* context */
};

struct jinja_scope {
    struct jinja_load *loads;
};

enum jinja_node_kind {
    JINJA_CONSTANT,
    JINJA_VARIABLE,
    JINJA_LIST_LITERAL,
    JINJA_TUPLE_LITERAL,
    JINJA_DICT_LITERAL, /* items: key, value, key, value … */
    JINJA_CONCATENATION,
    JINJA_NOT,
    JINJA_NEGATION,
    JINJA_IDENTITY, /* unary plus */
    JINJA_AND,
    JINJA_OR,
    JINJA_ARITHMETIC,
    JINJA_COMPARISON,
    JINJA_CONDITIONAL,
    JINJA_ATTRIBUTE,
    JINJA_ELEMENT,
    JINJA_SLICE,
    JINJA_CALL,
    JINJA_FILTER,
    JINJA_TEST,
    JINJA_EXPRESSION_COUNT,

    JINJA_TEXT = JINJA_EXPRESSION_COUNT,
    JINJA_OUTPUT,
    JINJA_SET,
    JINJA_SET_BLOCK,
    JINJA_IF,
    JINJA_FOR,
    JINJA_MACRO_DEFINITION,
    JINJA_FILTER_BLOCK,
    JINJA_WITH,
    JINJA_GENERATION, /* Hugging Face's mark around what the assistant wrote */
    JINJA_BREAK,
    JINJA_CONTINUE,
    JINJA_NODE_KIND_COUNT,

    JINJA_NAMESPACE_TARGET = JINJA_NODE_KIND_COUNT, /* ns.name, only assigned to */
};

enum jinja_comparison {
    JINJA_EQUAL,
    JINJA_NOT_EQUAL,
    JINJA_LESS_THAN,
    JINJA_LESS_EQUAL,
    JINJA_GREATER_THAN,
    JINJA_GREATER_EQUAL,
    JINJA_IN,
    JINJA_NOT_IN,
};

/* One argument, one operand of a comparison, one branch of an if, one variable of a with. */
struct jinja_part {
    struct jinja_part *next;
    struct string_view name;          /* keyword argument; empty for a positional one */
    enum jinja_comparison comparison; /* of the operand before with `value` */
    struct jinja_node *target;        /* with, macro parameter: the variable */
    struct jinja_node *value;         /* NULL: else branch; parameter without a default */
    struct jinja_node *body;          /* if branch */
};

struct jinja_node {
    struct jinja_node *next; /* in a list of statements or items */
    uint32_t line;
    uint16_t height; /* of the tree below, bounded when it is built */
    uint8_t kind;    /* enum jinja_node_kind */
    union {
        struct jinja_value constant;
        struct string_view text;
        struct {
            struct jinja_name *name;
            struct jinja_reference reference;
            struct string_view attribute; /* namespace target */
        } variable;
        struct { /* list, tuple, dict, concatenation */
            struct jinja_node *items;
            size_t count;
        } sequence;
        struct { /* not, negation, and, or, arithmetic, element; output has only `left` */
            struct jinja_node *left, *right;
            enum jinja_operator operation;
        } binary;
        struct {
            struct jinja_node *first;
            struct jinja_part *operands;
        } comparison;
        struct {
            struct jinja_node *test, *yes, *no; /* `no` may be NULL */
        } conditional;
        struct {
            struct jinja_node *object;
            struct string_view name;
        } attribute;
        struct {
            struct jinja_node *object;
            struct jinja_node *bounds[3]; /* start, stop, step; NULL when not given */
        } slice;
        struct {                        /* call, filter, test */
            struct jinja_node *subject; /* NULL: a filter of a block */
            struct string_view name;
            const struct jinja_builtin *builtin; /* NULL: no such filter or test */
            struct jinja_part *arguments;
            uint16_t positional, keywords;
        } call;
        struct {                       /* set, set block, filter block, with, generation */
            struct jinja_node *target; /* variable, namespace target, or tuple of them */
            struct jinja_node *value;  /* set: expression; blocks: filter chain or NULL */
            struct jinja_node *body;
            struct jinja_part *bindings; /* with */
            struct jinja_scope scope;
        } block;
        struct {
            struct jinja_part *branches;
        } condition;
        struct {
            struct jinja_node *target, *iterable, *body, *otherwise;
            struct jinja_node *test_target, *test; /* the condition; NULL without one */
            struct jinja_reference loop;
            struct jinja_scope scope, test_scope, else_scope;
        } loop;
        struct {
            struct jinja_node *target;
            struct jinja_part *parameters;
            struct jinja_node *body;
            struct jinja_scope scope;
            uint32_t slot_count;
        } macro;
    };
};

struct jinja_template {
    struct arena *arena;
    struct jinja_node *body;
    struct jinja_scope scope;
    uint32_t slot_count;
    uint32_t context_count; /* different names that are looked up in the caller's variables */
};

/* Parses; errors are "line N: …". `loop_name` receives the name `loop`, for the scope pass. */
bool jinja_parse(struct jinja_template *template, struct string_view source,
                 struct jinja_name **loop_name, struct error *error);
/* Gives every variable its slot. */
bool jinja_resolve_names(struct jinja_template *template, struct jinja_name *loop_name,
                         struct error *error);

#endif
