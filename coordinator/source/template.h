/* The chat template of a model folder: what turns a conversation into the text that the model is given.
 *
 * Where it is looked for, the first that has one: chat_template.jinja, chat_template.json, tokenizer_config.json; named
 * ones also in additional_chat_templates/NAME.jinja. The folder's special tokens (bos_token and its like) come from
 * tokenizer_config.json and special_tokens_map.json and are variables of the template, as in transformers'
 * apply_chat_template(). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <time.h>
#include "coordinator/text/json.h"
#include "proto/base/error.h"

struct template; /* not changed by rendering: several threads may use one */

/* name NULL: the default one, and "tool_use" where there is one and tools are given. A folder with only
 * tokenizer_config.json is enough. -ENOENT where the folder has no template, or none of that name; -EINVAL with the
 * line where the template or a file cannot be read. */
int template_open(struct template **out, const char *folder, const char *name, struct error *e);

/* The same of what another file holds. place and none are for messages: where, and "no ..." of a place that holds none.
 * sources: names to texts; tokens: special tokens by their names (bos_token). Both are only read. */
int template_make(struct template **out, const char *place, const char *none, json_t *sources, json_t *tokens,
                  const char *name, struct error *e);

/* vars: an object with messages, tools, add_generation_prompt and any further ones; these win over the folder's own,
 * bos_token too. Where they are not given, tools and documents are none, add_generation_prompt is false, and a message
 * with one of reasoning_content, thinking and reasoning has the others transformers gives it. vars is not changed.
 * date: what strftime_now() says; NULL: now. *text (UTF-8, *bytes of it, then a NUL) is the caller's to free.
 * -EINVAL where the template fails, or refuses: then the message is the template's own. -E2BIG past a limit. */
int template_render(struct template *t, json_t *vars, const struct tm *date, char **text, size_t *bytes,
                    struct error *e);

/* The same, with no more than so many bytes for all values and texts of the rendering; 0: the usual limit. */
int template_render_within(struct template *t, json_t *vars, const struct tm *date, size_t held, char **text,
                           size_t *bytes, struct error *e);

/* The text of the template that is rendered with (or without) tools; the template's own. */
const char *template_text(const struct template *t, bool tools, size_t *bytes);

void template_close(struct template *t);
