/* What was said in a chat. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/chat/chat.h"
#include "coordinator/cli/input.h"
#include "proto/base/file.h"

#define FILE_BYTES_MAX (UINT64_C(256) << 20)

bool chat_last_is(const struct chat *c, const char *role)
{
    size_t n = json_array_size(c->messages);
    json_t *m = n ? json_array_get(c->messages, n - 1) : NULL;
    const char *r = m ? json_string_value(json_object_get(m, "role")) : NULL;

    return r && !strcmp(r, role);
}

int chat_add(struct chat *c, const char *role, const char *text, size_t bytes, struct error *e)
{
    json_t *content = json_stringn(text, bytes), *m;

    if (!content) return error_set(e, EILSEQ, "the text is not UTF-8");
    m = json_pack("{s:s,s:o}", "role", role, "content", content);
    return m && !json_array_append_new(c->messages, m) ? 0 : error_set(e, ENOMEM, "out of memory");
}

void chat_drop_last(struct chat *c)
{
    size_t n = json_array_size(c->messages);

    if (n) json_array_remove(c->messages, n - 1);
}

size_t chat_undo(struct chat *c)
{
    size_t had = json_array_size(c->messages);

    if (chat_last_is(c, "assistant")) chat_drop_last(c);
    if (chat_last_is(c, "user")) chat_drop_last(c);
    return had - json_array_size(c->messages);
}

size_t chat_clear(struct chat *c)
{
    size_t had = json_array_size(c->messages);

    while (json_array_size(c->messages) && !(json_array_size(c->messages) == 1 && chat_last_is(c, "system")))
        chat_drop_last(c);
    return had - json_array_size(c->messages);
}

int chat_system(struct chat *c, const char *text, struct error *e)
{
    json_t *first = json_array_get(c->messages, 0), *m = NULL;
    const char *role = first ? json_string_value(json_object_get(first, "role")) : NULL;

    if (*text && !(m = json_pack("{s:s,s:s}", "role", "system", "content", text)))
        return error_set(e, EILSEQ, "the system message is not UTF-8");
    if (role && !strcmp(role, "system")) json_array_remove(c->messages, 0);
    if (m && json_array_insert_new(c->messages, 0, m)) return error_set(e, ENOMEM, "out of memory");
    return 0;
}

/* ~/ is a person's way to say where; no shell has seen this line. */
static const char *full_path(const char *path, char *room, size_t bytes)
{
    const char *home = getenv("HOME");

    if (strncmp(path, "~/", 2) || !home || (size_t)snprintf(room, bytes, "%s%s", home, path + 1) >= bytes) return path;
    return room;
}

int chat_save(struct chat *c, const char *path, struct error *e)
{
    struct inputs in = input_all(c->options);
    struct output_options keep = inputs_options(&in);
    struct output *o;
    char full[4096];
    bool good;
    int rc = output_open(&o, full_path(path, full, sizeof full), &keep, e);

    if (rc) return rc;
    good = !json_print(output_file(o), c->messages) && fputc('\n', output_file(o)) != EOF;
    if (!good && !(rc = output_failed(o, e))) rc = error_set(e, ENOMEM, "cannot write %s: out of memory", path);
    return rc ? (output_close(o, false, NULL), rc) : output_close(o, true, e);
}

static int check_messages(const char *path, const json_t *list, struct error *e)
{
    const json_t *m;
    size_t i;

    if (!json_is_array(list)) return error_set(e, EINVAL, "%s holds no list of messages", path);
    json_array_foreach(
        list, i, m) if (!json_is_string(json_object_get(m, "role")) ||
                        !json_is_string(json_object_get(
                            m, "content"))) return error_set(e, EINVAL,
                                                             "%s: message %zu has no role or no content that is a text",
                                                             path, i + 1);
    return 0;
}

int chat_load(struct chat *c, const char *path, struct error *e)
{
    char full[4096], *text;
    json_t *file, *list;
    uint64_t bytes;
    struct stat st;
    int rc;

    path = full_path(path, full, sizeof full);
    if (!stat(path, &st) && S_ISDIR(st.st_mode))
        return error_set(e, EISDIR, "%s is a folder: /load wants a file that /save has written", path);
    rc = file_load(&text, &bytes, path, FILE_BYTES_MAX, e);
    if (rc) return rc;
    rc = json_read_text(&file, text, bytes, path, JSON_READ_ANY, e);
    free(text);
    if (rc) return rc;
    list = json_is_members(file) ? json_object_get(file, "messages") : file;
    rc = check_messages(path, list, e);
    if (!rc) {
        json_decref(c->messages);
        c->messages = json_incref(list);
    }
    json_decref(file);
    return rc;
}
