/*
 * hub.h - the models folder: what lies in it, and fetching what is missing from Hugging Face.
 *
 * A model is one GGUF file, or a folder of safetensors as Hugging Face has them. People name it by
 * its path, by its name in the models folder (with or without .gguf), or by an alias of the table
 * in aliases.c. Nothing here prints: progress goes to a callback, trouble to struct error with the
 * way out in it. Blocking calls, any thread, except that one folder is filled by one pull of a file
 * at a time (a lock on the unfinished file sees to it).
 */
#ifndef MISTRAL_HUB_HUB_H
#define MISTRAL_HUB_HUB_H

#include "base/error.h"
#include "base/string_buffer.h"
#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Short names for models people ask for. The file is stem + format + ".gguf". */
struct hub_alias {
    const char *name;
    const char *repository; /* on Hugging Face, "owner/name" */
    const char *stem;
    const char *format; /* NULL: the setting default_quantization */
};

/* Gives OpenSSL memory out of the reserve of base/json_memory.h when there is no other: its start
 * crashes without. Before anything else of OpenSSL is used; without it, that is the caller's risk.
 */
void hub_set_memory(void);

/* The table; a row whose name is NULL ends it. */
const struct hub_alias *hub_aliases(void);

/* Appends the models folder's path: the setting models_path, else $XDG_DATA_HOME/mistral/models,
 * else
 * ~/.local/share/mistral/models. It need not exist. */
bool hub_models_folder(const struct config *config, struct string_buffer *path,
                       struct error *error);

/* Appends the path of the GGUF file or of the folder of safetensors that `name` means: a path, a
 * name in the models folder, or an alias[:format] whose file is there. For names from the command
 * line and from settings, which may be any path; not for names out of requests. ERROR_NOT_FOUND
 * says how to get the model, or the nearest name. */
bool hub_find_model(const struct config *config, const char *name, struct string_buffer *path,
                    struct error *error);

enum hub_store { HUB_FOLDER, HUB_OLLAMA, HUB_HUGGING_FACE };

/* "folder", "ollama", "hugging face" */
const char *hub_store_name(enum hub_store store);

/* What a store says of a model. All owned; release with hub_model_deinit. */
struct hub_model {
    char *name;       /* in the models folder: its path below it, without .gguf */
    char *path;       /* of the GGUF file, or of the folder */
    char *real_path;  /* without symbolic links: one file under several names has one of these */
    uint64_t bytes;   /* of that file, or of the folder's weights */
    int64_t modified; /* seconds since the epoch */
    enum hub_store store;
    char digest[65]; /* what the store gives as the model's checksum, 64 lower-case digits; "" */
    char *manifest;  /* of a model that is kept as Ollama keeps it: its file; NULL: another */
    /* What comes beside the weights; hub_look_up only. NULL: nothing. */
    char *parameters;    /* a JSON object, e.g. {"temperature":0.2,"stop":["x"]} */
    char *system;        /* the system prompt */
    char *template_text; /* a Go template; kept to be shown, never executed */
    char *license;
    char *messages; /* a JSON array of messages to begin with */
};

void hub_model_deinit(struct hub_model *model);
/* False, with *to zeroed, when memory runs out. */
bool hub_model_copy(const struct hub_model *from, struct hub_model *to);

struct hub_model_list {
    struct hub_model *models; /* [count], sorted by name */
    size_t count, capacity;
};

/* The GGUF files, and folders of safetensors, below a folder, a few levels deep; a folder that does
 * not exist has none. */
bool hub_list_models(const char *folder, struct hub_model_list *list, struct error *error);
void hub_model_list_deinit(struct hub_model_list *list);

/* The models of all stores, sorted by store and name. A store that cannot be read is passed over.
 */
bool hub_list_all(const struct config *config, struct hub_model_list *list, struct error *error);

/* Every folder where a store of another program may be, whether it is there or not, until `visit`
 * returns false. */
bool hub_visit_other_stores(bool (*visit)(void *context, const char *folder), void *context);

/* The model of that name in the stores, or an alias whose file is there. `name` may come from a
 * request: it is compared with what is there, and never opened as a path. ERROR_NOT_FOUND when
 * there is none. */
