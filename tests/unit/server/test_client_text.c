/* test_client_text.c - no message that a client reads has a path of the server in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/client_text.h"

#include <string.h>

static const struct {
    const char *message, *shown;
} rows[] = {
    {"", ""},
    {"no path at all: a/b, 3/4, and 'x'", "no path at all: a/b, 3/4, and 'x'"},
    {"'/home/me/x.gguf' is empty", "'x.gguf' is empty"},
    {"/home/me/x.gguf: the tensor 'a/b' is missing", "x.gguf: the tensor 'a/b' is missing"},
    {"cannot open '/my models/a b.gguf': Input/output error",
     "cannot open 'a b.gguf': Input/output error"},
    {"The model 'm' could not be loaded: /my models/x.gguf: bad",
     "The model 'm' could not be loaded: x.gguf: bad"},
    {"nowhere to write (/tmp/a/b.part), sorry", "nowhere to write (b.part), sorry"},
    {"in /tmp/folder/. Then", "in folder. Then"},
    {"/x", "x"},
    {"a / b and '/' stay", "a / b and '/' stay"},
    {"use /v1/completions or /api/generate", "use /v1/completions or /api/generate"},
    {"https://host/a/b.gguf answered 404", "https://host/a/b.gguf answered 404"},
    {"/a/b differs from /c/d", "b differs from d"},
    {"/a/b: see https://host/c", "b: see https://host/c"},
    {"'/unclosed/quote", "'quote"},
    {"caf\xc3\xa9 '/home/\xc3\xa9/\xe6\x97\xa5.gguf'", "caf\xc3\xa9 '\xe6\x97\xa5.gguf'"},
};

static void paths_become_their_last_names(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char shown[256];
        bool found = client_text_hide_paths(rows[i].message, shown, sizeof shown);
        assert_string_equal(shown, rows[i].shown);
        assert_int_equal(found, strcmp(rows[i].message, rows[i].shown) != 0);
    }
}

static void a_small_buffer_is_filled_and_ended(void **state) {
    (void)state;
    char shown[8];
    memset(shown, 'x', sizeof shown);
    client_text_hide_paths("see '/home/me/long-name.gguf'", shown, 7);
    assert_string_equal(shown, "see 'l");
    assert_int_equal(shown[7], 'x');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_become_their_last_names),
        cmocka_unit_test(a_small_buffer_is_filled_and_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
