/* grammar_matcher.c - see grammar_matcher.h. */
#include "grammar/grammar_matcher.h"

#include "base/bytes.h"
#include "grammar/grammar_automaton.h"
#include "grammar/token_trie.h"

#include <stdlib.h>
#include <string.h>

enum {
    MASK_BYTES = 4 << 20, /* of one automaton's kept masks */
    MIN_MASKS = 8,
    IDLE_AUTOMATA = 8 /* kept after their last request */
};

struct kept_mask {
    uint64_t *words; /* [mask_words] */
    uint32_t state;  /* AUTOMATON_DEAD: free */
    uint64_t used;   /* when: larger is later */
};

/* A grammar over this vocabulary, shared by its matchers. */
struct shared_automaton {
    struct shared_automaton *next;
    struct grammar *grammar;
    struct automaton automaton;
    int32_t *tokens;         /* [grammar's token_count]: ids */
    struct kept_mask *masks; /* [mask_count] */
    size_t mask_count;
    struct grammar_matcher *matchers; /* those that use it */
    uint64_t used;
};

struct grammar_cache {
    struct token_trie trie;
    size_t mask_words, most_masks;
    struct shared_automaton *automata;
    uint32_t *path; /* [longest token + 1]: states along a walk */
    uint64_t clock;
};

struct grammar_matcher {
    struct grammar_cache *cache;
    struct shared_automaton *shared;
    struct grammar_matcher *next, *previous;
    uint32_t state;
    bool drops_space; /* nothing is said yet, and the text will lose one leading space */
};

/* --- the cache --- */

bool grammar_cache_create(const struct tokenizer *tokenizer, struct grammar_cache **out,
                          struct error *error) {
    struct grammar_cache *cache = calloc(1, sizeof *cache);
    if (cache != NULL && token_trie_init(&cache->trie, tokenizer)) {
        cache->mask_words = size_divide_up(cache->trie.vocabulary_size, 64);
        cache->most_masks =
            size_max(MIN_MASKS, MASK_BYTES / (cache->mask_words * sizeof(uint64_t) + 1));
        cache->path = calloc(cache->trie.longest + 1, sizeof *cache->path);
    }
    if (cache == NULL || cache->path == NULL) {
        grammar_cache_free(cache);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the vocabulary's trie");
    }
    *out = cache;
    return true;
}

static void free_masks(struct shared_automaton *shared) {
    for (size_t i = 0; i < shared->mask_count; i++) {
        free(shared->masks[i].words);
    }
    shared->mask_count = 0;
}

static void free_shared(struct shared_automaton *shared) {
    if (shared == NULL) {
        return;
    }
    free_masks(shared);
    free(shared->masks);
    free(shared->tokens);
    automaton_deinit(&shared->automaton);
    grammar_unref(shared->grammar);
    free(shared);
}

void grammar_cache_free(struct grammar_cache *cache) {
    if (cache == NULL) {
        return;
    }
    while (cache->automata != NULL) {
        struct shared_automaton *next = cache->automata->next;
        free_shared(cache->automata);
        cache->automata = next;
    }
    free(cache->path);
    token_trie_deinit(&cache->trie);
    free(cache);
}

static bool same_tokens(const struct grammar *a, const struct grammar *b) {
    for (size_t i = 0; i < a->token_count; i++) {
        if (a->tokens[i].id != b->tokens[i].id ||
            !string_view_equals(a->tokens[i].text, b->tokens[i].text)) {
            return false;
        }
    }
    return true;
}

static bool same_edge(const struct grammar_edge *a, const struct grammar_edge *b) {
    return a->kind == b->kind && a->low == b->low && a->high == b->high && a->value == b->value &&
           a->target == b->target;
}

