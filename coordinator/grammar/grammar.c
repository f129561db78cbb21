#include "coordinator/grammar/grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/build.h"

void grammar_close(struct grammar *g)
{
    if (!g) return;
    free(g->node);
    free(g->set);
    free(g->loop);
    free(g->edge);
    free(g->rule);
    free(g->slot);
    free(g);
}

/* A schema as a rule: its own $ref, its own name. */
static int schema_rule(struct grammar *g, const struct grammar_piece *p, uint32_t *rule, struct error *e)
{
    struct grammar_builder b = {.g = g,
                                .root = p->root ? p->root : p->schema,
                                .value = GRAMMAR_NONE,
                                .string = GRAMMAR_NONE,
                                .object = GRAMMAR_NONE,
                                .array = GRAMMAR_NONE,
                                .e = e};
    int rc;

    buffer_append_text(&b.path, p->name ? p->name : "schema");
    rc = b.path.failed ? error_set(e, ENOMEM, "out of memory") : grammar_schema(&b, p->schema, rule);
    buffer_free(&b.path);
    free(b.known);
    json_decref(b.kept);
    return rc;
}

static uint32_t special(struct grammar *g, const char *text, uint32_t next)
{
    next = grammar_text(g, text, strlen(text), next);
    return grammar_range(g, GRAMMAR_SPECIAL, GRAMMAR_SPECIAL, next);
}

/* Any text up to the first place where `until` stands (Knuth, Morris, Pratt): [k]: k bytes of it have come. */
static uint32_t lead(struct grammar *g, const char *until, bool is_special, uint32_t next)
{
    size_t n = strlen(until);
    uint32_t *node = calloc(n + 1, sizeof *node), start = 0;
    size_t *back = calloc(n + 1, sizeof *back);

    if (!node || !back) g->failed = ENOMEM;
    for (size_t k = 0; k < n && !g->failed; k++) node[k] = grammar_later(g);
    for (size_t k = 1, m = 0; k < n && !g->failed; k++) {
        while (m && until[k] != until[m]) m = back[m - 1];
        back[k] = m += until[k] == until[m];
    }
    for (size_t k = 0; k < n && !g->failed; k++) {
        uint32_t to[2];
        size_t ways = 0, m = k;
        struct grammar_set rest = {0};

        grammar_set_add(&rest, 0, GRAMMAR_SPECIAL - 1);
        to[ways++] = grammar_range(g, (uint8_t)until[k], (uint8_t)until[k], k + 1 < n ? node[k + 1] : next);
        rest.word[(uint8_t)until[k] >> 6] &= ~(UINT64_C(1) << ((uint8_t)until[k] & 63));
        /* a byte that does not go on here may go on in a shorter beginning */
        uint32_t shorter[257];
        size_t more = 0;
        while (m) {
            uint8_t byte;

            m = back[m - 1];
            byte = (uint8_t)until[m];
            if (!grammar_set_has(&rest, byte)) continue;
            rest.word[byte >> 6] &= ~(UINT64_C(1) << (byte & 63));
            shorter[more++] = grammar_range(g, byte, byte, node[m + 1]);
        }
        shorter[more++] = grammar_bytes(g, &rest, node[0]);
        to[ways++] = grammar_split(g, shorter, more);
        grammar_set_later(g, node[k], to, ways);
    }
    if (!g->failed) start = n ? node[0] : next;
    if (is_special && !g->failed) { /* bytes of text, then the token */
        struct grammar_set text = {0};

        start = grammar_later(g);
        grammar_set_add(&text, 0, GRAMMAR_SPECIAL - 1);
        grammar_set_later(g, start, (uint32_t[]){grammar_bytes(g, &text, start), special(g, until, next)}, 2);
    }
    free(node);
    free(back);
    return start;
}

static int form(struct grammar *g, const struct grammar_form *f, uint32_t next, uint32_t *start, struct error *e)
{
    for (size_t i = f->pieces; i-- > 0;) {
        const struct grammar_piece *p = &f->piece[i];
        uint32_t rule = 0;
        int rc = p->schema ? schema_rule(g, p, &rule, e) : p->perhaps ? form(g, p->perhaps, next, &rule, e) : 0;

        if (rc) return rc;
        if (p->perhaps)
            next = grammar_either(g, rule, next);
        else if (p->schema)
            next = grammar_call(g, rule, next);
        else if (p->special)
            next = special(g, p->special, next);
        else if (p->space)
            next = grammar_space(g, next);
        else if (p->until)
            next = lead(g, p->until, p->until_special, next);
        else if (p->text)
            next = grammar_text(g, p->text, strlen(p->text), next);
    }
    *start = next;
    return 0;
}

/* One form, or several with the separator between them. */
static int forms(struct grammar *g, const struct grammar_config *c, uint32_t *start, struct error *e)
{
    uint32_t end = grammar_return(g), after, loop = 0, one = 0;
    uint32_t *way = calloc(c->forms + 1, sizeof *way);
    bool several = c->separator && c->most > 1;
    int rc = way ? 0 : error_set(e, ENOMEM, "out of memory");

    if (!rc) rc = form(g, &c->behind, end, &end, e);
    after = end;
    if (several) after = loop = grammar_loop(g, 0, c->most - 1, end);
    for (size_t i = 0; i < c->forms && !rc && !g->failed; i++) rc = form(g, &c->form[i], after, &way[i], e);
    if (!rc) one = grammar_split(g, way, c->forms);
    if (several) grammar_set_body(g, loop, grammar_text(g, c->separator, strlen(c->separator), one));
    free(way);
    return rc ? rc : form(g, &c->before, one, start, e);
}

int grammar_open(struct grammar **out, const struct grammar_config *c, struct error *e)
{
    struct grammar *g = calloc(1, sizeof *g);
    const char *name = "the form of the answer";
    uint32_t start = 0;
    int rc = g ? forms(g, c, &start, e) : error_set(e, ENOMEM, "out of memory");

    for (size_t i = 0; i < c->forms; i++)
        for (size_t k = 0; k < c->form[i].pieces; k++)
            if (c->form[i].piece[k].schema && c->form[i].piece[k].name) name = c->form[i].piece[k].name;
    if (!rc) {
        g->start = c->lead ? lead(g, c->lead, c->lead_special, start) : start;
        rc = grammar_finish(g, name, e);
    }
    if (rc)
        grammar_close(g);
    else
        *out = g;
    return rc;
}

int grammar_open_schema(struct grammar **out, const json_t *schema, const char *name, struct error *e)
{
    struct grammar_piece piece[] = {{.space = true}, {.schema = schema, .name = name}};
    struct grammar_form f = {piece, 2};

    return grammar_open(out, &(struct grammar_config){.form = &f, .forms = 1}, e);
}
