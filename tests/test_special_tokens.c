/* Added and special tokens that stand beside a tokenizer's own file, as transformers adds them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "coordinator/text/json.h"
#include "coordinator/tokenizer/detokenizer.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "tests/support_model.h"

#define CASES "tests/data/tokenizers-special/cases.json"

static json_t *load(const char *path)
{
    struct error e;
    json_t *o;

    if (json_read_file(&o, path, 1 << 24, &e)) fail_msg("%s", e.text);
    return o;
}

static char *folder_of(const char *base, const json_t *files)
{
    char *folder = scratch_make(), source[PATH_MAX];
    const char *name;
    json_t *v;

    assert_non_null(realpath(base, source));
    assert_int_equal(symlink(source, scratch_path(folder, "tokenizer.json")), 0);
    json_object_foreach((json_t *)files, name, v)
    {
        char *text = json_dumps(v, 0);

        assert_non_null(text);
        scratch_write(folder, name, text);
        free(text);
    }
    return folder;
}

static bool check_text(struct tokenizer *t, const json_t *c)
{
    const json_t *text = json_object_get(c, "text"), *wanted = json_object_get(c, "ids"),
                 *decoded = json_object_get(c, "decoded");
    struct token_ids ids = {0};
    struct detokenizer *d;
    struct error e = {0};
    bool same;
    char all[4096] = "";
    const char *piece;
    size_t bytes, n = 0;

    assert_int_equal(tokenizer_encode(t, json_string_value(text), json_string_length(text), false, &ids, &e), 0);
    same = ids.count == json_array_size(wanted);
    for (size_t i = 0; i < ids.count && same; i++) same = ids.id[i] == json_integer_value(json_array_get(wanted, i));
    for (size_t i = 0; i < ids.count && !same; i++) print_error(" %u", ids.id[i]);
    if (!same) print_error(" of %s\n", json_string_value(text));
    assert_int_equal(detokenizer_open(&d, t, true, &e), 0);
    for (size_t i = 0; i < ids.count; i++) {
        assert_int_equal(detokenizer_push(d, ids.id[i], &piece, &bytes, &e), 0);
        n += (size_t)snprintf(all + n, sizeof all - n, "%.*s", (int)bytes, piece);
    }
    detokenizer_finish(d, &piece, &bytes);
    snprintf(all + n, sizeof all - n, "%.*s", (int)bytes, piece);
    if (same && strcmp(all, json_string_value(decoded))) {
        print_error("decoded \"%s\", not \"%s\"\n", all, json_string_value(decoded));
        same = false;
    }
    detokenizer_close(d);
    token_ids_free(&ids);
    return same;
}

static bool check_case(const char *base, const json_t *c)
{
    const json_t *files = json_object_get(c, "files"), *eos = json_object_get(c, "eos"), *v;
    char *folder = folder_of(base, files), *shown = json_dumps(files, 0);
    struct tokenizer *t;
    struct error e = {0};
    bool good = true;
    size_t i;

    if (tokenizer_open(&t, folder, &e)) fail_msg("%s: %s", shown, e.text);
    json_array_foreach(json_object_get(c, "tokens"), i, v)
    {
        const char *content = json_string_value(json_array_get(v, 1));
        json_int_t id = json_integer_value(json_array_get(v, 0));

        if (tokenizer_token_id(t, content) != id ||
            (json_is_true(json_array_get(v, 2)) && !tokenizer_is_special(t, (uint32_t)id))) {
            print_error("%s is %ld, not %ld\n", content, (long)tokenizer_token_id(t, content), (long)id);
            good = false;
        }
    }
    json_array_foreach(json_object_get(c, "texts"), i, v) good &= check_text(t, v);
    if (tokenizer_end(t, NULL) != (json_is_null(eos) ? -1 : json_integer_value(eos))) {
        print_error("it ends with %ld\n", (long)tokenizer_end(t, NULL));
        good = false;
    }
    if (!good) {
        char *wanted = json_dumps(c, 0);
        fprintf(stderr, "%s\n", wanted);
        free(wanted);
    }
    tokenizer_close(t);
    scratch_remove(folder);
    free(shown);
    return good;
}

static void as_transformers(void **state)
{
    json_t *all = load(CASES), *cases = json_object_get(all, "cases");
    const char *base = json_string_value(json_object_get(all, "base"));
    size_t bad = 0;

    (void)state;
    for (size_t i = 0; i < json_array_size(cases); i++) bad += !check_case(base, json_array_get(cases, i));
    print_message("%zu folders\n", json_array_size(cases));
    assert_true(json_array_size(cases) > 140);
    assert_int_equal(bad, 0);
    json_decref(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_transformers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
