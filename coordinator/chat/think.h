/* A model's thinking, told apart from its answer while the text streams.
 *
 * Models mark it in their own ways: <think> ... </think> (Qwen, DeepSeek, GLM, SmolLM), <seed:think> (Seed-OSS), [THINK]
 * (Magistral), <|START_THINKING|> (Command A), and channels (gpt-oss: <|channel|>analysis<|message|>). The first is always
 * understood, the others where the tokenizer has such a token. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"

struct tokenizer;

#define THINK_TOKENS_MAX 16

struct think {
    bool inside;
    bool said;      /* the answer has begun: an opening tag is a word like any other from here on */
    bool fresh;     /* right behind a tag: white space there belongs to it */
    uint32_t kinds; /* of marks that are understood */
    char held[48];  /* may be the beginning of a mark */
    size_t bytes;
    int (*text)(void *arg, bool thinking, const char *text, size_t bytes, struct error *e);
    void *arg;
};

/* Which marks this tokenizer's models make. Returns how many tokens of *ids are marks or parts of one: they are text for
 * think_push(), special or not. */
size_t think_setup(struct think *t, const struct tokenizer *tokenizer, uint32_t ids[THINK_TOKENS_MAX]);
/* Answers come in channels: what is kept of them is the answer and the thinking, not the text with its marks. */
bool think_channels(const struct think *t);

/* An answer begins. inside: the prompt ended within an open tag. */
void think_begin(struct think *t, bool inside);
int think_push(struct think *t, const char *text, size_t bytes, struct error *e);
int think_end(struct think *t, struct error *e);
/* The closing tag that the rendered prompt waits for, or NULL where it leaves none open. */
const char *think_left_open(const struct think *t, const char *prompt, size_t bytes);
