/* A JSON schema to a grammar, and a walk without aim through it: refused by name, or states that stay within bounds, and a text
 * that may end is JSON. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/states.h"
#include "coordinator/text/json.h"
#include "coordinator/text/json_cursor.h"
#include "tests/fuzz/fuzz.h"

#define STEPS 400

/* A byte that may come next, the first in an order that turns; 0: none may. */
static uint8_t next(struct grammar_states *s, uint32_t *state, uint32_t turn, struct error *e)
{
    static const char likely[] = "\"}],:{[a10-. tnfue\\9\xc3\xa9";

    for (uint32_t i = 0; i < 256 + sizeof likely; i++) {
        uint8_t byte = i < sizeof likely ? (uint8_t)likely[(i + turn) % sizeof likely] : (uint8_t)(i + turn);
        uint32_t to = *state;

        if (grammar_advance(s, &to, (const char *)&byte, 1, e)) {
            if (e->code != ENOSPC) return 0;
            if (grammar_states_keep(s, state, e)) fuzz_fail("a state that was there is not kept");
            i--;
        } else if (to != GRAMMAR_DEAD && byte) {
            *state = to;
            return byte;
        }
    }
    return 0;
}

static void walk(const struct grammar *g, uint32_t turn)
{
    struct grammar_states *s;
    struct error e = {0};
    struct json_fault f;
    char text[STEPS + 1];
    uint32_t state;
    size_t n = 0;

    if (grammar_states_open(&s, g, &e)) fuzz_fail(e.text);
    if (!grammar_start(s, &state, &e)) {
        if (state == GRAMMAR_DEAD) fuzz_fail("a grammar that nothing satisfies was made");
        for (; n < STEPS && !grammar_complete(s, state); n++) {
            text[n] = (char)next(s, &state, turn = turn * 1103515245u + 12345u, &e);
            if (!text[n]) break;
            if (grammar_may_end(s, state) && !json_check(text, n + 1, true, &f)) fuzz_fail("what may end is no JSON");
        }
        if (n < STEPS && !grammar_complete(s, state) && e.code != E2BIG) fuzz_fail("a way that leads nowhere");
    }
    if (grammar_states_bytes(s) > (size_t)64 << 20) fuzz_fail("the states take too much memory");
    grammar_states_close(s);
}

static void run(const uint8_t *data, size_t bytes)
{
    struct grammar *g;
    struct error e = {0};
    json_t *schema;

    if (bytes < 2 || json_read_text(&schema, (const char *)data + 1, bytes - 1, "schema", JSON_READ_ANY, &e)) return;
    if (!grammar_open_schema(&g, schema, "schema", &e)) {
        walk(g, *data);
        grammar_close(g);
    } else if (e.code != EINVAL || strncmp(e.text, "schema", 6)) {
        if (strncmp(e.text, "...", 3)) fuzz_fail("an error that does not say where");
    }
    json_decref(schema);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const texts[] = {
        "0{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":-3,\"exclusiveMaximum\":900},"
        "\"b\":{"
        "\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":5}},\"required\":[\"b\"],"
        "\"additionalProperties\":{"
        "\"type\":\"number\"}}",
        "1{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"anyOf\":[{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
        "t\"},\"minItems\":1,\"maxItems\":3},{\"enum\":[1,\"two\",null,{\"three\":[3.5]}]}]}}}",
        "2{\"type\":\"string\",\"pattern\":\"^(ab|[^a-f\\u00e9]{2,4}|\\\\d+\\\\.?)*x$\"}",
        "3{\"allOf\":[{\"$ref\":\"#/definitions/"
        "a\"},{\"required\":[\"y\"]}],\"definitions\":{\"a\":{\"properties\":{\"x\":"
        "{\"const\":true},\"y\":{\"format\":\"date-time\"}}}}}",
        "4{\"type\":\"array\",\"prefixItems\":[{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":1},{}],"
        "\"items\":"
        "false}",
        "5{\"items\":{\"properties\":{\"next\":{\"$ref\":\"#\"}}},\"oneOf\":[{\"minItems\":2},{\"maxItems\":1000000000}"
        "]}",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) emit(arg, texts[i], strlen(texts[i]));
}

const struct fuzz_target fuzz_schema = {"schema", run, seeds, 1};
