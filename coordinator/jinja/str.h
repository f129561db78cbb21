/* String methods that filters share, and those of jinja_case.c. */
#pragma once
#include "coordinator/jinja/value.h"

struct jval jstr_strip(struct jinja_run *r, struct jval self, const struct jstr *set, bool left, bool right);
struct jseq *jstr_lines(struct jinja_run *r, struct jval self, bool keep_ends);
struct jval jstr_replace(struct jinja_run *r, const struct jstr *s, const struct jstr *old, const struct jstr *new,
                         int64_t most);
struct jval jstr_center(struct jinja_run *r, struct jval self, struct jargs *a);

/* As methods; a is not looked at. */
typedef struct jval jstr_method(struct jinja_run *r, struct jval self, struct jargs *a);
jstr_method jstr_capitalize, jstr_casefold, jstr_lower, jstr_upper, jstr_swapcase, jstr_title, jstr_isalnum,
    jstr_isalpha, jstr_isascii, jstr_isdecimal, jstr_isdigit, jstr_isidentifier, jstr_islower, jstr_isnumeric,
    jstr_isprintable, jstr_isspace, jstr_istitle, jstr_isupper;

bool jchar_word(uint32_t c);                                         /* \w of a regular expression */
struct jval jstr_title_words(struct jinja_run *r, struct jval self); /* the title filter's idea of a word */