bool hub_look_up(const struct config *config, const char *name, struct hub_model *model,
                 struct error *error);

/* --- changing what is there ---
 *
 * What is created, copied or pulled from Ollama's registry lies below .ollama in the models folder,
 * as Ollama lays out its store. Other programs' stores are never written. Changes are whole or not
 * at all, also when the program is killed, and processes take turns. */

struct hub_creation {
    const char *name;    /* [host/][namespace/]model[:tag]; what is there under that name goes */
    const char *weights; /* path of a GGUF file; it is pointed at, not copied */
    /* What lies beside them, in the forms of struct hub_model; NULL or "": nothing. */
    const char *parameters, *system, *template_text, *license, *messages;
    void (*status)(void *context, const char *text); /* may be NULL; one line for each step */
    bool (*cancelled)(void *context);                /* may be NULL */
    void *context;
};

bool hub_create(const struct config *config, const struct hub_creation *creation,
                struct error *error);

/* `source` as for hub_look_up. */
bool hub_copy(const struct config *config, const char *source, const char *destination,
              struct error *error);

/* Removes what was created or pulled, or a file of the models folder; from another program's store
 * nothing: ERROR_UNSUPPORTED. Appends what lists call it to *name (may be NULL). */
bool hub_delete(const struct config *config, const char *asked, struct string_buffer *name,
                struct error *error);

/* Appends the path of a file that was uploaded or otherwise lies in our store, by its SHA-256.
 * ERROR_NOT_FOUND. */
bool hub_find_blob(const struct config *config, const char *sha256, struct string_buffer *path,
                   struct error *error);

/* "sha256:" (or "sha256-") and 64 lower-case digits; they go to `sha256`. */
bool hub_parse_digest(const char *text, char sha256[65]);

/* A file that arrives in pieces, of which the checksum is known. One thread at a time. */
struct hub_upload;

/* *upload is NULL when the file is there already. `bytes`: how many are to come; 0: not known. */
bool hub_upload_begin(const struct config *config, const char *sha256, uint64_t bytes,
                      struct hub_upload **upload, struct error *error);
bool hub_upload_write(struct hub_upload *upload, const void *bytes, size_t length,
                      struct error *error);
/* Puts the file under its name if the checksum is right. Frees the upload. */
bool hub_upload_finish(struct hub_upload *upload, struct error *error);
void hub_upload_abandon(struct hub_upload *upload); /* removes what has arrived; NULL allowed */

/* --- fetching --- */

enum hub_stage {
    HUB_ASKING,   /* for the repository's list of files */
    HUB_CHECKING, /* reading what an earlier pull left, or what lies there already */
    HUB_FETCHING,
    HUB_WAITING, /* before the next attempt; `note` says why */
};

struct hub_progress {
    enum hub_stage stage;
    const char *file;     /* the file's name; NULL while asking */
    const char *sha256;   /* what it must have; "" when that is not known */
    uint64_t done, total; /* bytes */
    const char *note;     /* HUB_WAITING: what went wrong, else NULL */
};

struct hub_pull_options {
    const struct config *config;
    bool verify; /* read a file that lies there already, instead of trusting its name */
    void (*progress)(void *context, const struct hub_progress *progress); /* may be NULL */
    bool (*cancelled)(void *context); /* may be NULL; asked at least once a second */
    void *context;
};

struct hub_pull_result {
    char *path;      /* of the GGUF file */
    char *name;      /* what requests and commands call the model now */
    uint64_t bytes;  /* its size */
    bool fetched;    /* false: it was there already */
    char sha256[65]; /* hexadecimal; empty when it was not computed */
};

void hub_pull_result_deinit(struct hub_pull_result *result);

/* `reference` is an alias[:FORMAT], or hf:owner/repository[:FORMAT or :FILE.gguf]; hf.co/… and
 * https://huggingface.co/… mean the same as hf:…. The file appears under its name only when whole
 * and checked. When a pull ends early (ERROR_CANCELLED, ERROR_NETWORK, ERROR_NO_SPACE) what has
 * arrived is kept, and the next pull of the same file goes on from there. */
bool hub_pull(const char *reference, const struct hub_pull_options *options,
              struct hub_pull_result *result, struct error *error);

#endif
