/*
 * builtin.c - finds filters, tests, methods and global functions, and puts the arguments of a
 * call into the order of the parameters.
 */
#include "text/jinja/builtin.h"

#include "text/jinja/loop.h"

#include "base/bytes.h"

const struct jinja_builtin *jinja_find_builtin(const struct jinja_builtin *table,
                                               struct string_view name) {
    for (; table->name != NULL; table++) {
        if (string_view_is(name, table->name)) {
            return table;
        }
    }
    return NULL;
}

const struct jinja_builtin *jinja_find_filter(struct string_view name) {
    static const struct jinja_builtin *const tables[] = {
        jinja_text_filters, jinja_number_filters, jinja_sequence_filters, jinja_selection_filters};
    const struct jinja_builtin *found = NULL;
    for (size_t i = 0; found == NULL && i < sizeof tables / sizeof tables[0]; i++) {
        found = jinja_find_builtin(tables[i], name);
    }
    return found;
}

const struct jinja_builtin *jinja_find_test(struct string_view name) {
    return jinja_find_builtin(jinja_tests, name);
}

const struct jinja_builtin *jinja_find_global(struct string_view name) {
    return jinja_find_builtin(jinja_globals, name);
}

const struct jinja_builtin *jinja_find_method(enum jinja_kind kind, struct string_view name) {
    static const struct jinja_builtin *const tables[JINJA_KIND_COUNT] = {
        [JINJA_STRING] = jinja_string_methods, [JINJA_LIST] = jinja_list_methods,
        [JINJA_TUPLE] = jinja_tuple_methods,   [JINJA_DICT] = jinja_dict_methods,
        [JINJA_LOOP] = jinja_loop_methods,
    };
    return tables[kind] == NULL ? NULL : jinja_find_builtin(tables[kind], name);
}

static size_t parameter_count(const struct jinja_builtin *builtin) {
    size_t count = 0;
    while (count < JINJA_MAX_PARAMETERS && builtin->parameters[count] != NULL) {
        count++;
    }
    return count;
}

static bool bind_keyword(struct jinja_render *render, const struct jinja_builtin *builtin,
                         const struct jinja_keyword *keyword, size_t parameters,
                         struct jinja_value *bound) {
    for (size_t i = 0; i < parameters; i++) {
        if (string_view_is(keyword->name, builtin->parameters[i])) {
            if (jinja_given(&bound[i])) {
                return jinja_fail(render, "%s() got two values for '%s'", builtin->name,
                                  builtin->parameters[i]);
            }
            bound[i] = keyword->value;
            return true;
        }
    }
    return jinja_fail(render, "%s() got an unexpected keyword argument '%.*s'", builtin->name,
                      (int)size_min(keyword->name.length, 100), keyword->name.data);
}

bool jinja_call_builtin(struct jinja_render *render, const struct jinja_builtin *builtin,
                        const struct jinja_call *call, struct jinja_value *result) {
    if (builtin->variadic) {
        return builtin->function(render, call, result);
    }
    struct jinja_value bound[JINJA_MAX_PARAMETERS] = {0}; /* JINJA_MISSING */
    size_t parameters = parameter_count(builtin);
    if (call->count > parameters) {
        return jinja_fail(render, "%s() takes at most %zu arguments (%zu given)", builtin->name,
                          parameters, call->count);
    }
    for (size_t i = 0; i < call->count; i++) {
        bound[i] = call->arguments[i];
    }
    for (size_t i = 0; i < call->keyword_count; i++) {
        if (!bind_keyword(render, builtin, &call->keywords[i], parameters, bound)) {
            return false;
        }
    }
    for (size_t i = 0; i < builtin->required; i++) {
        if (!jinja_given(&bound[i])) {
            return jinja_fail(render, "%s() is missing its argument '%s'", builtin->name,
                              builtin->parameters[i]);
        }
    }
    struct jinja_call ordered = {.subject = call->subject, .arguments = bound, .count = parameters};
    return builtin->function(render, &ordered, result);
}
