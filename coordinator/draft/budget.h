/* What a sweep of so many positions takes: what sweeps of about as many took, and between and beyond these as the plan says.
 *
 *   planned(n) = max(read, first + (n - 1) position + rows row) + experts(n)
 *
 * Between two sizes that were seen seconds grow in proportion to positions; beyond them, as what is planned does. One sweep
 * that took long may have had bad luck: of a size's first two the shorter counts. What was seen wears off, very slowly. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define BUDGET_CLASSES 9u

struct budget_costs {
    double read;           /* seconds of the tiles that every sweep reads from disk */
    double first;          /* that compute takes for one position */
    double position, row;  /* for each further one; for each row of logits but the first */
    const double *experts; /* [most + 1] reading those of n positions that the cache lacks; NULL: none */
    uint32_t most;         /* more positions than these: as many experts as for these */
};

struct budget {
    struct budget_costs costs;
    struct budget_size {
        double positions, seconds, planned; /* of sweeps of this class, the newest count most; positions 0: none yet */
        uint32_t sweeps;
    } seen[BUDGET_CLASSES]; /* 1, 2, 3-4, 5-8, ... positions */
};

void budget_open(struct budget *b, const struct budget_costs *c);
/* As planned, and as it is by what was seen. */
double budget_planned(const struct budget *b, uint32_t positions, uint32_t rows);
double budget_seconds(const struct budget *b, uint32_t positions, uint32_t rows);
bool budget_seen(const struct budget *b, uint32_t positions); /* a sweep of about as many */
void budget_learn(struct budget *b, uint32_t positions, uint32_t rows, double seconds);
