/*
 * ranges.h - a large file over several connections, each fetching one piece at a time. Private to
 * hub/.
 *
 * The part file has the file's bytes at their places and, behind them, a journal of how much of
 * each piece is there; so a kill loses nothing but the last megabyte of each connection. Only
 * whoever holds the part file's lock may use this. The bytes' checksum is the caller's business.
 */
#ifndef MISTRAL_HUB_RANGES_H
#define MISTRAL_HUB_RANGES_H

#include "hub/download.h"

struct ranges;

/* Whether a file of this size is worth more than one connection. */
bool ranges_are_worth(const struct download *download);

/* Whether a part file of that size has a journal behind its bytes. */
bool ranges_have_journal(const struct download *download, int file, uint64_t size);

/* Takes over what is there: by the journal, or the first `there` bytes when there is none. */
bool ranges_create(const struct download *download, int file, uint64_t there,
                   struct ranges **ranges, struct error *error);
void ranges_free(struct ranges *ranges); /* NULL allowed */

uint64_t ranges_done_bytes(const struct ranges *ranges);

enum ranges_outcome { RANGES_DONE, RANGES_FAILED, RANGES_NOT_OFFERED };

/* Fetches what is missing. Progress and cancellation are the calling thread's. RANGES_NOT_OFFERED:
 * the server sends whole files only; nothing is said of the error. */
enum ranges_outcome ranges_fetch(struct ranges *ranges, const char *name, struct error *error);

#endif
