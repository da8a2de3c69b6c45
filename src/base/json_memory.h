/*
 * json_memory.h - the memory of jansson, whose reader damages the heap when an allocation fails
 * under it.
 *
 * json_memory_allocate and json_memory_free are for json_set_alloc_funcs. They are malloc and free,
 * with two differences. Within json_guarded a failure does not come back to jansson: what the call
 * has allocated so far is freed, and its value is NULL. Outside, memory comes out of a reserve,
 * which is there for what is small; only when that is used up too does jansson get NULL.
 *
 * Blocks are malloc's, so that it does not matter what was allocated before the functions were set,
 * or who frees a block. Where they were not set, json_guarded is the plain call. Any thread.
 */
#ifndef MISTRAL_BASE_JSON_MEMORY_H
#define MISTRAL_BASE_JSON_MEMORY_H

#include <stddef.h>

struct json_t;
struct json_error_t;

void *json_memory_allocate(size_t bytes);
void json_memory_free(void *memory);

/* Fills the reserve, some 40 KiB; empty before the first call, and it fills itself again once it
 * was used. A program that ends need not empty it. */
void json_memory_fill(void);
void json_memory_empty(void);

/* What `load`, which is json_loadb, makes of the bytes; NULL too when memory runs out in it: then
 * *reason (may be NULL) is as it was. */
struct json_t *json_guarded(struct json_t *(*load)(const char *bytes, size_t length, size_t flags,
                                                   struct json_error_t *reason),
                            const char *bytes, size_t length, size_t flags,
                            struct json_error_t *reason);

#endif
