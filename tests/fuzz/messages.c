/* A conversation from a file, and tools from one, as a chat template is given them. First byte: 'l' the rest is what /load
 * reads, 't' what --tools does. Second byte: which template. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/chat/chat.h"
#include "coordinator/cli/template_vars.h"
#include "coordinator/text/utf8.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

#define TEMPLATES_MOST 32

static struct template *template[TEMPLATES_MOST];
static unsigned templates;

static void open_template(const char *text, size_t bytes)
{
    static const char *const names[] = {"chat_template.jinja", NULL};
    static struct fuzz_folder folder;
    struct error e;

    if (templates == TEMPLATES_MOST) return;
    if (!folder.files) fuzz_folder_make(&folder, names);
    fuzz_folder_fill(&folder, 0, text, bytes, 0);
    if (!template_open(&template[templates], folder.path, NULL, &e)) templates++;
}

static void open_file(void *arg, const char *path)
{
    size_t bytes;
    char *text = fuzz_read(path, &bytes);

    (void)arg;
    open_template(text, bytes);
    free(text);
}

/* Whole templates, and the longest of the cases. */
static void open_templates(void)
{
    size_t bytes;
    char *text = fuzz_read("tests/data/templates/cases.json", &bytes);
    json_t *root = json_loadb(text, bytes, 0, NULL), *list = json_object_get(root, "cases");

    fuzz_glob("tests/data/templates/*.jinja", open_file, NULL);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *t = json_object_get(json_array_get(list, i), "template");

        if (json_string_length(t) > 150) open_template(json_string_value(t), json_string_length(t));
    }
    json_decref(root);
    free(text);
    if (!templates) fuzz_fail("no template to give messages to");
}

static void render(struct template *t, const struct options *o, json_t *messages)
{
    static const struct tm date = {
        .tm_year = 125, .tm_mon = 6, .tm_mday = 10, .tm_hour = 12, .tm_wday = 4, .tm_yday = 190};
    struct error e = {0};
    json_t *vars = NULL;
    size_t bytes;
    char *text = NULL;

    if (template_vars(o, messages, true, &vars, &e) || template_render(t, vars, &date, &text, &bytes, &e)) {
        if (strlen(e.text) < 5) fuzz_fail("an error without a message");
    } else if (utf8_valid_bytes(text, bytes) != bytes) {
        fuzz_fail("a text that is not UTF-8");
    }
    free(text);
    json_decref(vars);
}

/* What a person may do with what was loaded. */
static void talk(struct chat *c)
{
    struct error e = {0};

    if (chat_add(c, "user", "more", 4, &e) || chat_system(c, "Be brief.", &e)) fuzz_fail(e.text);
    chat_undo(c);
    if (chat_system(c, "", &e)) fuzz_fail(e.text);
    chat_clear(c);
    if (json_array_size(c->messages) > 1) fuzz_fail("a conversation that is not forgotten");
}

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"file.json", NULL};
    static struct fuzz_folder folder;
    static char path[TEMPORARY_BYTES + 32];
    struct options o = {0};
    struct chat c = {.messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "Hi")};
    struct error e = {0};

    if (!folder.files) {
        fuzz_folder_make(&folder, names);
        snprintf(path, sizeof path, "%s/%s", folder.path, names[0]);
        open_templates();
    }
    if (!c.messages) fuzz_fail("no memory for messages");
    if (bytes >= 2) {
        fuzz_folder_fill(&folder, 0, data + 2, bytes - 2, 0);
        if (*data == 't')
            o.tools_file = path;
        else if (chat_load(&c, path, &e) && strlen(e.text) < 10)
            fuzz_fail("an error without a message");
        render(template[data[1] % templates], &o, c.messages);
        talk(&c);
    }
    json_decref(c.messages);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const loads[] = {
        "[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Hi <\\u00e4> "
        "'\\\"'\"},{\"role\":\"assistant\",\"content\":\"<think>x</"
        "think>Hello\"},{\"role\":\"user\",\"content\":\"2+2?\"}]",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"weather\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_"
        "calls\":"
        "[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"city\":\"Oslo\",\"n\":3,"
        "\"x\":1.5,"
        "\"l\":[1,null,true]}}}]},{\"role\":\"tool\",\"name\":\"f\",\"content\":\"{\\\"t\\\":3}\"}]}",
        "[{\"role\":\"user\",\"content\":\"x\",\"reasoning\":\"why\",\"thinking\":null}]",
        "[]",
        "{}",
    };
    static const char *const tools[] = {
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":"
        "\"object\","
        "\"properties\":{\"city\":{\"type\":\"string\",\"enum\":[\"a\",\"b\"]},\"n\":{\"type\":[\"integer\",\"null\"]}}"
        ","
        "\"required\":[\"city\"]},\"return\":{\"type\":\"number\"}}}]",
        "[{}]",
        "[]",
    };
    struct fuzz_sink s = {emit, arg, {'l', 0}, 2};

    open_templates();
    for (unsigned t = 0; t < templates; t++) {
        s.head[1] = (char)t;
        s.head[0] = 'l';
        for (size_t i = 0; i < sizeof loads / sizeof *loads; i++) fuzz_seed(&s, loads[i], strlen(loads[i]));
        s.head[0] = 't';
        for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) fuzz_seed(&s, tools[i], strlen(tools[i]));
    }
}

const struct fuzz_target fuzz_messages = {"messages", run, seeds, 2};
