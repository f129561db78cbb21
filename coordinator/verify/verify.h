/* `sluice verify`: everything that a run would read, read once and judged.
 *
 *   gather     source -> files, tensors, and what their headers already tell                         verify_gather()
 *   open       all that a run opens, by the same code: what it would refuse                          verify_open()
 *   published  sums that lie beside the files                                                        verify_published()
 *   worker     sluice-verify reads, hashes, counts (proto/verify.h)                                  verify_read()
 *   judge      results -> findings; against published sums and an earlier manifest                   verify_judge()
 *   manifest   the sums, as sha256sum writes and checks them, with sizes                             manifest_write()
 *   report     for people, for programs                                                              verify_print()
 *
 * The coordinator itself touches no weight here either. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"

struct options;
struct source;
struct view;

enum verify_kind {
    FINDING_FILE,     /* missing, damaged, a git LFS pointer, cannot be read, changed meanwhile */
    FINDING_MODEL,    /* config.json, the index: the folder as a whole */
    FINDING_TENSOR,   /* missing, or of another shape */
    FINDING_NUMBERS,  /* NaN or infinity in a tensor */
    FINDING_CHECKSUM, /* not what was published */
    FINDING_BASELINE, /* not what the earlier manifest says */
    FINDING_KINDS
};

struct verify_finding {
    enum verify_kind kind;
    char *file, *tensor;       /* NULL: none in particular */
    char *text;                /* whole sentence, names included */
    uint64_t nan, inf, offset; /* NUMBERS: counts, and where in the file the first one lies */
};

/* A sum that somebody published for a file. */
struct verify_sum {
    char *source; /* file that says so, or "the name of its blob" */
    bool git;     /* of a git blob (SHA-1), else SHA-256 */
    char hex[65]; /* lower case */
    bool compared, equal;
};

struct verify_item {
    char *name, *path; /* as the folder calls it, and where it lies */
    uint64_t bytes;    /* of a packed file: of what it unpacks to; so is sha256 */
    uint64_t mtime_ns, inode;
    bool weights; /* a file of the model's tensors */
    bool read;    /* the digests below hold */
    uint8_t sha256[32], git_sha1[20];
    struct verify_sum *sum;
    size_t sums;
};

struct verify_tensor {
    char *name;
    uint32_t item, dtype, form;
    uint64_t offset, bytes, nan, inf, first;
    bool used, left_out; /* by the model as it runs here; known to it, and of no use to what it writes */
};

struct verify {
    const char *folder; /* of a GGUF: the one that its files lie in */
    char *gguf_folder;  /* the same, owned; NULL: it is none */
    bool packed;        /* its items are those that were packed, its offsets those of unpacked files */
    struct verify_item *item;
    struct verify_tensor *tensor; /* by file, then offset, once gathered */
    struct verify_finding *finding;
    size_t items, tensors, findings;
    bool model_known; /* the model's plan could be made: `used` holds */
    char architecture[64];
    char **note; /* worth a line, nothing wrong */
    size_t notes;
    uint64_t bytes, stored_bytes; /* of all items; what their files take */
    uint64_t read_ns;             /* how long it took to read them */
    bool tensors_wrong;           /* some are missing or of another shape, or a file of theirs cannot be read */
    bool template_refused;
    bool failed; /* out of memory for a finding */
};

int verify_gather(struct verify *v, const struct options *o, struct error *e);
int verify_open(struct verify *v, const struct source *s, struct error *e); /* part of verify_gather() */
int verify_published(struct verify *v, struct error *e);
/* -ECANCELED after Ctrl-C. What cannot be read is a finding, no error. */
int verify_read(struct verify *v, const struct options *o, struct view *view, struct error *e);
int verify_judge(struct verify *v, struct error *e);
int verify_print(const struct verify *v, bool json, bool details, struct error *e);
void verify_free(struct verify *v);

/* ---- used by these files ---- */

/* text as in printf; file and tensor may be NULL. -ENOMEM. */
int verify_find(struct verify *v, enum verify_kind kind, const char *file, const char *tensor, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
int verify_note(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *verify_kind_name(enum verify_kind k);
struct verify_item *verify_item_named(const struct verify *v, const char *name); /* NULL: there is none */
char *verify_hex(char *out, const uint8_t *bytes, size_t n);                     /* 2 n + 1 bytes */
