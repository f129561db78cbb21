/* A model that recites: a Llama of one layer whose answer is a list of texts, one token each, and then its end. For tests of
 * what becomes of an answer that no trained model would give.
 *
 * Its embedding and its head are a table from each token to the next. A text that occurs twice may be followed by two
 * others, the second from where one certain text was said: attention sees that one in what came before. */
#pragma once

/* A scratch folder, the caller's. piece: what is said, the first being the end of the prompt; ends with NULL. Those that
 * begin with "<|" are special tokens. turn: the text from which on the second successors hold, or NULL. template: of the
 * chat, which must end with the first piece. */
char *recite_make(const char *const *piece, const char *turn, const char *template);
