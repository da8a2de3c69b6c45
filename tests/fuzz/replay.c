/*
 * replay.c - runs a fuzz target over the files of a folder, without a fuzzer: the committed seeds
 * in every test run, or a finding again (replay_gguf FOLDER).
 *
 * Each input is in memory of exactly its size, so that a sanitizer sees a read past its end.
 */
#include "fuzz.h"

#include "base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool replay_file(const char *path) {
    struct error error = {0};
    char *text = NULL;
    size_t length = 0;
    if (!file_read_all(path, (size_t)1 << 30, &text, &length, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return false;
    }
    uint8_t *input = malloc(length > 0 ? length : 1);
    if (input == NULL) {
        free(text);
        return false;
    }
    memcpy(input, text, length);
    free(text);
    (void)LLVMFuzzerTestOneInput(input, length);
    free(input);
    return true;
}

int main(int argument_count, char **arguments) {
    DIR *folder = argument_count == 2 ? opendir(arguments[1]) : NULL;
    if (folder == NULL) {
        fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
        return EXIT_FAILURE;
    }
    size_t replayed = 0, failed = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char path[4096];
        int length = snprintf(path, sizeof path, "%s/%s", arguments[1], entry->d_name);
        if (length < 0 || (size_t)length >= sizeof path || file_is_directory(path)) {
            continue;
        }
        fprintf(stderr, "%s\n", entry->d_name); /* the last one named is the one that crashed */
        bool read = replay_file(path);
        replayed += read;
        failed += !read;
    }
    closedir(folder);
    fprintf(stderr, "%zu inputs replayed\n", replayed);
    return replayed > 0 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
