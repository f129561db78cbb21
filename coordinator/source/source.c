#include "coordinator/source/source.h"

#include <errno.h>
#include <stdlib.h>
#include "coordinator/source/folder.h"
#include "coordinator/source/gguf_source.h"

/* Each is asked in turn whether a path is its own; a folder is whatever no other kind wants, and explains what it is not. */
static const struct source_ops *const kinds[] = {&source_gguf_ops, &source_folder_ops};
#define KINDS (sizeof kinds / sizeof *kinds)

int source_open(struct source **out, const char *path, struct error *e)
{
    struct source *s = calloc(1, sizeof *s);
    bool mine = false;
    int rc = 0;

    *out = NULL;
    if (!s) return error_set(e, ENOMEM, "%s: no memory to open it", path);
    for (size_t i = 0; i < KINDS && !mine && !rc; i++) {
        s->ops = kinds[i];
        rc = kinds[i]->open(s, path, &mine, e);
    }
    if (rc)
        source_close(s);
    else
        *out = s;
    return rc;
}

void source_close(struct source *s)
{
    if (!s) return;
    if (s->ops && s->ops->close) s->ops->close(s);
    free(s->path);
    free(s->name);
    free(s);
}

int source_set_split(struct source *s, const char *split, struct error *e)
{
    if (!source_gguf(s))
        return error_set(
            e, EINVAL,
            "%s: --pre is for GGUF files, and this folder's tokenizer says how texts are split: leave it out", s->path);
    s->split = split;
    return 0;
}

const char *source_path(const struct source *s)
{
    return s->path;
}

const char *source_name(const struct source *s)
{
    return s->name;
}

const struct gguf *source_gguf(const struct source *s)
{
    return s->ops->gguf ? s->ops->gguf(s) : NULL;
}

int source_config(const struct source *s, struct config **out, struct error *e)
{
    return s->ops->config(s, out, e);
}

int source_tensors(const struct source *s, const struct tensors_options *o, struct tensors **out, struct error *e)
{
    static const struct tensors_options plain = {0};

    return s->ops->tensors(s, o ? o : &plain, out, e);
}

int source_tokenizer(const struct source *s, struct tokenizer **out, struct error *e)
{
    return s->ops->tokenizer(s, out, e);
}

int source_template(const struct source *s, const char *name, struct template **out, struct error *e)
{
    return s->ops->template(s, name, out, e);
}

int source_generation(const struct source *s, const struct config *c, struct model_generation *g, struct error *e)
{
    return s->ops->generation(s, c, g, e);
}

uint64_t source_text_bytes(const struct source *s)
{
    return s->ops->text_bytes(s);
}
