#include "coordinator/grammar/states.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/program.h"
#include "coordinator/text/buffer.h"

#define PLACES_MAX 262144u
#define STATES_MAX 4096u
#define ITEMS_MAX  1048576u /* of all states */
#define SET_MAX    8192u    /* places of one state */
#define WORK_MAX   8000000u /* places looked at for one mask, or one text: a fraction of a second */

/* A place; as a frame: where to go on, once what was called is over. */
struct place {
    uint32_t node, count, parent; /* parent: a place, GRAMMAR_NONE: the outermost */
    uint32_t depth, seen;         /* seen: by which search */
};

struct state {
    uint32_t first, count; /* of items */
    bool end;
    uint32_t *step; /* [256], state + 1, 0: not known yet; NULL: none known */
};

struct grammar_states {
    const struct grammar *g;
    struct place *place;
    struct state *state;
    uint32_t *item; /* places that wait for a byte, sorted */
    uint32_t *found, *todo;
    uint32_t *place_slot, *state_slot; /* by hash, index + 1 */
    size_t places, states, items, finds, todos;
    size_t place_room, state_room, item_room, found_room, todo_room, place_slots, state_slots;
    size_t steps; /* states with known steps */
    uint32_t search, work;
    bool end; /* found by the search */
    int rc;   /* of the search */
};

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 31;
}

/* ---- tables ---- */

static size_t place_hash(const struct place *p)
{
    return (size_t)mix(mix(mix(7, p->node), p->count), p->parent);
}

static bool same_place(const struct place *a, const struct place *b)
{
    return a->node == b->node && a->count == b->count && a->parent == b->parent;
}

static size_t items_hash(const uint32_t *item, size_t n, bool end)
{
    uint64_t h = end ? 11 : 13;

    for (size_t i = 0; i < n; i++) h = mix(h, item[i]);
    return (size_t)h;
}

/* Twice as many slots, empty; false: no memory. */
static bool more_slots(uint32_t **slot, size_t *slots)
{
    size_t want = *slots ? 2 * *slots : 256;
    uint32_t *more = calloc(want, sizeof *more);

    if (!more) return false;
    free(*slot);
    *slot = more;
    *slots = want;
    return true;
}

static bool index_places(struct grammar_states *s)
{
    if (!more_slots(&s->place_slot, &s->place_slots)) return false;
    for (size_t i = 0; i < s->places; i++) {
        size_t at = place_hash(&s->place[i]) & (s->place_slots - 1);

        while (s->place_slot[at]) at = (at + 1) & (s->place_slots - 1);
        s->place_slot[at] = (uint32_t)i + 1;
    }
    return true;
}

static bool index_states(struct grammar_states *s)
{
    if (!more_slots(&s->state_slot, &s->state_slots)) return false;
    for (size_t i = 0; i < s->states; i++) {
        const struct state *x = &s->state[i];
        size_t at = items_hash(s->item + x->first, x->count, x->end) & (s->state_slots - 1);

        while (s->state_slot[at]) at = (at + 1) & (s->state_slots - 1);
        s->state_slot[at] = (uint32_t)i + 1;
    }
    return true;
}

static int failed(struct grammar_states *s, int code)
{
    if (!s->rc) s->rc = -code;
    return s->rc;
}

/* The number of a place; what fails is in s->rc. */
static uint32_t intern_place(struct grammar_states *s, struct place p)
{
    struct place *more;
    size_t at;

    if (2 * s->places >= s->place_slots && !index_places(s)) {
        failed(s, ENOMEM);
        return 0;
    }
    for (at = place_hash(&p) & (s->place_slots - 1); s->place_slot[at]; at = (at + 1) & (s->place_slots - 1))
        if (same_place(&s->place[s->place_slot[at] - 1], &p)) return s->place_slot[at] - 1;
    if (s->places == PLACES_MAX) {
        failed(s, ENOSPC);
        return 0;
    }
    if (!(more = array_grow(s->place, sizeof *more, &s->place_room, s->places + 1))) {
        failed(s, ENOMEM);
        return 0;
    }
    s->place = more;
    p.depth = p.parent == GRAMMAR_NONE ? 0 : s->place[p.parent].depth + 1;
    p.seen = 0;
    s->place[s->places++] = p;
    s->place_slot[at] = (uint32_t)s->places;
    return (uint32_t)s->places - 1;
}

