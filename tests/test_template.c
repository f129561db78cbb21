/* Chat templates of model folders: where they are found, the tokens and variables they see, and published templates
 * against what transformers made of them (../shared/data/chat, skipped where that is not there). */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/source/template.h"
#include "tests/support_temporary.h"

#define PUBLISHED "../shared/data/chat"

static const struct tm DATE = {.tm_year = 125, .tm_mon = 6, .tm_mday = 10, .tm_hour = 12, .tm_wday = 4, .tm_yday = 190};

/* -- folders -- */

static char folder[TEMPORARY_BYTES];
static const char *const FILES[] = {
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/tool_use.jinja",
    "additional_chat_templates/rag.jinja",
    "additional_chat_templates/notes.txt",
};

static void path_of(char path[256], const char *file)
{
    snprintf(path, 256, "%s/%s", folder, file);
}

static void clear_folder(void)
{
    char path[256];
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        path_of(path, FILES[i]);
        unlink(path);
    }
    path_of(path, "additional_chat_templates");
    rmdir(path);
}

static int make_folder(void **state)
{
    (void)state;
    return temporary_make(folder, NULL) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    clear_folder();
    return rmdir(folder);
}

static void write_bytes(const char *file, const char *text, size_t n)
{
    char path[256];
    path_of(path, "additional_chat_templates");
    if (strchr(file, '/')) mkdir(path, 0700);
    path_of(path, file);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static void write_file(const char *file, const char *text)
{
    write_bytes(file, text, strlen(text));
}

static int open_folder(struct template **t, const char *name, struct error *e)
{
    *e = (struct error){0};
    return template_open(t, folder, name, e);
}

/* What the folder's template makes of vars, given as JSON. */
static void expect_text(const char *name, const char *json, const char *wanted)
{
    struct template *t;
    struct error e;
    char *text = NULL;
    size_t bytes;
    json_t *vars = json_loads(json, 0, NULL), *before = json_deep_copy(vars);
    assert_non_null(vars);
    if (open_folder(&t, name, &e)) fail_msg("open: %s", e.text);
    if (template_render(t, vars, &DATE, &text, &bytes, &e)) fail_msg("render: %s", e.text);
    assert_string_equal(text, wanted);
    assert_int_equal(bytes, strlen(wanted));
    assert_true(json_equal(vars, before));
    free(text);
    template_close(t);
    json_decref(vars);
    json_decref(before);
}

static void expect_open_error(const char *name, int code, const char *part)
{
    struct template *t;
    struct error e;
    int rc = open_folder(&t, name, &e);
    if (rc != -code || !strstr(e.text, part))
        fail_msg("open gives %d \"%s\", not %d with \"%s\"", rc, e.text, -code, part);
    assert_null(t);
}

static void expect_render_error(const char *json, int code, const char *part)
{
    struct template *t;
    struct error e;
    char *text = NULL;
    size_t bytes;
    json_t *vars = json_loads(json, JSON_DECODE_ANY, NULL);
    if (open_folder(&t, NULL, &e)) fail_msg("open: %s", e.text);
    int rc = template_render(t, vars, &DATE, &text, &bytes, &e);
    if (rc != -code || !strstr(e.text, part))
        fail_msg("render gives %d \"%s\", not %d with \"%s\"", rc, e.text, -code, part);
    assert_null(text);
    template_close(t);
    json_decref(vars);
}

/* -- where it is -- */

static void test_positions(void **state)
{
    (void)state;
    clear_folder();
    expect_open_error(NULL, ENOENT, "has no chat template");
    write_file("tokenizer_config.json", "{}");
    expect_open_error(NULL, ENOENT, "has no chat template");
    write_file("tokenizer_config.json", "{\"chat_template\": null}");
    expect_open_error(NULL, ENOENT, "has no chat template");
    write_file("tokenizer_config.json", "{\"chat_template\": \"config\"}");
    expect_text(NULL, "{}", "config");
    write_file("chat_template.json", "{\"chat_template\": \"json\"}");
    expect_text(NULL, "{}", "json");
    write_file("chat_template.jinja", "jinja\n");
    expect_text(NULL, "{}", "jinja");
    expect_text("default", "{}", "jinja");
    expect_open_error("rag", ENOENT, "it has: default");
}

static void test_names(void **state)
{
    (void)state;
    clear_folder();
    write_file("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"default\", \"template\": \"plain\"},"
                                        "{\"name\": \"tool_use\", \"template\": \"tools {{ tools|length }}\"},"
                                        "{\"name\": \"rag\", \"template\": \"rag\"}]}");
    expect_text(NULL, "{}", "plain");
    expect_text(NULL, "{\"tools\": null}", "plain");
    expect_text(NULL, "{\"tools\": [1, 2]}", "tools 2");
    expect_text("default", "{\"tools\": [1]}", "plain");
    expect_text("rag", "{}", "rag");
    expect_open_error("other", ENOENT, "default, tool_use, rag");
    write_file("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"rag\"}]}");
    expect_open_error(NULL, ENOENT, "it has: rag");
    write_file("chat_template.jinja", "usual");
    write_file("additional_chat_templates/tool_use.jinja", "with tools\n");
    write_file("additional_chat_templates/rag.jinja", "documents");
    write_file("additional_chat_templates/notes.txt", "{{ broken");
    expect_text(NULL, "{}", "usual");
    expect_text(NULL, "{\"tools\": []}", "with tools");
    expect_text("rag", "{}", "documents");
}

static void test_broken_files(void **state)
{
    (void)state;
    clear_folder();
    write_file("tokenizer_config.json", "{\n\"chat_template\": nope}");
    expect_open_error(NULL, EINVAL, "tokenizer_config.json: line 2, column 18");
    write_file("tokenizer_config.json", "[]");
    expect_open_error(NULL, EINVAL, "not a JSON object");
    write_file("tokenizer_config.json", "");
    expect_open_error(NULL, EINVAL, "tokenizer_config.json");
    write_file("tokenizer_config.json", "{\"chat_template\": 5}");
    expect_open_error(NULL, EINVAL, "must be a string or a list");
    write_file("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"a\"}]}");
    expect_open_error(NULL, EINVAL, "chat_template[0]");
    write_file("tokenizer_config.json", "{\"chat_template\": [5]}");
    expect_open_error(NULL, EINVAL, "chat_template[0]");
    write_file("tokenizer_config.json", "{\"chat_template\": \"a\\n{% if %}\"}");
    expect_open_error(NULL, EINVAL, "line 2");
    write_bytes("chat_template.jinja", "a\xff", 2);
    expect_open_error(NULL, EINVAL, "not UTF-8");
    char *deep = malloc(200001);
    memset(deep, '[', 200000);
    deep[200000] = 0;
    write_file("tokenizer_config.json", deep);
    expect_open_error(NULL, EINVAL, "tokenizer_config.json");
    free(deep);
}

/* -- what it sees -- */

static void test_tokens(void **state)
{
    (void)state;
    clear_folder();
    write_file("tokenizer_config.json",
               "{\"chat_template\": \"{{ [bos_token, eos_token, unk_token, pad_token, image_token, add_bos_token] }}\","
               "\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\", \"lstrip\": false}, \"pad_token\": null,"
               "\"add_bos_token\": true, \"extra_special_tokens\": {\"image_token\": \"<img>\"}}");
    write_file("special_tokens_map.json",
               "{\"bos_token\": \"no\", \"unk_token\": {\"content\": \"<unk>\"}, \"pad_token\": 5}");
    expect_text(NULL, "{}", "['<s>', '</s>', '<unk>', Undefined, '<img>', Undefined]");
    expect_text(NULL, "{\"bos_token\": \"B\", \"pad_token\": \"P\"}",
                "['B', '</s>', '<unk>', 'P', '<img>', Undefined]");
    write_file("tokenizer_config.json", "{\"chat_template\": \"{{ additional_special_tokens }}\","
                                        "\"additional_special_tokens\": [\"<a>\", {\"content\": \"<b>\"}, 5]}");
    expect_text(NULL, "{}", "['<a>', '<b>']");
}

static void test_variables(void **state)
{
    (void)state;
    clear_folder();
    write_file("chat_template.jinja",
               "{{ tools }} {{ documents }} {{ add_generation_prompt }} {{ messages is defined }} {{ x }}");
    expect_text(NULL, "{}", "None None False False ");
    expect_text(NULL, "{\"tools\": [1], \"add_generation_prompt\": true, \"messages\": [], \"x\": \"y\"}",
                "[1] None True True y");
    write_file("chat_template.jinja", "{{ strftime_now('%d %b %Y %H:%M:%S') }}");
    expect_text(NULL, "{}", "10 Jul 2025 12:00:00");
    write_file("chat_template.jinja", "{{ messages | tojson }}");
    expect_text(NULL, "{\"messages\": [{\"role\": \"a\", \"z\": 1, \"b\": [2.0, \"\\u017c\"]}]}",
                "[{\"role\": \"a\", \"z\": 1, \"b\": [2.0, \"\xc5\xbc\"]}]");
    expect_text(NULL, "{\"messages\": [{\"role\": \"a\", \"thinking\": \"t\"}]}",
                "[{\"thinking\": \"t\", \"role\": \"a\", \"reasoning_content\": \"t\"}]");
    expect_text(NULL, "{\"messages\": [{\"role\": \"a\", \"reasoning_content\": \"t\"}]}",
                "[{\"thinking\": \"t\", \"role\": \"a\", \"reasoning_content\": \"t\"}]");
    write_file("chat_template.jinja", "{{ messages[0].content }}{{ raise_exception('only ' ~ messages[0].role) }}");
    expect_render_error("{\"messages\": [{\"role\": \"you\", \"content\": 1}]}", EINVAL,
                        "the template refuses: only you");
    expect_render_error("{\"messages\": [5]}", EINVAL, "messages[0] must be an object");
    expect_render_error("{\"messages\": \"hi\"}", EINVAL, "messages must be a list");
    expect_render_error("5", EINVAL, "must be an object");
    expect_render_error("{}", EINVAL, "line 1: 'messages' is undefined");
}

static void test_now(void **state)
{
    (void)state;
    struct template *t;
    struct error e;
    char *text, year[8];
    size_t bytes;
    time_t now = time(NULL);
    json_t *vars = json_object();
    clear_folder();
    write_file("chat_template.jinja", "{{ strftime_now('%Y') }}");
    assert_int_equal(open_folder(&t, NULL, &e), 0);
    assert_int_equal(template_render(t, vars, NULL, &text, &bytes, &e), 0);
    strftime(year, sizeof year, "%Y", localtime(&now));
    assert_string_equal(text, year);
    free(text);
    template_close(t);
    template_close(NULL);
    json_decref(vars);
}

/* -- published templates -- */

static json_t *case_variables(const json_t *c)
{
    json_t *vars = json_pack("{s:O,s:O}", "messages", json_object_get(c, "messages"), "add_generation_prompt",
                             json_object_get(c, "gen"));
    if (json_object_get(c, "tools")) json_object_set(vars, "tools", json_object_get(c, "tools"));
    json_object_update(vars, json_object_get(c, "extra"));
    return vars;
}

static bool same_as_published(struct template *t, const json_t *c, const char *file, size_t number)
{
    const json_t *wanted = json_object_get(c, "text");
    json_t *vars = case_variables(c);
    struct error e = {0};
    char *text = NULL;
    size_t bytes = 0;
    int rc = template_render(t, vars, &DATE, &text, &bytes, &e);
    bool same = wanted ? !rc && bytes == json_string_length(wanted) && !memcmp(text, json_string_value(wanted), bytes)
                       : rc == -EINVAL && e.text[0];
    if (!same) print_error("%s case %zu: %d %s\n%s\n", file, number, rc, e.text, text ? text : "");
    free(text);
    json_decref(vars);
    return same;
}

static void check_published(const char *file, size_t *cases, size_t *bad)
{
    char path[512];
    struct template *t;
    struct error e;
    snprintf(path, sizeof path, PUBLISHED "/%s", file);
    json_t *all = json_load_file(path, 0, NULL), *config = json_copy(json_object_get(all, "special")), *c;
    size_t i;
    assert_non_null(config);
    json_object_set(config, "chat_template", json_object_get(all, "template"));
    path_of(path, "tokenizer_config.json");
    assert_int_equal(json_dump_file(config, path, 0), 0);
    if (open_folder(&t, NULL, &e)) fail_msg("%s: %s", file, e.text);
    json_array_foreach(json_object_get(all, "cases"), i, c) *bad += !same_as_published(t, c, file, i);
    *cases += i;
    template_close(t);
    json_decref(config);
    json_decref(all);
}

static void test_published(void **state)
{
    (void)state;
    DIR *d = opendir(PUBLISHED);
    size_t files = 0, cases = 0, bad = 0;
    if (!d) {
        print_message("skipped: there is no folder " PUBLISHED " with published templates\n");
        skip();
    }
    clear_folder();
    for (struct dirent *entry; (entry = readdir(d));) {
        size_t n = strlen(entry->d_name);
        if (n < 6 || strcmp(entry->d_name + n - 5, ".json")) continue;
        check_published(entry->d_name, &cases, &bad);
        files++;
    }
    closedir(d);
    print_message("%zu published templates, %zu conversations\n", files, cases);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positions), cmocka_unit_test(test_names),     cmocka_unit_test(test_broken_files),
        cmocka_unit_test(test_tokens),    cmocka_unit_test(test_variables), cmocka_unit_test(test_now),
        cmocka_unit_test(test_published),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
