#include "coordinator/source/folder.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "coordinator/source/explain.h"
#include "coordinator/source/place.h"
#include "coordinator/text/lfs.h"

static int open_folder(struct source *s, const char *path, bool *mine, struct error *e)
{
    struct place p;
    int rc = place_find(&p, path, e);

    if (rc) return rc;
    *mine = true;
    s->path = p.folder;
    s->name = p.name;
    return 0;
}

static int folder_config(const struct source *s, struct config **out, struct error *e)
{
    return config_open(out, s->path, e);
}

static int folder_tensors(const struct source *s, const struct tensors_options *o, struct tensors **out,
                          struct error *e)
{
    return tensors_open(out, s->path, o, e);
}

/* A folder without a tokenizer may be of a kind that says more than that. */
static int folder_tokenizer(const struct source *s, struct tokenizer **out, struct error *e)
{
    struct error kind;
    int rc = tokenizer_open(out, s->path, e);

    if (rc == -ENOENT && explain_known(s->path, &kind)) return error_set(e, kind.code, "%s", kind.text);
    return rc;
}

static int folder_template(const struct source *s, const char *name, struct template **out, struct error *e)
{
    return template_open(out, s->path, name, e);
}

static int folder_generation(const struct source *s, const struct config *c, struct model_generation *g,
                             struct error *e)
{
    return generation_read(g, s->path, c, e);
}

/* Of a file that was not downloaded yet: as git LFS says. */
static uint64_t file_bytes(const struct source *s, const char *name)
{
    struct lfs_pointer pointer;
    struct stat st;
    char *path;
    uint64_t bytes = 0;

    if (asprintf(&path, "%s/%s", s->path, name) < 0) return 0;
    if (lfs_pointer_read(&pointer, path))
        bytes = pointer.bytes;
    else if (!stat(path, &st))
        bytes = (uint64_t)st.st_size;
    free(path);
    return bytes;
}

/* Measured were 2.7 bytes a byte of a tokenizer.json of 256000 tokens while it is read. The compact form of SentencePiece is
 * unpacked. */
static uint64_t folder_text_bytes(const struct source *s)
{
    return 3 * file_bytes(s, "tokenizer.json") + 12 * file_bytes(s, "tokenizer.model");
}

const struct source_ops source_folder_ops = {
    .kind = "folder",
    .open = open_folder,
    .config = folder_config,
    .tensors = folder_tensors,
    .tokenizer = folder_tokenizer,
    .template = folder_template,
    .generation = folder_generation,
    .text_bytes = folder_text_bytes,
};
