/* What guessing from what was said before takes: draft_bench FILE...
 *
 * The words of the files, one token each, are a text of 32,768 tokens and 2,048 more that are guessed at: as in a run, sweep by
 * sweep, with the logits of 49,152 tokens. Prints the median and the longest of the milliseconds of a sweep, of trees of 64 and
 * of 256 guesses. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/draft/drafter.h"

#define VOCAB    49152u
#define HISTORY  32768u
#define TO_COME  2048u
#define GUESSES  256u
#define WORD_END 64

static uint32_t text[HISTORY + TO_COME], tokens;
static float logits[VOCAB];

static double milliseconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void read_words(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint32_t hash = 0;
    int c, letters = 0;

    if (!f) {
        fprintf(stderr, "draft_bench: cannot read %s\n", path);
        exit(1);
    }
    while ((c = getc(f)) != EOF && tokens < HISTORY + TO_COME) {
        bool word = isalnum(c) || c == '_';

        if (letters && (!word || letters == WORD_END)) {
            text[tokens++] = hash % VOCAB;
            letters = 0;
        }
        if (!word && !isspace(c) && tokens < HISTORY + TO_COME) text[tokens++] = (uint32_t)c;
        if (!word) continue;
        hash = (letters++ ? hash : 2166136261u) * 16777619u ^ (uint32_t)c;
    }
    fclose(f);
}

static uint32_t child(const struct guess *g, uint32_t n, uint32_t parent, uint32_t token)
{
    for (uint32_t i = 0; i < n; i++)
        if (g[i].parent == parent && g[i].token == token) return i;
    return GUESS_ROOT;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* The logits of a row: the token is the best one. */
static void choose(uint32_t token)
{
    for (uint32_t i = 0; i < VOCAB; i++) logits[i] = (float)(i * 2654435761u % 1000) * 1e-3f;
    logits[token] = 9;
}

static void measure(uint32_t most)
{
    static double took[TO_COME];
    static struct guess out[GUESSES];
    struct drafter_config c = {.most = most, .fixed = true, .roots = 1, .tokens = HISTORY + TO_COME, .vocab = VOCAB};
    struct sampler_settings greedy = {.top_p = 1, .repeat_penalty = 1};
    struct guess_root r = {.token = text, .count = HISTORY, .prompt = HISTORY, .number = 1, .sampling = &greedy};
    struct drafter *d;
    struct guesser g;
    struct error e;
    uint32_t sweeps = 0, made = 0;

    if (drafter_open(&d, &c, &e)) {
        fprintf(stderr, "draft_bench: %s\n", e.text);
        exit(1);
    }
    g = drafter_guesser(d);
    g.meet(g.arg, &r); /* the prompt, while its sweep is under way */
    while (r.count < HISTORY + TO_COME) {
        uint32_t node = GUESS_ROOT, n;
        double begin = milliseconds();

        r.most = HISTORY + TO_COME - r.count - 1;
        n = g.guess(g.arg, &(struct guess_ask){.root = &r, .roots = 1, .positions = 1, .most = most}, out);
        took[sweeps] = milliseconds() - begin;
        made = 0;
        do {
            uint32_t token = text[r.count + made++];

            choose(token);
            begin = milliseconds();
            g.seen(g.arg, &(struct guess_seen){0, node == GUESS_ROOT ? 0 : node + 1, token, logits});
            took[sweeps] += milliseconds() - begin;
            node = child(out, n, node, token);
        } while (node != GUESS_ROOT && r.count + made < HISTORY + TO_COME);
        r.count += made;
        begin = milliseconds();
        g.swept(g.arg, &(struct guess_sweep){.positions = n + 1, .guesses = n, .rows = n + 1, .tokens = made});
        took[sweeps++] += milliseconds() - begin;
    }
    drafter_close(d);
    qsort(took, sweeps, sizeof *took, by_size);
    printf("%u guesses: %.3f ms a sweep, %.3f at most, %u tokens in %u sweeps\n", most, took[sweeps / 2],
           took[sweeps - 1], TO_COME, sweeps);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) read_words(argv[i]);
    if (tokens < HISTORY + TO_COME) {
        fprintf(stderr, "draft_bench: %u words are too few: give files of %u\n", tokens, HISTORY + TO_COME);
        return 1;
    }
    measure(64);
    measure(256);
    return 0;
}
