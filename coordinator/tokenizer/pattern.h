/* What a tokenizer splits and replaces by: a literal string or a regular expression.
 *
 * tokenizer.json's expressions are written for Oniguruma (Ruby's syntax, Unicode classes). They run on PCRE2, so that what
 * the two read differently is rewritten first: \s \w \h and POSIX names as Oniguruma defines them, script names without
 * their extensions, nested classes and && in classes, {n,m}+ (a repetition of a repetition there, possessive here), {,n},
 * (?m) as dot-matches-newline, ^ and $ at every line. */
#pragma once
#include "coordinator/text/buffer.h"
#include "proto/base/error.h"

enum pattern_dialect {
    PATTERN_ONIGURUMA, /* tokenizer.json */
    PATTERN_TIKTOKEN, /* tiktoken's (Rust fancy-regex): {n,m}+ is possessive, \w as in Rust, ^ and $ of the whole text */
};

struct pattern;       /* read-only once compiled, shared by threads */
struct pattern_match; /* scratch of one thread */

int pattern_compile(struct pattern **out, const char *regex, size_t bytes, enum pattern_dialect dialect,
                    struct error *e);
int pattern_literal(struct pattern **out, const char *text, size_t bytes, struct error *e);
void pattern_free(struct pattern *p);

/* The expression in PCRE2's words, appended to *out. */
int pattern_translate(struct buffer *out, const char *regex, size_t bytes, enum pattern_dialect dialect,
                      struct error *e);

/* Goes over the matches in text[0..bytes), valid UTF-8, each starting where the one before ended; an empty match
 * directly behind a match does not count. Start with a zeroed walk. */
struct pattern_walk {
    size_t start, end; /* of the match just found */
    size_t from;       /* where the next search starts */
    bool found_one, done;
};

/* 1: found; 0: no more; -errno: the expression exceeded its limits on this text, or no memory. */
int pattern_next(const struct pattern *p, struct pattern_match *m, const char *text, size_t bytes,
                 struct pattern_walk *w, struct error *e);

struct pattern_match *pattern_match_new(void); /* NULL: no memory */
void pattern_match_free(struct pattern_match *m);
