#include "coordinator/serve/batch_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/cli/input.h"
#include "coordinator/serve/body.h"
#include "coordinator/serve/out.h"

#define ID_BYTES_MAX 4096

/* ---- what is read ---- */

int batch_input_open(struct batch_input *in, const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer is refused, and not waited for */
    struct stat st;

    *in = (struct batch_input){.path = path, .file = fd < 0 ? NULL : fdopen(fd, "r")};
    if (!in->file) {
        int failed = errno;

        if (fd >= 0) close(fd);
        return error_set(e, failed, "cannot read %s: %s", path, error_name(failed));
    }
    if (!fstat(fileno(in->file), &st) && !S_ISREG(st.st_mode)) {
        batch_input_close(in);
        return error_set(e, EINVAL, "%s is no regular file: a batch is read twice", path);
    }
    return 0;
}

void batch_input_close(struct batch_input *in)
{
    if (in->file) fclose(in->file);
    free(in->text);
    *in = (struct batch_input){0};
}

void batch_line_free(struct batch_line *l)
{
    free(l->id);
    json_decref(l->body);
    *l = (struct batch_line){0};
}

static int read_url(struct batch_line *l, const json_t *o)
{
    static const char *const urls[] = {"/v1/chat/completions", "/v1/completions"};
    const char *url = json_string_value(json_object_get(o, "url"));

    for (size_t i = 0; url && i < sizeof urls / sizeof *urls; i++)
        if (!strcmp(url, urls[i])) l->url = urls[i];
    if (l->url) return 0;
    return fault_set(&l->fault, 400, "url", NULL, "line %llu: url must be %s or %s", (unsigned long long)l->number,
                     urls[0], urls[1]);
}

/* l->fault where it is no request. */
static int parse(struct batch_line *l, const char *text, size_t bytes)
{
    unsigned long long n = l->number;
    const char *id, *method;
    json_t *o, *body;
    int rc = 0;

    if (body_read(&o, text, bytes, &l->fault)) {
        struct fault why = l->fault;

        return fault_set(&l->fault, 400, NULL, NULL, "line %llu: %.460s", n, why.text);
    }
    id = json_string_value(json_object_get(o, "custom_id"));
    method = json_string_value(json_object_get(o, "method"));
    body = json_object_get(o, "body");
    if (!id || !*id || strlen(id) > ID_BYTES_MAX)
        rc = fault_set(&l->fault, 400, "custom_id", NULL, "line %llu: custom_id must be a text", n);
    else if (!(l->id = strdup(id)))
        rc = fault_set(&l->fault, 500, NULL, NULL, "out of memory");
    else if (!method || strcmp(method, "POST"))
        rc = fault_set(&l->fault, 400, "method", NULL, "line %llu: method must be POST", n);
    else if (!(rc = read_url(l, o)) && !json_is_object(body))
        rc = fault_set(&l->fault, 400, "body", NULL, "line %llu: body must be an object", n);
    else if (!rc && json_is_true(json_object_get(body, "stream")))
        rc = fault_set(&l->fault, 400, "stream", NULL, "line %llu: a batch has no streams", n);
    if (!rc) l->body = json_incref(body);
    json_decref(o);
    return rc;
}

int batch_input_next(struct batch_input *in, struct batch_line *out, struct error *e)
{
    for (;;) {
        ssize_t n;

        errno = 0;
        n = getline(&in->text, &in->room, in->file);
        if (n < 0 && (ferror(in->file) || errno == ENOMEM))
            return error_set(e, errno ? errno : EIO, "cannot read %s: %s", in->path, error_name(errno));
        if (n < 0) return 0;
        in->number++;
        while (n > 0 && strchr("\r\n\t ", in->text[n - 1])) n--;
        if (!n) continue;
        *out = (struct batch_line){.number = in->number};
        parse(out, in->text, (size_t)n);
        return 1;
    }
}

