#include "coordinator/text/suggest.h"

#include <stdbool.h>
#include <string.h>

#define NAME_MAX_BYTES 63

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t suggest_distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), row[3][NAME_MAX_BYTES + 1];
    size_t *before = row[0], *above = row[1], *now = row[2], *turn;

    if (la > NAME_MAX_BYTES || lb > NAME_MAX_BYTES) return la > lb ? la : lb;
    for (size_t j = 0; j <= lb; j++) above[j] = j;
    for (size_t i = 1; i <= la; i++) {
        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t d = above[j - 1] + (a[i - 1] != b[j - 1]);
            d = least(d, least(above[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d = least(d, before[j - 2] + 1);
            now[j] = d;
        }
        turn = before;
        before = above;
        above = now;
        now = turn;
    }
    return above[lb];
}

/* A cut-off name is as near as a slip of the finger. */
static size_t suggest_cost(const char *word, const char *name)
{
    size_t n = strlen(word);

    return n >= 3 && !strncmp(word, name, n) ? 1 : suggest_distance(word, name);
}

const char *suggest_nearer(const char *word, const char *best, const char *name)
{
    size_t cost = suggest_cost(word, name), limit = strlen(word) / 3;

    if (cost > (limit ? limit : 1)) return best;
    return best && suggest_cost(word, best) <= cost ? best : name;
}
