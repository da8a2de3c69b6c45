/*
 * grammar_automaton.c - see grammar_automaton.h.
 *
 * A place is one number: the network's state in the high half, the continuation in the low one. The
 * state past the network's last stands for the end of the whole text.
 */
#include "grammar/grammar_automaton.h"

#include "base/bytes.h"
#include "base/hash_map.h"

#include <stdlib.h>
#include <string.h>

static uint64_t place_of(uint32_t state, uint32_t continuation) {
    return (uint64_t)state << 32 | continuation;
}

static uint32_t state_of(uint64_t place) {
    return (uint32_t)(place >> 32);
}

static uint32_t continuation_of(uint64_t place) {
    return (uint32_t)place;
}

static bool give_up(struct automaton *a) {
    a->has_failed = true;
    return false;
}

/* --- sets --- */

static int compare_places(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static size_t sort_places(uint64_t *places, size_t count) {
    size_t kept = 0;
    if (count > 1) {
        qsort(places, count, sizeof *places, compare_places);
    }
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || places[kept - 1] != places[i]) {
            places[kept++] = places[i];
        }
    }
    return kept;
}

/* The scratch set of places: false when it is there already, or on failure. Stored plus one. */
static bool add_seen(struct automaton *a, uint64_t place) {
    if (a->seen.count * 2 >= a->seen.capacity) {
        size_t capacity = size_max(64, a->seen.capacity * 2);
        uint64_t *grown = calloc(capacity, sizeof *grown);
        if (grown == NULL) {
            return give_up(a);
        }
        for (size_t i = 0; i < a->seen.capacity; i++) {
            if (a->seen.items[i] != 0) {
                uint64_t key = a->seen.items[i];
                size_t at = hash_bytes(&key, sizeof key, 0) & (capacity - 1);
                while (grown[at] != 0) {
                    at = (at + 1) & (capacity - 1);
                }
                grown[at] = key;
            }
        }
        free(a->seen.items);
        a->seen.items = grown;
        a->seen.capacity = capacity;
    }
    uint64_t key = place + 1;
    size_t at = hash_bytes(&key, sizeof key, 0) & (a->seen.capacity - 1);
    while (a->seen.items[at] != 0) {
        if (a->seen.items[at] == key) {
            return false;
        }
        at = (at + 1) & (a->seen.capacity - 1);
    }
    a->seen.items[at] = key;
    a->seen.count++;
    return true;
}

static void clear_seen(struct automaton *a) {
    if (a->seen.count > 0) {
        memset(a->seen.items, 0, a->seen.capacity * sizeof *a->seen.items);
        a->seen.count = 0;
    }
}

static void push_place(struct automaton *a, uint64_t place) {
    if (a->work == 0) {
        a->has_failed = true;
        return;
    }
    a->work--;
    if (!add_seen(a, place)) {
        return;
    }
    if (!POOL_RESERVE(&a->waiting, 1)) {
        a->has_failed = true;
        return;
    }
    a->waiting.items[a->waiting.count++] = place;
}

/* Doubles a hash table of numbers + 1 once it is half full; `hash_of` tells a number's hash. */
static bool grow_index(struct automaton *a, uint32_t **index, size_t *size, size_t count,
                       uint64_t (*hash_of)(const struct automaton *, uint32_t)) {
    if (count * 2 < *size) {
        return true;
    }
    size_t grown_size = size_max(64, *size * 2);
    uint32_t *grown = calloc(grown_size, sizeof *grown);
    if (grown == NULL) {
        return give_up(a);
    }
    for (uint32_t number = 0; number < count; number++) {
        size_t at = hash_of(a, number) & (grown_size - 1);
        while (grown[at] != 0) {
            at = (at + 1) & (grown_size - 1);
        }
        grown[at] = number + 1;
    }
    free(*index);
    *index = grown;
    *size = grown_size;
    return true;
}

static uint64_t hash_places(const uint64_t *places, size_t count) {
    return hash_bytes(places, count * sizeof *places, 0);
}

static uint64_t hash_state(const struct automaton *a, uint32_t number) {
    const struct automaton_state *state = &a->states.items[number];
    return hash_places(a->places.items + state->first_place, state->place_count);
}

static uint64_t hash_continuation(const struct automaton *a, uint32_t number) {
    const struct automaton_continuation *continuation = &a->continuations.items[number];
    return hash_places(a->returns.items + continuation->first, continuation->count);
}

