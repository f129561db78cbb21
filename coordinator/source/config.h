/* config.json and its kin: JSON files of a model folder, read with types and limits.
 *
 * A folder is untrusted: nesting is bounded, numbers have ranges, and every complaint names the file and the field.
 *
 * The getters share one convention, so that a family reads a dozen fields and asks once whether all was well: they do
 * nothing and return the default once e->code is set, and set it at the first fault. The default is for a field that is
 * null, and for one that is absent where its class has none. Strings and objects belong to the config. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/text/json.h"
#include "proto/base/error.h"

#define CONFIG_SIZE_MAX UINT64_C(1000000000)

struct config {
    char *path;       /* of the file, for messages */
    json_t *root;     /* the whole file */
    json_t *text;     /* the object with the language model's fields: root, or its text_config */
    json_t *defaults; /* what the architecture's class has where text is silent; NULL: nothing is known. Owned. */
};

/* Reads FOLDER/config.json. -ENOENT, -ENOTDIR, -EINVAL with the remedy. */
int config_open(struct config **out, const char *folder, struct error *e);
void config_close(struct config *c);

/* The field, looked for in the text part and, where from_root, then in the whole file; where the key is in neither, its
 * class's default. NULL: there is none, or it is null: null is said, and means none whatever the default. */
const json_t *config_field(const struct config *c, const char *key, bool from_root);
/* Whether the text part itself gives the field, null or not. */
bool config_gives(const struct config *c, const char *key);

/* A whole number from least to most. The first fails without the field. */
uint32_t config_size(const struct config *c, const char *key, uint32_t least, uint32_t most, struct error *e);
uint32_t config_size_or(const struct config *c, const char *key, uint32_t least, uint32_t most, uint32_t otherwise,
                        struct error *e);
/* A length in tokens; one that no model has (1e30 is what Python writes where none is known) counts as absent. */
uint32_t config_length_or(const struct config *c, const char *key, uint32_t otherwise, struct error *e);
/* A finite number. */
double config_number_or(const struct config *c, const char *key, double otherwise, struct error *e);
bool config_bool_or(const struct config *c, const char *key, bool otherwise, struct error *e);
const char *config_string_or(const struct config *c, const char *key, const char *otherwise, struct error *e);

/* The same on any object of the file; where: how messages call it. */
double config_object_number(const struct config *c, const json_t *object, const char *where, const char *key,
                            double otherwise, struct error *e);

/* The i-th entry of a list of strings or whole numbers; absent lists and short lists give the default. */
const char *config_list_string(const struct config *c, const char *key, size_t i, struct error *e);
int64_t config_list_int(const struct config *c, const char *key, size_t i, int64_t otherwise, struct error *e);

/* A complaint about a field: "FILE: FIELD: text". Keeps an earlier one. Returns -EINVAL. */
int config_fault(const struct config *c, struct error *e, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
