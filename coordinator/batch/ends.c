#include "coordinator/batch/ends.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"

struct telling {
    char text[1024];
    const struct tokenizer *t;
};

static void tell(struct telling *s, uint32_t id, const char *files)
{
    const char *text = s->t ? tokenizer_token_text(s->t, id) : NULL;
    size_t n = strlen(s->text);

    snprintf(s->text + n, sizeof s->text - n, "%s%u%s%.40s%s (%s)", n ? ", " : "", id, text ? " \"" : "",
             text ? text : "", text ? "\"" : "", files);
}

/* Names of the files that say so. */
static void name_files(char *out, size_t room, unsigned from, const char *tokenizer_file)
{
    const char *names[] = {from & GENERATION_FILE ? "generation_config.json" : NULL,
                           from & GENERATION_CONFIG ? "config.json" : NULL,
                           from & GENERATION_EOS_KEY ? "tokenizer.ggml.eos_token_id" : NULL,
                           from & GENERATION_EOT_KEY ? "tokenizer.ggml.eot_token_id" : NULL,
                           from & GENERATION_EOM_KEY ? "tokenizer.ggml.eom_token_id" : NULL,
                           from & GENERATION_END_TEXT ? "by its text" : NULL,
                           tokenizer_file};
    size_t n = 0;

    *out = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i]) n += (size_t)snprintf(out + n, room - n, "%s%s", n ? ", " : "", names[i]);
}

int ends_find(struct ends *x, const struct model_generation *g, const struct tokenizer *t, uint32_t vocab,
              struct error *e)
{
    const char *file = NULL;
    int64_t own = t ? tokenizer_end(t, &file) : -1;
    struct telling s = {.t = t};
    char files[192];
    bool seen = false;

    *x = (struct ends){.id = calloc(g->eos_count + 1, sizeof *x->id)};
    if (!x->id) return error_set(e, ENOMEM, "out of memory");
    for (size_t i = 0; i < g->eos_count; i++) {
        bool same = g->eos[i] == own;

        seen |= same;
        name_files(files, sizeof files, g->eos_from[i], same ? file : NULL);
        if (g->eos[i] >= vocab) {
            log_info("%s: eos_token_id: %u is not in the vocabulary of %u tokens: left out", files, g->eos[i], vocab);
            continue;
        }
        x->id[x->count++] = g->eos[i];
        tell(&s, g->eos[i], files);
    }
    if (file && own < 0) log_info("%s: eos_token: not in the vocabulary: left out", file);
    if (own >= vocab)
        log_info("%s: eos_token: %lld is not in the vocabulary of %u tokens: left out", file, (long long)own, vocab);
    if (own >= 0 && own < vocab && !seen) {
        x->id[x->count++] = (uint32_t)own;
        tell(&s, (uint32_t)own, file);
    }
    if (x->count)
        log_info("an answer ends with %s", s.text);
    else
        log_info("no file of the model says what ends an answer");
    return 0;
}

void ends_free(struct ends *x)
{
    free(x->id);
    *x = (struct ends){0};
}