size_t automaton_bytes(const struct automaton *a) {
    return a->states.capacity * sizeof *a->states.items + a->rows.capacity * sizeof *a->rows.items +
           a->places.capacity * sizeof *a->places.items +
           a->continuations.capacity * sizeof *a->continuations.items +
           a->returns.capacity * sizeof *a->returns.items +
           (a->state_index_size + a->continuation_index_size) * sizeof(uint32_t) +
           (a->waiting.capacity + a->found.capacity + a->seen.capacity + a->calls.capacity) *
               sizeof(uint64_t);
}

static bool within_bounds(struct automaton *a, size_t extra_places) {
    return automaton_bytes(a) + extra_places * sizeof(uint64_t) <= AUTOMATON_HARD_BYTES ||
           give_up(a);
}

/* The number of the continuation with these places, sorted. */
static uint32_t intern_continuation(struct automaton *a, const uint64_t *places, size_t count) {
    if (!grow_index(a, &a->continuation_index, &a->continuation_index_size, a->continuations.count,
                    hash_continuation)) {
        return 0;
    }
    size_t at = hash_places(places, count) & (a->continuation_index_size - 1);
    for (; a->continuation_index[at] != 0; at = (at + 1) & (a->continuation_index_size - 1)) {
        uint32_t number = a->continuation_index[at] - 1;
        const struct automaton_continuation *known = &a->continuations.items[number];
        if (known != NULL && known->count == count &&
            memcmp(a->returns.items + known->first, places, count * sizeof *places) == 0) {
            return number;
        }
    }
    if (!within_bounds(a, count) || !POOL_RESERVE(&a->continuations, 1) ||
        !POOL_RESERVE(&a->returns, count)) {
        a->has_failed = true;
        return 0;
    }
    a->continuations.items[a->continuations.count] =
        (struct automaton_continuation){(uint32_t)a->returns.count, (uint32_t)count};
    memcpy(a->returns.items + a->returns.count, places, count * sizeof *places);
    a->returns.count += count;
    a->continuation_index[at] = (uint32_t)++a->continuations.count;
    return (uint32_t)a->continuations.count - 1;
}

/* The number of the state with these places, sorted. None: AUTOMATON_DEAD. */
static uint32_t intern_state(struct automaton *a, const uint64_t *places, size_t count) {
    if (a->has_failed ||
        !grow_index(a, &a->state_index, &a->state_index_size, a->states.count, hash_state)) {
        return AUTOMATON_DEAD;
    }
    size_t at = hash_places(places, count) & (a->state_index_size - 1);
    for (; a->state_index[at] != 0; at = (at + 1) & (a->state_index_size - 1)) {
        uint32_t number = a->state_index[at] - 1;
        const struct automaton_state *known = &a->states.items[number];
        if (known->place_count == count &&
            (count == 0 ||
             memcmp(a->places.items + known->first_place, places, count * sizeof *places) == 0)) {
            return number;
        }
    }
    size_t classes = a->grammar->class_count;
    if (!within_bounds(a, count) || !POOL_RESERVE(&a->states, 1) ||
        !POOL_RESERVE(&a->places, count) || !POOL_RESERVE(&a->rows, classes)) {
        a->has_failed = true;
        return AUTOMATON_DEAD;
    }
    struct automaton_state state = {.first_place = a->places.count, .place_count = (uint32_t)count};
    for (size_t i = 0; i < count; i++) {
        state.accepts = state.accepts || state_of(places[i]) == a->grammar->state_count;
        a->places.items[a->places.count++] = places[i];
    }
    for (size_t i = 0; i < classes; i++) {
        a->rows.items[a->rows.count++] = AUTOMATON_UNKNOWN;
    }
    a->states.items[a->states.count] = state;
    a->state_index[at] = (uint32_t)++a->states.count;
    return (uint32_t)a->states.count - 1;
}

/* --- closures --- */

static void heap_push(struct automaton *a, uint32_t rule) {
    const struct grammar_rule *rules = a->grammar->rules;
    if (!POOL_RESERVE(&a->called, 1)) {
        a->has_failed = true;
        return;
    }
    size_t at = a->called.count++;
    for (; at > 0 && rules[a->called.items[(at - 1) / 2]].rank > rules[rule].rank;
         at = (at - 1) / 2) {
        a->called.items[at] = a->called.items[(at - 1) / 2];
    }
    a->called.items[at] = rule;
}