/* Built from the same parts: the same network. */
static bool same_grammar(const struct grammar *a, const struct grammar *b) {
    if (a == b) {
        return true;
    }
    if (a->state_count != b->state_count || a->edge_count != b->edge_count ||
        a->rule_count != b->rule_count || a->token_count != b->token_count ||
        memcmp(a->first_edge, b->first_edge, a->state_count * sizeof *a->first_edge) != 0 ||
        !same_tokens(a, b)) {
        return false;
    }
    for (size_t i = 0; i < a->edge_count; i++) {
        if (!same_edge(&a->edges[i], &b->edges[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < a->rule_count; i++) {
        if (a->rules[i].start != b->rules[i].start || a->rules[i].end != b->rules[i].end) {
            return false;
        }
    }
    return true;
}

/* Frees the idle automata that were used longest ago, beyond as many as are kept. */
static void drop_idle(struct grammar_cache *cache) {
    for (;;) {
        size_t idle = 0;
        struct shared_automaton **oldest = NULL;
        for (struct shared_automaton **at = &cache->automata; *at != NULL; at = &(*at)->next) {
            if ((*at)->matchers == NULL) {
                idle++;
                oldest = oldest == NULL || (*at)->used < (*oldest)->used ? at : oldest;
            }
        }
        if (idle <= IDLE_AUTOMATA) {
            return;
        }
        struct shared_automaton *dropped = *oldest;
        *oldest = dropped->next;
        free_shared(dropped);
    }
}

static bool find_tokens(const struct grammar_cache *cache, struct shared_automaton *shared,
                        struct error *error) {
    const struct grammar *grammar = shared->grammar;
    for (size_t i = 0; i < grammar->token_count; i++) {
        const struct grammar_token *token = &grammar->tokens[i];
        int32_t id = token->id == TOKEN_BY_TEXT ? tokenizer_find(cache->trie.tokenizer, token->text)
                                                : token->id;
        if (id < 0 || (size_t)id >= cache->trie.vocabulary_size) {
            return token->id == TOKEN_BY_TEXT
                       ? error_set(error, ERROR_INVALID_ARGUMENT,
                                   "the grammar names the token '%.*s', which this model's "
                                   "vocabulary lacks",
                                   (int)size_min(token->text.length, 100), token->text.data)
                       : error_set(error, ERROR_INVALID_ARGUMENT,
                                   "the grammar names token %d; this model has %zu tokens",
                                   token->id, cache->trie.vocabulary_size);
        }
        shared->tokens[i] = id;
    }
    return true;
}

static bool create_shared(struct grammar_cache *cache, struct grammar *grammar,
                          struct shared_automaton **out, struct error *error) {
    struct shared_automaton *shared = calloc(1, sizeof *shared);
    if (shared != NULL) {
        shared->grammar = grammar_ref(grammar);
        shared->tokens = calloc(grammar->token_count + 1, sizeof *shared->tokens);
        shared->masks = calloc(cache->most_masks, sizeof *shared->masks);
    }
    if (shared == NULL || shared->tokens == NULL || shared->masks == NULL) {
        free_shared(shared);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    }
    if (!find_tokens(cache, shared, error)) {
        free_shared(shared);
        return false;
    }
    if (!automaton_init(&shared->automaton, shared->grammar)) {
        free_shared(shared);
        return error_set(error, ERROR_UNSUPPORTED,
                         "the grammar is too ambiguous: its beginning alone is past the bounds on "
                         "work and memory");
    }
    shared->next = cache->automata;
    cache->automata = shared;
    *out = shared;
    return true;
}

/* --- a matcher --- */

bool grammar_matcher_create(struct grammar_cache *cache, struct grammar *grammar,
                            struct grammar_matcher **out, struct error *error) {
    struct shared_automaton *shared = cache->automata;
    while (shared != NULL && !same_grammar(shared->grammar, grammar)) {
        shared = shared->next;
    }
    if (shared == NULL && (!create_shared(cache, grammar, &shared, error) || shared == NULL)) {
        return false;
    }
    struct grammar_matcher *matcher = calloc(1, sizeof *matcher);
    if (matcher == NULL) {
        drop_idle(cache);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    }
    *matcher = (struct grammar_matcher){
        .cache = cache,
        .shared = shared,
        .next = shared->matchers,
        .state = AUTOMATON_START,
        .drops_space = tokenizer_strips_leading_space(cache->trie.tokenizer),
    };
    if (matcher->next != NULL) {
        matcher->next->previous = matcher;
    }
    shared->matchers = matcher;
    shared->used = ++cache->clock;
    drop_idle(cache);
    *out = matcher;
    return true;
}

void grammar_matcher_free(struct grammar_matcher *matcher) {
    if (matcher == NULL) {
        return;
    }
    *(matcher->previous != NULL ? &matcher->previous->next : &matcher->shared->matchers) =
        matcher->next;
    if (matcher->next != NULL) {
        matcher->next->previous = matcher->previous;
    }
    drop_idle(matcher->cache);
    free(matcher);
}

/* --- masks --- */

static void allow(uint64_t *words, int32_t token) {
    words[(size_t)token / 64] |= (uint64_t)1 << (size_t)token % 64;
}

/* The text tokens that may follow `state`. A first token's leading space is not shown, so it is not
 * read either. */
static void walk(struct grammar_cache *cache, struct automaton *automaton, uint32_t state,
                 bool drops_space, uint64_t *words) {
    const struct token_trie *trie = &cache->trie;
    uint32_t *path = cache->path;
    path[0] = state;
    for (size_t i = 0; i < trie->node_count;) {
        const struct trie_node *node = &trie->nodes[i];
        uint32_t from = path[node->depth - 1];
        uint32_t next = drops_space && node->depth == 1 && node->byte == ' '
                            ? from
                            : automaton_next(automaton, from, node->byte);
        if (next == AUTOMATON_DEAD) {
            if (automaton->has_failed) {
                return;
            }
            i = node->end;
            continue;
        }
        path[node->depth] = next;
        for (uint32_t t = node->first_token; t < node[1].first_token; t++) {
            allow(words, trie->tokens[t]);
        }
        i++;
    }
}

struct token_walk {
    const struct token_trie *trie;
    const struct shared_automaton *shared;
    uint64_t *words;
};

static bool is_listed(const struct shared_automaton *shared, int32_t token, uint32_t *index) {
    for (size_t i = 0; i < shared->grammar->token_count; i++) {
        if (shared->tokens[i] == token) {
            *index = (uint32_t)i;
            return true;
        }
    }
    return false;
}

static void allow_token_edge(void *context, enum grammar_edge_kind kind, uint32_t token) {
    const struct token_walk *walk = context;
    uint32_t index;
    if (kind == EDGE_TOKEN) {
        allow(walk->words, walk->shared->tokens[token]);
        return;
    }
    for (size_t i = 0; i < walk->trie->special_count; i++) {
        if (!is_listed(walk->shared, walk->trie->specials[i], &index)) {
            allow(walk->words, walk->trie->specials[i]);
        }
    }
}

static bool is_empty(const uint64_t *words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (words[i] != 0) {
            return false;
        }
    }
    return true;
}

/* The number of the one used longest ago; mask_count: there is none. */
static size_t oldest_mask(const struct shared_automaton *shared) {
    size_t oldest = shared->mask_count;
    for (size_t i = 0; i < shared->mask_count; i++) {
        if (oldest == shared->mask_count || shared->masks[i].used < shared->masks[oldest].used) {
            oldest = i;
        }
    }
    return oldest;
}

/* A place for a mask: one that holds none that was kept, a new one, or that of the one used longest
 * ago. */
static struct kept_mask *take_slot(struct grammar_cache *cache, struct shared_automaton *shared) {
    size_t oldest = oldest_mask(shared);
    bool is_free = oldest < shared->mask_count && shared->masks[oldest].used == 0;
    if (!is_free && shared->mask_count < cache->most_masks) {
        uint64_t *words = calloc(cache->mask_words, sizeof *words);
        if (words != NULL) {
            shared->masks[shared->mask_count].words = words;
            return &shared->masks[shared->mask_count++];
        }
    }
    if (oldest == shared->mask_count) {
        return NULL;
    }
    struct kept_mask *slot = &shared->masks[oldest];
    if (slot->state != AUTOMATON_DEAD) {
        shared->automaton.states.items[slot->state].mask = 0;
    }
    memset(slot->words, 0, cache->mask_words * sizeof *slot->words);
    return slot;
}

/* Forgets all states but those the matchers are in. */
static void collect(struct shared_automaton *shared) {
    size_t count = 0;
    for (struct grammar_matcher *m = shared->matchers; m != NULL; m = m->next) {
        count++;
    }
    uint32_t **states = calloc(count + 1, sizeof *states);
    if (states == NULL) {
        return;
    }
    count = 0;
    for (struct grammar_matcher *m = shared->matchers; m != NULL; m = m->next) {
        states[count++] = &m->state;
    }
    if (automaton_collect(&shared->automaton, states, count)) {
        free_masks(shared);
    }
    free(states);
}

/* Before the automaton is asked what may come next. */
static void begin_token(struct grammar_matcher *matcher) {
    struct shared_automaton *shared = matcher->shared;
    shared->automaton.work = AUTOMATON_STEP_WORK;
    shared->used = ++matcher->cache->clock;
    if (automaton_bytes(&shared->automaton) > AUTOMATON_SOFT_BYTES) {
        collect(shared);
    }
}

static bool too_ambiguous(struct automaton *automaton, struct error *error) {
    automaton->has_failed = false; /* what it holds is whole; others go on */
    return error_set(
        error, ERROR_UNSUPPORTED,
        "the grammar is too ambiguous here: finding the next tokens is past the bounds "
        "on work and memory");
}

bool grammar_matcher_mask(struct grammar_matcher *matcher, const uint64_t **mask,
                          struct error *error) {
    struct grammar_cache *cache = matcher->cache;
    struct shared_automaton *shared = matcher->shared;
    struct automaton *automaton = &shared->automaton;
    begin_token(matcher);
    uint32_t known = automaton->states.items[matcher->state].mask;
    if (known != 0 && !matcher->drops_space) {
        shared->masks[known - 1].used = cache->clock;
        *mask = shared->masks[known - 1].words;
        return true;
    }
    struct kept_mask *slot = take_slot(cache, shared);
    if (slot == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar's tokens");
    }
    slot->state = AUTOMATON_DEAD;
    slot->used = 0; /* the first to be replaced, unless it turns out well */
    walk(cache, automaton, matcher->state, matcher->drops_space, slot->words);
    struct token_walk tokens = {&cache->trie, shared, slot->words};
    automaton_tokens(automaton, matcher->state, allow_token_edge, &tokens);
    if (automaton->has_failed) {
        return too_ambiguous(automaton, error);
    }
    if (automaton_accepts(automaton, matcher->state)) {
        for (size_t i = 0; i < cache->trie.end_count; i++) {
            allow(slot->words, cache->trie.ends[i]);
        }
    }
    if (is_empty(slot->words, cache->mask_words)) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "no token of this model's vocabulary goes on as the grammar wants");
    }
    if (!matcher->drops_space) {
        slot->state = matcher->state;
        slot->used = cache->clock;
        automaton->states.items[matcher->state].mask = (uint32_t)(slot - shared->masks) + 1;
    }
    *mask = slot->words;
    return true;
}

