/* How the calls of each form are written; for the files of this room. */
#pragma once
#include "coordinator/tools/tools.h"

enum tools_body {
    BODY_JSON, /* an object with a name and arguments (or parameters) */
    BODY_LIST, /* a list of these */
    BODY_NAME, /* the name, a text, and the arguments as JSON */
    BODY_XML,
    BODY_GLM,
};

struct tools_shape {
    const char *name;
    enum tools_body body;
    const char *section, *section_end; /* around all calls; NULL: nothing */
    const char *begin, *end;           /* around one */
    const char *before_name, *behind_name, *behind_json;
    const char *const *marks;
};

extern const struct tools_shape tools_shapes[TOOLS_FORMS];

#define DEEPSEEK_CALLS                                                                                                 \
    "<\xef\xbd\x9ctool\xe2\x96\x81"                                                                                    \
    "calls\xe2\x96\x81"                                                                                                \
    "begin\xef\xbd\x9c>"
#define DEEPSEEK_CALLS_END                                                                                             \
    "<\xef\xbd\x9ctool\xe2\x96\x81"                                                                                    \
    "calls\xe2\x96\x81"                                                                                                \
    "end\xef\xbd\x9c>"
#define DEEPSEEK_CALL                                                                                                  \
    "<\xef\xbd\x9ctool\xe2\x96\x81"                                                                                    \
    "call\xe2\x96\x81"                                                                                                 \
    "begin\xef\xbd\x9c>"
#define DEEPSEEK_CALL_END                                                                                              \
    "<\xef\xbd\x9ctool\xe2\x96\x81"                                                                                    \
    "call\xe2\x96\x81"                                                                                                 \
    "end\xef\xbd\x9c>"
#define DEEPSEEK_SEP "<\xef\xbd\x9ctool\xe2\x96\x81sep\xef\xbd\x9c>"

/* The function of this name in OpenAI's list, NULL: none; and what its parameter's type is ("string", NULL: not said). */
const json_t *tools_function(const json_t *tools, const char *name, size_t bytes);
const char *tools_type_of(const json_t *function, const char *key);

/* The next call in a text that begins with a mark, or goes on within a section. */
enum tools_found { FOUND_MORE, FOUND_CALL, FOUND_END, FOUND_NOTHING };
struct tools_next {
    bool section;           /* within it: in and out */
    bool first;             /* no call of the section has come */
    bool final;             /* no text follows */
    size_t used;            /* bytes of what was found */
    char *call, *arguments; /* FOUND_CALL: the caller's to free */
};
enum tools_found tools_next(enum tools_form f, const json_t *tools, const char *text, size_t bytes,
                            struct tools_next *n);