static uint32_t heap_pop(struct automaton *a) {
    const struct grammar_rule *rules = a->grammar->rules;
    uint32_t *heap = a->called.items;
    uint32_t top = heap[0], last = heap[--a->called.count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= a->called.count) {
            break;
        }
        if (child + 1 < a->called.count && rules[heap[child + 1]].rank < rules[heap[child]].rank) {
            child++;
        }
        if (rules[heap[child]].rank >= rules[last].rank) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

static void note_call(struct automaton *a, uint32_t rule, uint64_t return_place) {
    if (!POOL_RESERVE(&a->calls, 1) || !POOL_RESERVE(&a->call_next, 1)) {
        a->has_failed = true;
        return;
    }
    if (a->call_first[rule] == 0) {
        heap_push(a, rule);
    }
    a->calls.items[a->calls.count++] = return_place;
    a->call_next.items[a->call_next.count++] = a->call_first[rule];
    a->call_first[rule] = (uint32_t)a->calls.count;
}

/*
 * Follows what reads nothing from the waiting places: empty edges, ends of rules, rules with an
 * empty text. Places that read, and the end of the whole, go to `found`. `calls`: rules that are
 * called are noted too.
 */
static void drain(struct automaton *a, bool calls) {
    const struct grammar *g = a->grammar;
    while (a->waiting.count > 0 && !a->has_failed) {
        uint64_t place = a->waiting.items[--a->waiting.count];
        uint32_t state = state_of(place), continuation = continuation_of(place);
        bool is_whole_end = state == g->state_count;
        if (is_whole_end || g->flags[state] & STATE_READS) {
            if (!POOL_RESERVE(&a->found, 1)) {
                a->has_failed = true;
                return;
            }
            a->found.items[a->found.count++] = place;
        }
        if (is_whole_end) {
            continue;
        }
        if (g->flags[state] & STATE_IS_END) {
            struct automaton_continuation after = a->continuations.items[continuation];
            for (uint32_t i = 0; i < after.count; i++) {
                push_place(a, a->returns.items[after.first + i]);
            }
        }
        for (uint32_t e = g->first_edge[state]; e < g->first_edge[state + 1]; e++) {
            const struct grammar_edge *edge = &g->edges[e];
            if (edge->kind == EDGE_EMPTY) {
                push_place(a, place_of(edge->target, continuation));
            } else if (edge->kind == EDGE_RULE) {
                uint64_t back = place_of(edge->target, continuation);
                if (g->rules[edge->value].is_nullable) {
                    push_place(a, back);
                }
                if (calls) {
                    note_call(a, edge->value, back);
                }
            }
        }
    }
}

/* What follows a rule called from the noted places. A return to where nothing but the end of the
 * caller is left is replaced by what follows the caller, so that a list's continuation does not
 * grow with the list. */
static uint32_t continuation_of_calls(struct automaton *a, uint32_t rule) {
    const struct grammar *g = a->grammar;
    size_t from = a->found.count; /* the end of `found` is scratch here */
    for (uint32_t at = a->call_first[rule]; at != 0 && !a->has_failed;
         at = a->call_next.items[at - 1]) {
        uint64_t place = a->calls.items[at - 1];
        struct automaton_continuation after = {0, 0};
        const uint64_t *places = &place;
        size_t count = 1;
        if (g->flags[state_of(place)] & STATE_ONLY_ENDS) {
            after = a->continuations.items[continuation_of(place)];
            places = a->returns.items + after.first;
            count = after.count;
        }
        if (a->work < count || !POOL_RESERVE(&a->found, count)) {
            a->has_failed = true;
            break;
        }
        a->work -= count;
        memcpy(a->found.items + a->found.count, places, count * sizeof *places);
        a->found.count += count;
    }
    size_t count = sort_places(a->found.items + from, a->found.count - from);
    a->found.count = from;
    return a->has_failed ? 0 : intern_continuation(a, a->found.items + from, count);
}

static void start_closure(struct automaton *a) {
    a->waiting.count = a->found.count = 0;
    clear_seen(a);
}

/* Finds the state's active places: its own and those of all rules that are called there. Rules go
 * by rank, so that all callers of one are known when its turn comes. */
static void expand(struct automaton *a, uint32_t number) {
    struct automaton_state state = a->states.items[number];
    start_closure(a);
    a->calls.count = a->call_next.count = a->called.count = 0;
    for (uint32_t i = 0; i < state.place_count; i++) {
        push_place(a, a->places.items[state.first_place + i]);
    }
    drain(a, true);
    while (a->called.count > 0 && !a->has_failed) {
        uint32_t rule = heap_pop(a);
        uint32_t continuation = continuation_of_calls(a, rule);
        a->call_first[rule] = 0;
        if (!a->has_failed) {
            push_place(a, place_of(a->grammar->rules[rule].start, continuation));
            drain(a, true);
        }
    }
    while (a->called.count > 0) { /* after a failure */
        a->call_first[a->called.items[--a->called.count]] = 0;
    }
    if (a->has_failed || !within_bounds(a, a->found.count) ||
        !POOL_RESERVE(&a->places, a->found.count)) {
        a->has_failed = true;
        return;
    }
    state.first_active = a->places.count;
    state.active_count = (uint32_t)a->found.count;
    state.is_expanded = true;
    if (a->found.count > 0) {
        memcpy(a->places.items + a->places.count, a->found.items,
               a->found.count * sizeof *a->found.items);
    }
    a->places.count += a->found.count;
    a->states.items[number] = state;
}

/* The state of the places found, after an edge was read. */
static uint32_t finish_step(struct automaton *a) {
    drain(a, false);
    if (a->has_failed) {
        return AUTOMATON_DEAD;
    }
    size_t count = sort_places(a->found.items, a->found.count);
    return intern_state(a, a->found.items, count);
}

/* Reads one byte, or one token, from each active place that can. */
static uint32_t step(struct automaton *a, uint32_t number, enum grammar_edge_kind kind,
                     uint32_t value) {
    const struct grammar *g = a->grammar;
    if (!a->states.items[number].is_expanded) {
        expand(a, number);
        if (a->has_failed) {
            return AUTOMATON_DEAD;
        }
    }
    struct automaton_state state = a->states.items[number];
    start_closure(a);
    for (uint32_t i = 0; i < state.active_count && !a->has_failed; i++) {
        uint64_t place = a->places.items[state.first_active + i];
        uint32_t from = state_of(place);
        if (from == g->state_count) {
            continue;
        }
        for (uint32_t e = g->first_edge[from]; e < g->first_edge[from + 1]; e++) {
            const struct grammar_edge *edge = &g->edges[e];
            bool reads = edge->kind == kind &&
                         (kind == EDGE_BYTES ? edge->low <= value && value <= edge->high
                                             : kind == EDGE_OTHER_TOKENS || edge->value == value);
            if (reads) {
                push_place(a, place_of(edge->target, continuation_of(place)));
            }
        }
        a->work -= a->work > 0;
    }
    return finish_step(a);
}

uint32_t automaton_next(struct automaton *a, uint32_t number, uint8_t byte) {
    size_t at = number * a->grammar->class_count + a->grammar->byte_class[byte];
    if (a->rows.items[at] == AUTOMATON_UNKNOWN) {
        uint32_t next = step(a, number, EDGE_BYTES, byte);
        if (a->has_failed) {
            return AUTOMATON_DEAD;
        }
        a->rows.items[at] = next;
    }
    return a->rows.items[at];
}

uint32_t automaton_next_token(struct automaton *a, uint32_t number, enum grammar_edge_kind kind,
                              uint32_t token) {
    return step(a, number, kind, token);
}

void automaton_tokens(struct automaton *a, uint32_t number, automaton_token_fn *found,
                      void *context) {
    const struct grammar *g = a->grammar;
    if (!a->states.items[number].is_expanded) {
        expand(a, number);
    }
    struct automaton_state state = a->states.items[number];
    for (uint32_t i = 0; i < state.active_count && !a->has_failed; i++) {
        uint32_t from = state_of(a->places.items[state.first_active + i]);
        if (from == g->state_count) {
            continue;
        }
        for (uint32_t e = g->first_edge[from]; e < g->first_edge[from + 1]; e++) {
            if (g->edges[e].kind == EDGE_TOKEN || g->edges[e].kind == EDGE_OTHER_TOKENS) {
                found(context, g->edges[e].kind, g->edges[e].value);
            }
        }
    }
}

bool automaton_accepts(const struct automaton *a, uint32_t state) {
    return a->states.items[state].accepts;
}

bool automaton_goes_on(const struct automaton *a, uint32_t state) {
    const struct automaton_state *row = &a->states.items[state];
    return row->place_count > (row->accepts ? 1U : 0U);
}

/* --- life --- */

/* The continuation of the whole text: to return to it is to be at the end. */
static bool add_root(struct automaton *a) {
    const uint64_t end = place_of((uint32_t)a->grammar->state_count, 0);
    return intern_continuation(a, &end, 1) == 0 && !a->has_failed;
}

bool automaton_init(struct automaton *a, const struct grammar *grammar) {
    *a = (struct automaton){.grammar = grammar, .work = AUTOMATON_STEP_WORK};
    a->call_first = calloc(grammar->rule_count, sizeof *a->call_first);
    if (a->call_first == NULL || !add_root(a)) {
        automaton_deinit(a);
        return false;
    }
    (void)intern_state(a, NULL, 0); /* AUTOMATON_DEAD */
    start_closure(a);
    push_place(a, place_of(grammar->rules[0].start, 0));
    uint32_t start = finish_step(a);
    if (a->has_failed || start != AUTOMATON_START) {
        automaton_deinit(a);
        return false;
    }
    return true;
}

void automaton_deinit(struct automaton *a) {
    free(a->states.items);
    free(a->rows.items);
    free(a->places.items);
    free(a->continuations.items);
    free(a->returns.items);
    free(a->state_index);
    free(a->continuation_index);
    free(a->waiting.items);
    free(a->found.items);
    free(a->seen.items);
    free(a->calls.items);
    free(a->call_next.items);
    free(a->call_first);
    free(a->called.items);
    *a = (struct automaton){0};
}

/* Continuations refer to earlier ones only: one pass down marks what is needed, one up copies it.
 * renamed: [continuation count of `from`], new number + 1; on entry 1 where a root needs it. */
static bool copy_continuations(const struct automaton *from, struct automaton *to,
                               uint32_t *renamed) {
    for (size_t i = from->continuations.count; i-- > 1;) {
        const struct automaton_continuation *row = &from->continuations.items[i];
        for (uint32_t k = 0; renamed[i] != 0 && k < row->count; k++) {
            renamed[continuation_of(from->returns.items[row->first + k])] = 1;
        }
    }
    renamed[0] = 1; /* the root is 0 in both */
    for (size_t i = 1; i < from->continuations.count; i++) {
        const struct automaton_continuation *row = &from->continuations.items[i];
        if (renamed[i] == 0) {
            continue;
        }
        to->found.count = 0;
        if (!POOL_RESERVE(&to->found, row->count)) {
            return false;
        }
        for (uint32_t k = 0; k < row->count; k++) {
            uint64_t place = from->returns.items[row->first + k];
            to->found.items[to->found.count++] =
                place_of(state_of(place), renamed[continuation_of(place)] - 1);
        }
        size_t count = sort_places(to->found.items, to->found.count);
        renamed[i] = intern_continuation(to, to->found.items, count) + 1;
        if (to->has_failed) {
            return false;
        }
    }
    return true;
}

bool automaton_collect(struct automaton *a, uint32_t *const *states, size_t count) {
    struct automaton fresh;
    uint32_t *renamed = calloc(a->continuations.count, sizeof *renamed);
    if (renamed == NULL || !automaton_init(&fresh, a->grammar)) {
        free(renamed);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const struct automaton_state *state = &a->states.items[*states[i]];
        for (uint32_t k = 0; k < state->place_count; k++) {
            renamed[continuation_of(a->places.items[state->first_place + k])] = 1;
        }
    }
    bool done = copy_continuations(a, &fresh, renamed);
    uint32_t *numbers = calloc(count + 1, sizeof *numbers);
    done = done && numbers != NULL;
    for (size_t i = 0; done && i < count; i++) {
        const struct automaton_state *state = &a->states.items[*states[i]];
        fresh.found.count = 0;
        done = POOL_RESERVE(&fresh.found, state->place_count);
        for (uint32_t k = 0; done && k < state->place_count; k++) {
            uint64_t place = a->places.items[state->first_place + k];
            fresh.found.items[fresh.found.count++] =
                place_of(state_of(place), renamed[continuation_of(place)] - 1);
        }
        if (done) {
            size_t places = sort_places(fresh.found.items, fresh.found.count);
            numbers[i] = intern_state(&fresh, fresh.found.items, places);
            done = !fresh.has_failed;
        }
    }
    for (size_t i = 0; done && i < count; i++) {
        *states[i] = numbers[i];
    }
    if (done) {
        struct automaton old = *a;
        *a = fresh;
        fresh = old;
    }
    automaton_deinit(&fresh);
    free(renamed);
    free(numbers);
    return done;
}