/* Where `token`, which ends no answer, leads; AUTOMATON_DEAD: it is not allowed, or there is no
 * memory to tell. */
static uint32_t state_after(struct grammar_matcher *matcher, int32_t token) {
    struct automaton *automaton = &matcher->shared->automaton;
    struct string_view text = tokenizer_piece(matcher->cache->trie.tokenizer, token, false);
    uint32_t index = 0, after = AUTOMATON_DEAD;
    automaton->work = AUTOMATON_STEP_WORK;
    if (is_listed(matcher->shared, token, &index)) {
        after = automaton_next_token(automaton, matcher->state, EDGE_TOKEN, index);
    } else if (text.length == 0) {
        after = automaton_next_token(automaton, matcher->state, EDGE_OTHER_TOKENS, 0);
    }
    if (after == AUTOMATON_DEAD && text.length > 0) {
        size_t at = matcher->drops_space && text.data[0] == ' ' ? 1 : 0;
        after = matcher->state;
        for (; at < text.length && after != AUTOMATON_DEAD; at++) {
            after = automaton_next(automaton, after, (uint8_t)text.data[at]);
        }
    }
    automaton->has_failed = false;
    return after;
}

bool grammar_matcher_allows(struct grammar_matcher *matcher, int32_t token) {
    begin_token(matcher);
    return tokenizer_is_end(matcher->cache->trie.tokenizer, token)
               ? grammar_matcher_may_end(matcher)
               : state_after(matcher, token) != AUTOMATON_DEAD;
}

bool grammar_matcher_accept(struct grammar_matcher *matcher, int32_t token) {
    uint32_t after = state_after(matcher, token);
    if (after == AUTOMATON_DEAD) {
        return false;
    }
    struct string_view text = tokenizer_piece(matcher->cache->trie.tokenizer, token, false);
    matcher->state = after;
    matcher->drops_space = matcher->drops_space && text.length == 0;
    return true;
}

bool grammar_matcher_may_end(const struct grammar_matcher *matcher) {
    return automaton_accepts(&matcher->shared->automaton, matcher->state);
}

bool grammar_matcher_must_end(const struct grammar_matcher *matcher) {
    return grammar_matcher_may_end(matcher) &&
           !automaton_goes_on(&matcher->shared->automaton, matcher->state);
}
