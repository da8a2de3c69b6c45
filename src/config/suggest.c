/* suggest.c - see suggest.h. */
#include "config/suggest.h"

#include "base/bytes.h"

#include <ctype.h>

/* Names longer than this are not compared: no setting or subcommand is. */
enum { SUGGEST_MAX_BYTES = 63 };

static char fold(char c) {
    return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

/* Insertions, deletions, changes and swaps of neighbours that turn a into b (Damerau's distance in
 * its restricted form), case and the two kinds of dash not counted. */
static size_t edit_distance(struct string_view a, struct string_view b) {
    size_t rows[3][SUGGEST_MAX_BYTES + 1]; /* the row before last, the last one, this one */
    size_t *before = rows[0];
    size_t *last = rows[1];
    size_t *row = rows[2];
    for (size_t j = 0; j <= b.length; j++) {
        last[j] = j;
        before[j] = j;
    }
    for (size_t i = 1; i <= a.length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b.length; j++) {
            char x = fold(a.data[i - 1]);
            char y = fold(b.data[j - 1]);
            size_t change = last[j - 1] + (x == y ? 0 : 1);
            row[j] = size_min(change, size_min(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && x == fold(b.data[j - 2]) && fold(a.data[i - 2]) == y) {
                row[j] = size_min(row[j], before[j - 2] + 1);
            }
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[b.length];
}

struct suggestion suggest_for(const char *given) {
    return (struct suggestion){.given = string_view_of(given)};
}

void suggest_offer(struct suggestion *suggestion, struct string_view candidate) {
    struct string_view given = suggestion->given;
    if (given.length > SUGGEST_MAX_BYTES || candidate.length > SUGGEST_MAX_BYTES) {
        return;
    }
    size_t distance = edit_distance(given, candidate);
    /* A third of the letters may differ; of a short word one. More would be guessing. */
    size_t allowed = size_max(1, size_min(given.length, candidate.length) / 3);
    if (distance <= allowed && (suggestion->best.length == 0 || distance < suggestion->distance)) {
        suggestion->best = candidate;
        suggestion->distance = distance;
    }
}