static int intern_state(struct grammar_states *s, const uint32_t *item, size_t n, bool end, uint32_t *out)
{
    struct state *more;
    uint32_t *items;
    size_t at;

    if (2 * s->states >= s->state_slots && !index_states(s)) return -ENOMEM;
    for (at = items_hash(item, n, end) & (s->state_slots - 1); s->state_slot[at];
         at = (at + 1) & (s->state_slots - 1)) {
        const struct state *x = &s->state[s->state_slot[at] - 1];

        if (x->count == n && x->end == end && (!n || !memcmp(s->item + x->first, item, n * sizeof *item))) {
            *out = s->state_slot[at] - 1;
            return 0;
        }
    }
    if (s->states == STATES_MAX || s->items + n > ITEMS_MAX) return -ENOSPC;
    if (!(more = array_grow(s->state, sizeof *more, &s->state_room, s->states + 1))) return -ENOMEM;
    s->state = more;
    if (!(items = array_grow(s->item, sizeof *items, &s->item_room, s->items + n + 1))) return -ENOMEM;
    s->item = items;
    if (n) memcpy(s->item + s->items, item, n * sizeof *item);
    s->state[s->states++] = (struct state){(uint32_t)s->items, (uint32_t)n, end, NULL};
    s->items += n;
    s->state_slot[at] = (uint32_t)s->states;
    *out = (uint32_t)s->states - 1;
    return 0;
}

/* ---- the search: places reached without a byte ---- */

static void push(struct grammar_states *s, uint32_t **list, size_t *count, size_t *room, uint32_t x)
{
    uint32_t *more = array_grow(*list, sizeof *more, room, *count + 1);

    if (!more) {
        failed(s, ENOMEM);
        return;
    }
    *list = more;
    more[(*count)++] = x;
}

static void reach(struct grammar_states *s, uint32_t node, uint32_t count, uint32_t parent)
{
    uint32_t depth = parent == GRAMMAR_NONE ? 0 : s->place[parent].depth + 1;

    if (s->rc || s->g->node[node].height + depth > GRAMMAR_DEPTH_MAX) return; /* no room to come to the end */
    uint32_t p = intern_place(s, (struct place){.node = node, .count = count, .parent = parent});
    if (s->rc || s->place[p].seen == s->search) return;
    s->place[p].seen = s->search;
    push(s, &s->todo, &s->todos, &s->todo_room, p);
}

static void reach_call(struct grammar_states *s, const struct grammar_node *n, const struct place *p)
{
    uint32_t frame = p->parent;

    /* a call that is the last thing needs no frame of its own */
    if (s->g->node[n->next].op != GRAMMAR_RETURN)
        frame = intern_place(s, (struct place){.node = n->next, .count = p->count, .parent = p->parent});
    if (!s->rc) reach(s, s->g->rule[n->a], 0, frame);
}

static void reach_loop(struct grammar_states *s, const struct grammar_node *n, const struct place *p)
{
    const struct grammar_loop *l = &s->g->loop[n->b];
    uint32_t most = l->most == GRAMMAR_ENDLESS ? l->least : l->most; /* further rounds need not be told apart */

    if (l->most == GRAMMAR_ENDLESS || p->count < l->most)
        reach(s, n->a, p->count < most ? p->count + 1 : most, p->parent);
    if (p->count >= l->least) reach(s, n->next, 0, p->parent);
}

