/* sluice tokenize, sluice detokenize: standard input through the tokenizer, one way or the other. */
#include "coordinator/cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include "coordinator/cli/input.h"
#include "coordinator/cli/values.h"
#include "coordinator/plan/machine.h"
#include "coordinator/tokenizer/detokenizer.h"
#include "coordinator/source/source.h"
#include "coordinator/view/terminal.h"

#define MEMORY_SHARE 16u /* of the free memory: ids, pieces and the text take several times as much */

static int read_text(char **text, size_t *bytes, struct error *e)
{
    struct input_limit limit = {.why = "that is a sixteenth of the free memory; give it in parts"};
    struct machine m;

    machine_look(&m);
    limit.bytes = m.free_bytes / MEMORY_SHARE;
    return input_read(NULL, &limit, text, bytes, e);
}

static void print_ids(const struct token_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++) printf("%s%u", i ? " " : "", (unsigned)ids->id[i]);
    putchar('\n');
}

int command_tokenize(const struct options *o, struct error *e)
{
    struct tokenizer *t = NULL;
    struct token_ids ids = {0};
    char *text = NULL;
    size_t bytes;
    int rc;

    rc = source_tokenizer(o->source, &t, e);
    if (!rc) rc = read_text(&text, &bytes, e);
    if (!rc) rc = tokenizer_encode(t, text, bytes, !o->no_special, &ids, e);
    if (!rc) print_ids(&ids);
    token_ids_free(&ids);
    free(text);
    tokenizer_close(t);
    return rc;
}

static int print_text(const struct tokenizer *t, const uint32_t *id, size_t count, bool skip_special, struct error *e)
{
    struct detokenizer *d = NULL;
    bool shown = terminal_is(1);
    const char *text;
    size_t bytes;
    int rc;

    rc = detokenizer_open(&d, t, skip_special, e);
    if (rc) return rc;
    for (size_t i = 0; !rc && i < count; i++) {
        rc = detokenizer_push(d, id[i], &text, &bytes, e);
        if (!rc) fwrite(text, 1, bytes, stdout);
    }
    if (!rc) rc = detokenizer_finish(d, &text, &bytes);
    if (!rc) fwrite(text, 1, bytes, stdout);
    if (!rc && shown) putchar('\n'); /* elsewhere the bytes are the text's, no more and no less */
    detokenizer_close(d);
    return rc;
}

int command_detokenize(const struct options *o, struct error *e)
{
    struct tokenizer *t = NULL;
    uint32_t *id = NULL;
    size_t bytes, count;
    char *text = NULL;
    int rc;

    rc = source_tokenizer(o->source, &t, e);
    if (!rc) rc = read_text(&text, &bytes, e);
    if (!rc && (rc = value_numbers(text, bytes, &id, &count, e))) error_prefix(e, "standard input");
    if (!rc) rc = print_text(t, id, count, o->no_special, e);
    free(id);
    free(text);
    tokenizer_close(t);
    return rc;
}
