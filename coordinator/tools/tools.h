/* Calls of tools in a model's text: each family has a form of its own, which its chat template shows.
 *
 *   template's text --tools_form_of()--> form
 *   text as it streams --tools_push()--> content, and calls {name, arguments}
 *   tools and form --tools_force()--> a grammar that allows calls of them and nothing else
 *
 * What may be the beginning of a call is held back until it is known; what then turns out to be none is content. The names of
 * special tokens among the marks must be part of the text (completion_config.spoken): see tools_marks(). */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/grammar/grammar.h"
#include "proto/base/error.h"

struct tokenizer;

enum tools_form {
    TOOLS_NONE,         /* the template has no tools, or a form that is not known */
    TOOLS_HERMES,       /* <tool_call> {"name", "arguments"} </tool_call>: Hermes, Qwen 2.5 and 3, SmolLM 3 */
    TOOLS_XML,          /* <tool_call> <function=NAME> <parameter=KEY> value ...: Qwen3-Coder, Qwen 3.5 */
    TOOLS_GLM,          /* <tool_call>NAME <arg_key>KEY</arg_key> <arg_value>value</arg_value> ...: GLM 4.5 and later */
    TOOLS_LLAMA,        /* {"name", "parameters"}, perhaps behind <|python_tag|>: Llama 3.1 to 4 */
    TOOLS_MISTRAL,      /* [TOOL_CALLS] [{"name", "arguments"}, ...]: Mistral to 2024 */
    TOOLS_MISTRAL_ARGS, /* [TOOL_CALLS]NAME[ARGS]{...}: Mistral since 2025 */
    TOOLS_GRANITE,      /* <|tool_call|> [{"name", "arguments"}, ...]: Granite 3 */
    TOOLS_DEEPSEEK,     /* marks, function, the name and a block of JSON: DeepSeek V3, R1 */
    TOOLS_DEEPSEEK_31,  /* marks, the name and JSON: DeepSeek V3.1 and later */
    TOOLS_KIMI,         /* marks, functions.NAME:0 and JSON: Kimi K2 */
    TOOLS_HARMONY,      /* <|channel|>commentary to=functions.NAME ... <|message|>{...}: gpt-oss */
    TOOLS_FORMS
};

/* By what the text of a chat template (template_text()) writes. */
enum tools_form tools_form_of(const char *text, size_t bytes);
const char *tools_form_name(enum tools_form f);
/* The marks of a form, NULL ends them: those that the tokenizer has as special tokens are to be spoken. */
const char *const *tools_marks(enum tools_form f);
/* Marks of calls stand among those of thoughts (channels): calls are told apart first, and the content goes on to think.h.
 * With all other forms it is the other way round. */
bool tools_before_thoughts(enum tools_form f);

/* ---- reading ---- */

/* Results that are negative end the push with them. */
struct tools_listener {
    int (*content)(void *arg, const char *text, size_t bytes, struct error *e);
    /* arguments: the text of a JSON object, NUL behind both. */
    int (*call)(void *arg, const char *name, const char *arguments, struct error *e);
    void *arg;
};

struct tools_parser;

/* tools: OpenAI's list [{"type":"function","function":{"name","parameters"}}, ...], which says of what type the values of
 * forms without JSON are; NULL: not known. Not TOOLS_NONE. -ENOMEM. */
int tools_open(struct tools_parser **out, enum tools_form f, const json_t *tools, const struct tools_listener *l,
               struct error *e);
int tools_push(struct tools_parser *p, const char *text, size_t bytes, struct error *e);
int tools_finish(struct tools_parser *p, struct error *e); /* no text follows */
uint32_t tools_calls(const struct tools_parser *p);        /* so far */
void tools_close(struct tools_parser *p);

/* ---- forcing ---- */

struct tools_force {
    enum tools_form form;
    const struct tokenizer *tokenizer; /* which marks are special tokens */
    const json_t *tools;
    const char *only; /* the name that must be called; NULL: any */
    unsigned most;    /* calls, at least 1; forms that allow fewer have fewer */
    const char *lead; /* the end of a thought that the prompt has left open, NULL: none */
};
/* A grammar of calls: arguments are valid by the function's parameters, but for strings in forms without JSON, which are
 * any text. -EINVAL: names what in the tools is not supported ("tools[0].function.parameters. ..."), or that there is no
 * such tool, or none; -ENOTSUP: the form cannot be forced. */
int tools_force(struct grammar **out, const struct tools_force *f, struct error *e);
