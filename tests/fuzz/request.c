/* Bodies of requests: a byte that says which kind, then the body. What is taken is within its bounds; what is not is refused
 * with a status of the client's fault and in words. The last kind is headers: Host, Origin and keys. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/ask.h"
#include "coordinator/serve/body.h"
#include "coordinator/serve/forms.h"
#include "coordinator/serve/http_checks.h"
#include "coordinator/source/template.h"
#include "tests/fuzz/fuzz.h"

#define MODEL "tests/data/demo-model"

static struct facts facts;
static const uint32_t ends[] = {5};

static bool ready(void)
{
    struct error e;

    if (facts.tokenizer) return true;
    facts = (struct facts){.vocab = 768,
                           .context = 1024,
                           .parallel = 4,
                           .max_tokens = 64,
                           .eos = ends,
                           .ends = 1,
                           .sampling = {.temperature = 1, .top_p = 1, .repeat_penalty = 1}};
    strcpy(facts.name, "demo-model");
    if (template_open(&facts.template, MODEL, NULL, &e)) return false;
    if (tokenizer_open((struct tokenizer **)&facts.tokenizer, MODEL, &e)) return false;
    facts.spoken_count = think_setup(&facts.think, facts.tokenizer, facts.spoken);
    facts.tools_form = TOOLS_HERMES;
    return !forms_open(&facts.forms, facts.tokenizer, facts.vocab, &e);
}

static void check(const struct ask *a)
{
    if (a->n < 1 || a->n > 128 || !a->prompts || a->stops > 16 || a->logprobs > ASK_LOGPROBS_MAX)
        fuzz_fail("a number out of its bounds");
    if (!(a->sampling.temperature >= 0 && a->sampling.temperature <= 5) || !(a->sampling.top_p > 0))
        fuzz_fail("sampling out of its bounds");
    for (size_t i = 0; i < a->biases; i++)
        if (a->bias[i].token >= facts.vocab) fuzz_fail("a bias outside of the vocabulary");
    for (uint32_t i = 0; i < a->prompts; i++) {
        if (!a->prompt[i].count || a->prompt[i].count > facts.context) fuzz_fail("a prompt of no length, or too long");
        for (size_t k = 0; k < a->prompt[i].count; k++)
            if (a->prompt[i].id[k] >= facts.vocab) fuzz_fail("a token outside of the vocabulary");
    }
}

static void ask(unsigned kind, const char *text, size_t bytes)
{
    static int (*const kinds[])(struct ask **, const struct facts *, const json_t *,
                                struct fault *) = {ask_completion, ask_chat, ask_messages, ask_responses};
    struct fault f = {0};
    struct buffer words = {0};
    struct ask *a = NULL;
    json_t *body = NULL;
    int rc = body_read(&body, text, bytes, &f);

    if (!rc) rc = kinds[kind](&a, &facts, body, &f);
    json_decref(body);
    if (!rc) {
        check(a);
        ask_free(a);
        return;
    }
    if (f.status < 400 || f.status >= 500 || strlen(f.text) < 5) fuzz_fail("a refusal without a status or a reason");
    fault_write(&words, &f);
    body = json_loadb(words.data, words.bytes, 0, NULL);
    if (!body) fuzz_fail("an error that is no JSON");
    json_decref(body);
    buffer_free(&words);
}

static void headers(const char *text, size_t bytes)
{
    char *line = strndup(text, bytes), *key[] = {(char *)"secret", (char *)""};

    if (!line) return;
    if (check_origin_local(line) && !check_origin(line, NULL)) fuzz_fail("an origin that is local and not allowed");
    check_host_local(line, "0.0.0.0");
    check_origin(line, line);
    if (check_key(key, 1, line, line) && !strstr(line, "secret")) fuzz_fail("a key that is none");
    check_method(line, "GET");
    free(line);
}

static void run(const uint8_t *data, size_t bytes)
{
    char *text;

    if (!bytes || !ready()) return;
    text = malloc(bytes); /* of exactly that length: what reads beyond is seen */
    if (!text) return;
    memcpy(text, data + 1, bytes - 1);
    if (data[0] % 5 == 4)
        headers(text, bytes - 1);
    else
        ask(data[0] % 5, text, bytes - 1);
    free(text);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const all[] = {
        "0{\"prompt\":[\"a\",[1,2]],\"max_tokens\":3,\"temperature\":0.5,\"top_p\":0.5,\"top_k\":2,\"min_p\":0.1,"
        "\"seed\":"
        "1,\"n\":2,\"stop\":[\"x\"],\"logprobs\":2,\"echo\":true,\"logit_bias\":{\"5\":-1}}",
        "0{\"prompt\":\"a\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"presence_penalty\":1,"
        "\"frequency_penalty\":-1,\"repeat_penalty\":1.1,\"ignore_eos\":true,\"timeout_s\":5,\"return_progress\":true}",
        "1{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":\"q\"}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"i\",\"type\":"
        "\"function\","
        "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"i\",\"content\":"
        "\"r\"}],\"logprobs\":true,\"top_logprobs\":3,\"reasoning_effort\":\"low\",\"chat_template_kwargs\":{\"a\":1}}",
        "1{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"tools\":[{\"type\":\"function\",\"function\":{"
        "\"name\":"
        "\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}}}],\"tool_choice\":"
        "\"required\"}",
        "1{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"an\"}],"
        "\"continue_final_message\":true,\"response_format\":{\"type\":\"json_object\"}}",
        "2{\"model\":\"demo-model\",\"max_tokens\":5,\"system\":[{\"type\":\"text\",\"text\":\"s\"}],\"messages\":[{"
        "\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"i\",\"content\":\"r\"},{\"type\":"
        "\"text\",\"text\":\"q\"}]},{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"t\"},{"
        "\"type\":\"tool_use\",\"id\":\"i\",\"name\":\"f\",\"input\":{}}]}],\"stop_sequences\":[\"x\"],\"thinking\":{"
        "\"type\":\"disabled\"},\"tools\":[{\"name\":\"f\",\"input_schema\":{}}],\"tool_choice\":{\"type\":\"any\"}}",
        "3{\"input\":[{\"role\":\"user\",\"content\":\"q\"},{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":"
        "\"f\","
        "\"arguments\":\"{}\"},{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"r\"}],"
        "\"instructions\":"
        "\"i\",\"max_output_tokens\":5,\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"schema\":{"
        "\"type\":"
        "\"string\"}}},\"reasoning\":{\"effort\":\"low\"}}",
        "4http://localhost:80",
        "4Bearer secret",
        "4[::1]:80"};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) emit(arg, all[i], strlen(all[i]));
}

const struct fuzz_target fuzz_request = {"request", run, seeds, 1};