static void expand(struct grammar_states *s, uint32_t index)
{
    struct place p = s->place[index];
    const struct grammar_node *n = &s->g->node[p.node];

    if (s->work++ >= WORK_MAX) failed(s, E2BIG);
    switch (n->op) {
    case GRAMMAR_BYTES:
        if (s->finds == SET_MAX)
            failed(s, E2BIG);
        else
            push(s, &s->found, &s->finds, &s->found_room, index);
        break;
    case GRAMMAR_SPLIT:
        for (uint32_t i = 0; i < n->b; i++) reach(s, s->g->edge[n->a + i], p.count, p.parent);
        break;
    case GRAMMAR_CALL: reach_call(s, n, &p); break;
    case GRAMMAR_LOOP: reach_loop(s, n, &p); break;
    case GRAMMAR_RETURN:
        if (p.parent == GRAMMAR_NONE)
            s->end = true;
        else
            reach(s, s->place[p.parent].node, s->place[p.parent].count, s->place[p.parent].parent);
        break;
    }
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void search_begin(struct grammar_states *s)
{
    s->search++;
    s->finds = s->todos = 0;
    s->end = false;
    s->rc = 0;
}

static int search_end(struct grammar_states *s, uint32_t *state)
{
    while (s->todos && !s->rc) expand(s, s->todo[--s->todos]);
    if (s->rc) return s->rc;
    if (s->finds) qsort(s->found, s->finds, sizeof *s->found, by_number);
    return intern_state(s, s->found, s->finds, s->end, state);
}

/* ---- from outside ---- */

static void forget(struct grammar_states *s)
{
    uint32_t dead;

    for (size_t i = 0; i < s->states; i++) free(s->state[i].step);
    if (s->place_slot) memset(s->place_slot, 0, s->place_slots * sizeof *s->place_slot);
    if (s->state_slot) memset(s->state_slot, 0, s->state_slots * sizeof *s->state_slot);
    s->places = s->states = s->items = s->steps = 0;
    s->search = 0;
    (void)intern_state(s, NULL, 0, false, &dead); /* the tables had room before */
}

/* Places of a state and all their frames, sorted: a frame comes before those that it called. */
static size_t places_of(struct grammar_states *s, uint32_t state, uint32_t **list)
{
    const struct state *x = &s->state[state];
    size_t n = 0, room = 0;

    s->search++;
    s->rc = 0;
    for (uint32_t i = 0; i < x->count && !s->rc; i++)
        for (uint32_t p = s->item[x->first + i]; p != GRAMMAR_NONE && s->place[p].seen != s->search && !s->rc;
             p = s->place[p].parent) {
            s->place[p].seen = s->search;
            push(s, list, &n, &room, p);
        }
    if (n) qsort(*list, n, sizeof **list, by_number);
    return n;
}

static uint32_t new_number(const uint32_t *list, const uint32_t *number, size_t n, uint32_t old)
{
    const uint32_t *at = old == GRAMMAR_NONE ? NULL : bsearch(&old, list, n, sizeof *list, by_number);

    return at ? number[at - list] : GRAMMAR_NONE;
}

int grammar_states_keep(struct grammar_states *s, uint32_t *state, struct error *e)
{
    uint32_t *list = NULL, *number, *item;
    struct place *place;
    struct state x = s->state[*state];
    size_t n = places_of(s, *state, &list);

    number = malloc((n + 1) * sizeof *number);
    item = malloc((x.count + 1) * sizeof *item);
    place = malloc((n + 1) * sizeof *place);
    if (!number || !item || !place) failed(s, ENOMEM);
    for (size_t i = 0; i < n && !s->rc; i++) place[i] = s->place[list[i]];
    for (uint32_t i = 0; i < x.count && !s->rc; i++) item[i] = s->item[x.first + i];
    forget(s);
    for (size_t i = 0; i < n && !s->rc; i++) {
        place[i].parent = new_number(list, number, i, place[i].parent);
        number[i] = intern_place(s, place[i]);
    }
    for (uint32_t i = 0; i < x.count && !s->rc; i++) item[i] = new_number(list, number, n, item[i]);
    *state = GRAMMAR_DEAD;
    if (!s->rc && x.count) qsort(item, x.count, sizeof *item, by_number);
    if (!s->rc) s->rc = intern_state(s, item, x.count, x.end, state);
    free(list);
    free(number);
    free(item);
    free(place);
    return grammar_step_error(s->rc, e);
}

int grammar_states_open(struct grammar_states **out, const struct grammar *g, struct error *e)
{
    struct grammar_states *s = calloc(1, sizeof *s);
    uint32_t dead;

    if (s) s->g = g;
    if (!s || intern_state(s, NULL, 0, false, &dead)) {
        grammar_states_close(s);
        return error_set(e, ENOMEM, "out of memory");
    }
    *out = s;
    return 0;
}

void grammar_states_close(struct grammar_states *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->states; i++) free(s->state[i].step);
    free(s->place);
    free(s->state);
    free(s->item);
    free(s->found);
    free(s->todo);
    free(s->place_slot);
    free(s->state_slot);
    free(s);
}

