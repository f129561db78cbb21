/* The character classes that tokenizers ask for. */
#pragma once
#include "proto/base/utf8.h"

/* Unicode classes, as Rust's standard library and regex crate define them (tokenizers is written in it). */
bool utf8_is_space(uint32_t c);       /* White_Space */
bool utf8_is_word(uint32_t c);        /* \w of the regex crate: Alphabetic, M, Nd, Pc, Join_Control */
bool utf8_is_numeric(uint32_t c);     /* Nd, Nl, No */
bool utf8_is_punctuation(uint32_t c); /* ASCII punctuation and P* */
bool utf8_is_mark(uint32_t c);        /* M* */
bool utf8_is_nonspacing(uint32_t c);  /* Mn */
bool utf8_is_other(uint32_t c);       /* C* but unassigned: control, format, private */