/* A token has three bytes or more in most texts and languages. Ids count as they are. */
static uint64_t tokens_of(const json_t *body, uint32_t max_tokens)
{
    const json_t *prompt = json_object_get(body, "prompt"), *messages = json_object_get(body, "messages");
    const json_t *limit = json_object_get(body, "max_completion_tokens");
    uint64_t answer = max_tokens, bytes = 0, ids = 0;

    if (!json_is_integer(limit)) limit = json_object_get(body, "max_tokens");
    if (json_is_integer(limit) && json_integer_value(limit) >= 0) answer = (uint64_t)json_integer_value(limit);
    if (json_is_integer(json_array_get(prompt, 0)))
        ids = json_array_size(prompt);
    else if (prompt || messages)
        bytes = json_dumpb(messages ? messages : prompt, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    return ids + bytes / 2 + 64 + answer;
}

int batch_input_check(struct batch_extent *out, const char *path, uint32_t max_tokens, struct error *e)
{
    json_t *seen = json_object(), *had;
    struct batch_input in;
    struct batch_line l;
    int rc = batch_input_open(&in, path, e), more = 0;

    *out = (struct batch_extent){0};
    while (!rc && (more = batch_input_next(&in, &l, e)) > 0) {
        uint64_t tokens = tokens_of(l.body, max_tokens);

        out->requests++;
        if (tokens > out->tokens) out->tokens = tokens;
        had = l.id ? json_object_get(seen, l.id) : NULL;
        if (had)
            rc = error_set(e, EINVAL, "%s: lines %lld and %llu have the same custom_id, %.200s", path,
                           (long long)json_integer_value(had), (unsigned long long)l.number, l.id);
        else if (l.id && json_object_set_new(seen, l.id, json_integer((json_int_t)l.number)))
            rc = error_set(e, ENOMEM, "out of memory");
        batch_line_free(&l);
    }
    if (!rc && more < 0) rc = more;
    if (!rc && !out->requests) rc = error_set(e, EINVAL, "%s holds no requests: one a line is needed", path);
    json_decref(seen);
    batch_input_close(&in);
    return rc;
}

/* ---- what is written ---- */

static void name_of(const struct batch_line *l, char *number, size_t room, const char **name)
{
    snprintf(number, room, "#%llu", (unsigned long long)l->number);
    *name = l->id ? l->id : number;
}

bool batch_output_has(const struct batch_output *out, const struct batch_line *l)
{
    const char *name;
    char number[32];

    name_of(l, number, sizeof number, &name);
    return json_object_get(out->done, name) != NULL;
}

/* A result that stands: its request is not to be answered again. */
static int note(struct batch_output *out, const char *text, size_t bytes, uint64_t line, struct error *e)
{
    json_t *o = json_loadb(text, bytes, 0, NULL), *response = json_object_get(o, "response");
    const char *id = json_string_value(json_object_get(o, "custom_id"));
    const char *own = json_string_value(json_object_get(o, "id"));
    json_int_t status = json_integer_value(json_object_get(response, "status_code"));
    char name[32];
    int rc = 0;

    if (!own || strncmp(own, "batch_req_", 10)) {
        json_decref(o);
        return error_set(e, EINVAL, "%s: line %llu is no result of a batch: give another file", out->path,
                         (unsigned long long)line);
    }
    snprintf(name, sizeof name, "#%.20s", own + 10);
    if (status < 500 && json_object_set_new(out->done, id ? id : name, json_true()))
        rc = error_set(e, ENOMEM, "out of memory");
    json_decref(o);
    return rc;
}

/* Reads what is there; a last line without its end is cut off. */
static int take_up(struct batch_output *out, struct error *e)
{
    FILE *f = fdopen(dup(out->fd), "r");
    uint64_t line = 0;
    off_t good = 0;
    char *text = NULL;
    size_t room = 0;
    ssize_t n;
    int rc = 0;

    if (!f) return error_set(e, errno, "cannot read %s: %s", out->path, error_name(errno));
    while (!rc && (n = getline(&text, &room, f)) > 0 && text[n - 1] == '\n') {
        rc = note(out, text, (size_t)n, ++line, e);
        good += n;
    }
    if (!rc && ferror(f)) rc = error_set(e, EIO, "cannot read %s", out->path);
    free(text);
    fclose(f);
    if (!rc && (ftruncate(out->fd, good) || lseek(out->fd, 0, SEEK_END) < 0))
        rc = error_set(e, errno, "cannot write %s: %s", out->path, error_name(errno));
    return rc;
}

static int check_output(struct batch_output *out, const struct options *o, struct error *e)
{
    struct inputs in = input_all(o);
    struct output_options keep = inputs_options(&in);
    struct stat st, from;
    int rc;

    if (fstat(out->fd, &st)) return error_set(e, errno, "%s: %s", out->path, error_name(errno));
    if (!S_ISREG(st.st_mode)) return error_set(e, EINVAL, "%s is no regular file", out->path);
    if (!stat(o->prompt_file, &from) && st.st_dev == from.st_dev && st.st_ino == from.st_ino)
        return error_set(e, EINVAL, "%s is read and cannot be written too: give another --out", out->path);
    if (keep.refuse && (rc = keep.refuse(keep.arg, out->path, &st, e))) return rc;
    if (st.st_size && !o->resume)
        return error_set(e, EEXIST, "%s is there already: --resume goes on with it, another --out begins anew",
                         out->path);
    if (flock(out->fd, LOCK_EX | LOCK_NB))
        return error_set(e, EBUSY, "%s is being written by another batch", out->path);
    return 0;
}

int batch_output_open(struct batch_output *out, const struct options *o, struct error *e)
{
    int rc;

    *out = (struct batch_output){.path = o->out, .done = json_object()};
    out->fd = open(o->out, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    if (!out->done) return error_set(e, ENOMEM, "out of memory");
    if (out->fd < 0) return error_set(e, errno, "cannot write %s: %s", o->out, error_name(errno));
    rc = check_output(out, o, e);
    return rc ? rc : take_up(out, e);
}

int batch_output_close(struct batch_output *out, struct error *e)
{
    int rc = 0;

    if (out->fd >= 0 && fdatasync(out->fd) && errno != EINVAL && errno != EROFS)
        rc = error_set(e, errno, "cannot write %s: %s", out->path, error_name(errno));
    if (out->fd >= 0) close(out->fd);
    json_decref(out->done);
    *out = (struct batch_output){.fd = -1};
    return rc;
}

static int put(struct batch_output *out, const struct buffer *b, struct error *e)
{
    size_t at = 0;

    if (b->failed) return error_set(e, ENOMEM, "out of memory");
    while (at < b->bytes) {
        ssize_t n = write(out->fd, b->data + at, b->bytes - at);

        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return error_set(e, n ? errno : EIO, "cannot write %s: %s", out->path, error_name(errno));
        at += (size_t)n;
    }
    return 0;
}

int batch_output_write(struct batch_output *out, const struct batch_line *l, int status, const char *request_id,
                       const char *body, size_t bytes, struct error *e)
{
    struct buffer b = {0};
    const char *name;
    char number[32];
    int rc;

    out_format(&b, "{\"id\":\"batch_req_%llu\",\"custom_id\":", (unsigned long long)l->number);
    if (l->id)
        out_string(&b, l->id, strlen(l->id));
    else
        buffer_append_text(&b, "null");
    if (status) {
        out_format(&b, ",\"response\":{\"status_code\":%d,\"request_id\":\"%s\",\"body\":", status, request_id);
        buffer_append(&b, body, bytes);
        buffer_append_text(&b, "},\"error\":null}\n");
    } else {
        buffer_append_text(&b, ",\"response\":null,\"error\":{\"code\":\"invalid_request\",\"message\":");
        out_string(&b, l->fault.text, strlen(l->fault.text));
        buffer_append_text(&b, "}}\n");
    }
    rc = put(out, &b, e);
    buffer_free(&b);
    name_of(l, number, sizeof number, &name);
    if (!rc && json_object_set_new(out->done, name, json_true())) rc = error_set(e, ENOMEM, "out of memory");
    return rc;
}