size_t grammar_states_bytes(const struct grammar_states *s)
{
    return s->place_room * sizeof *s->place + s->state_room * sizeof *s->state +
           (s->item_room + s->found_room + s->todo_room + s->place_slots + s->state_slots + 256 * s->steps) *
               sizeof(uint32_t);
}

int grammar_step_error(int rc, struct error *e)
{
    if (rc == -ENOSPC) return error_set(e, ENOSPC, "the table of states is full");
    if (rc == -E2BIG) /* places or work */
        return error_set(e, E2BIG,
                         "the schema leaves too many ways open at once: make its alternatives differ in what comes "
                         "first");
    return rc ? error_set(e, -rc, "out of memory") : 0;
}

void grammar_begin_work(struct grammar_states *s)
{
    s->work = 0;
}

int grammar_start(struct grammar_states *s, uint32_t *state, struct error *e)
{
    s->work = 0;
    search_begin(s);
    reach(s, s->g->start, 0, GRAMMAR_NONE);
    return grammar_step_error(search_end(s, state), e);
}

static uint32_t compute_step(struct grammar_states *s, uint32_t state, uint8_t byte, int *rc)
{
    const struct state from = s->state[state];
    uint32_t to;

    search_begin(s);
    s->work += from.count;
    for (uint32_t i = 0; i < from.count; i++) {
        struct place p = s->place[s->item[from.first + i]];
        const struct grammar_node *n = &s->g->node[p.node];

        if (grammar_set_has(&s->g->set[n->a], byte)) reach(s, n->next, p.count, p.parent);
    }
    *rc = search_end(s, &to);
    return *rc ? GRAMMAR_DEAD : to;
}

const uint32_t *grammar_known_steps(struct grammar_states *s, uint32_t state)
{
    if (s->state[state].step) return s->state[state].step;
    s->state[state].step = calloc(256, sizeof(uint32_t));
    s->steps += s->state[state].step != NULL;
    return s->state[state].step;
}

uint32_t grammar_step(struct grammar_states *s, uint32_t state, uint8_t byte, int *rc)
{
    uint32_t to;

    if (s->state[state].step && s->state[state].step[byte]) return s->state[state].step[byte] - 1;
    if (state == GRAMMAR_DEAD) return GRAMMAR_DEAD;
    if (!grammar_known_steps(s, state)) {
        *rc = -ENOMEM;
        return GRAMMAR_DEAD;
    }
    to = compute_step(s, state, byte, rc);
    if (!*rc) s->state[state].step[byte] = to + 1;
    return to;
}

int grammar_advance(struct grammar_states *s, uint32_t *state, const char *bytes, size_t n, struct error *e)
{
    int rc = 0;

    s->work = 0;
    for (size_t i = 0; i < n && *state != GRAMMAR_DEAD && !rc; i++)
        *state = grammar_step(s, *state, (uint8_t)bytes[i], &rc);
    return grammar_step_error(rc, e);
}

bool grammar_may_end(const struct grammar_states *s, uint32_t state)
{
    return s->state[state].end;
}

bool grammar_complete(const struct grammar_states *s, uint32_t state)
{
    return s->state[state].end && !s->state[state].count;
}
