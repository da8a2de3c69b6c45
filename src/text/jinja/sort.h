/* sort.h - Python's stable sort over keyed values. */
#ifndef MISTRAL_TEXT_JINJA_SORT_H
#define MISTRAL_TEXT_JINJA_SORT_H

#include "text/jinja/value.h"

/* Orders entries by key; `reverse` gives descending order, equal keys staying as they were. Keys
 * that have no order between them fail. */
bool jinja_sort(struct jinja_render *render, struct jinja_entry *entries, size_t count,
                bool reverse);

#endif
