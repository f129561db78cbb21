/* The border of the interpreter: where errors of the inside arrive and memory is given back. */
#include "coordinator/jinja/node.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <utf8proc.h>

enum { SOURCE_MAX = 8 << 20 };

struct jinja_limits jinja_limits_default(void)
{
    return (struct jinja_limits){
        .steps = 20 * 1000 * 1000, .held_bytes = (size_t)512 << 20, .text_bytes = (size_t)128 << 20, .depth = 2000};
}

/* Numbers and names of months are written as in C whatever the user's language. */
struct plain_locale {
    locale_t plain, before;
};

static struct plain_locale locale_enter(void)
{
    struct plain_locale l = {newlocale(LC_ALL_MASK, "C", (locale_t)0), (locale_t)0};
    if (l.plain) l.before = uselocale(l.plain);
    return l;
}

static void locale_leave(struct plain_locale l)
{
    if (!l.plain) return;
    uselocale(l.before);
    freelocale(l.plain);
}

static int check_source(const char *source, size_t bytes, struct error *e)
{
    if (bytes > SOURCE_MAX) return error_set(e, E2BIG, "the template has %zu bytes; the most is %d", bytes, SOURCE_MAX);
    for (size_t at = 0; at < bytes;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)source + at, (utf8proc_ssize_t)(bytes - at), &c);
        if (n <= 0) return error_set(e, EINVAL, "the template is not UTF-8 at offset %zu", at);
        at += (size_t)n;
    }
    return 0;
}

/* The source with \n as line ends, without the last one; it lives as long as the template, whose names point to it. */
static char *normalize(struct jinja_run *r, const char *source, size_t *bytes)
{
    char *copy = jrun_bytes(r, *bytes), *p = copy;
    for (size_t i = 0; i < *bytes; i++) {
        bool pair = source[i] == '\r' && i + 1 < *bytes && source[i + 1] == '\n';
        *p++ = source[i] == '\r' ? '\n' : source[i];
        i += pair;
    }
    if (p > copy && p[-1] == '\n') p--;
    *bytes = (size_t)(p - copy);
    return copy;
}

static void parse(struct jinja_run *r, struct jinja *t, const char *source, size_t bytes)
{
    r->line = 1;
    char *text = normalize(r, source, &bytes);
    jparse_template(r, t, jlex(r, text, bytes));
}

int jinja_parse(struct jinja **out, const char *source, size_t bytes, struct error *e)
{
    *out = NULL;
    int rc = check_source(source, bytes, e);
    if (rc) return rc;
    struct jinja *t = calloc(1, sizeof *t);
    struct jinja_run *r = calloc(1, sizeof *r);
    if (!t || !r) {
        free(t);
        free(r);
        return error_set(e, ENOMEM, "out of memory for a template");
    }
    r->limits = jinja_limits_default();
    r->error = e;
    struct plain_locale locale = locale_enter();
    if (!setjmp(r->fail)) parse(r, t, source, bytes);
    rc = -r->code;
    t->arena = r->arena;
    free(r);
    locale_leave(locale);
    if (rc)
        jinja_free(t);
    else
        *out = t;
    return rc;
}

void jinja_free(struct jinja *t)
{
    if (!t) return;
    jarena_free(&t->arena);
    free(t);
}

static void render(struct jinja_run *r, const json_t *vars)
{
    r->line = 1;
    if (!json_is_object(vars)) jrun_fail(r, "the variables of a template must be an object");
    struct jval v = jval_from_json(r, vars);
    r->vars = v.d;
    r->root = jscope_new(r, NULL);
    r->out = jrun_alloc(r, sizeof *r->out);
    jexec(r, &r->program->body, r->root);
}

static int copy_text(const struct jbuf *b, char **text, size_t *bytes, struct error *e)
{
    char *copy = malloc(b->n + 1);
    if (!copy) return error_set(e, ENOMEM, "out of memory for a text of %zu bytes", b->n);
    if (b->n) memcpy(copy, b->s, b->n);
    copy[b->n] = 0;
    *text = copy;
    *bytes = b->n;
    return 0;
}

int jinja_render(const struct jinja *t, const json_t *vars, const struct tm *now, const struct jinja_limits *limits,
                 char **text, size_t *bytes, struct error *e)
{
    struct jinja_run *r = calloc(1, sizeof *r);
    if (!r) return error_set(e, ENOMEM, "out of memory for a rendering");
    r->limits = limits ? *limits : jinja_limits_default();
    r->error = e;
    r->program = t;
    r->now = now;
    struct plain_locale locale = locale_enter();
    if (!setjmp(r->fail)) render(r, vars);
    locale_leave(locale);
    int rc = r->code ? -r->code : copy_text(r->out, text, bytes, e);
    jarena_free(&r->arena);
    free(r);
    return rc;
}
