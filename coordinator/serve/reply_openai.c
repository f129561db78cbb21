#include "coordinator/serve/reply.h"

#include "coordinator/serve/choice.h"
#include "coordinator/serve/job.h"
#include "coordinator/serve/out.h"
#include "proto/base/clock.h"

static bool chat(const struct job *j)
{
    return j->ask->api == ASK_CHAT;
}

static void head(struct buffer *b, const struct job *j)
{
    out_format(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", j->id,
               chat(j) ? (j->ask->stream ? "chat.completion.chunk" : "chat.completion") : "text_completion",
               (long long)j->created);
    out_string(b, j->ask->model, strlen(j->ask->model));
    buffer_append_text(b, ",\"system_fingerprint\":\"sluice-" SLUICE_VERSION "\"");
}

static void logprobs(struct buffer *b, struct choice *c)
{
    buffer_append_text(b, ",\"logprobs\":");
    if (c->job->ask->logprobs >= 0 && c->logprobs.sent < c->logprobs.count)
        logprobs_write(b, &c->logprobs, c->job->facts, chat(c->job));
    else
        buffer_append_text(b, "null");
}

static void finish_reason(struct buffer *b, const char *finish)
{
    if (finish)
        out_format(b, ",\"finish_reason\":\"%s\"}", finish);
    else
        buffer_append_text(b, ",\"finish_reason\":null}");
}

static void usage(struct buffer *b, const struct job *j)
{
    out_format(b,
               ",\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%llu},"
               "\"completion_tokens_details\":{\"reasoning_tokens\":%llu}}",
               (unsigned long long)j->prompt_tokens, (unsigned long long)j->tokens,
               (unsigned long long)(j->prompt_tokens + j->tokens), (unsigned long long)j->cached_tokens,
               (unsigned long long)j->thought_tokens);
}

/* ---- events ---- */

static void send(struct job *j, struct buffer *b)
{
    buffer_append_text(b, "\n\n");
    reply_say(j, b);
}

static void begin(struct buffer *b, const struct job *j)
{
    buffer_append_text(b, "data: ");
    head(b, j);
}

/* The end of an event with choices: where the usage is told in the end, it is null until then. */
static void end(struct buffer *b, const struct job *j)
{
    buffer_append_text(b, j->ask->usage ? ",\"usage\":null}" : "}");
}

/* delta: JSON of an object's inside. */
static void send_delta(struct choice *c, const char *delta, size_t bytes, const char *finish)
{
    struct buffer b = {0};

    begin(&b, c->job);
    out_format(&b, ",\"choices\":[{\"index\":%u,\"delta\":{", c->index);
    buffer_append(&b, delta, bytes);
    buffer_append_byte(&b, '}');
    logprobs(&b, c);
    finish_reason(&b, finish);
    buffer_append_byte(&b, ']');
    end(&b, c->job);
    send(c->job, &b);
}

static void open_choice(struct choice *c)
{
    static const char role[] = "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null";
    uint32_t sent = c->logprobs.sent;

    if (c->opened || !chat(c->job)) return;
    c->opened = true;
    c->logprobs.sent = c->logprobs.count; /* they go with the text */
    send_delta(c, role, sizeof role - 1, NULL);
    c->logprobs.sent = sent;
}

static void send_text(struct choice *c, const char *text, size_t bytes, const char *finish)
{
    struct buffer b = {0};

    begin(&b, c->job);
    out_format(&b, ",\"choices\":[{\"index\":%u,\"text\":", c->index);
    out_string(&b, text, bytes);
    logprobs(&b, c);
    finish_reason(&b, finish);
    buffer_append_byte(&b, ']');
    end(&b, c->job);
    send(c->job, &b);
}

static void say_piece(struct choice *c, bool thinking, const char *text, size_t bytes)
{
    struct buffer delta = {0};

    if (!chat(c->job)) {
        send_text(c, text, bytes, NULL);
        return;
    }
    open_choice(c);
    buffer_append_text(&delta, thinking ? "\"reasoning_content\":" : "\"content\":");
    out_string(&delta, text, bytes);
    if (delta.failed)
        c->job->out.failed = true;
    else
        send_delta(c, delta.data, delta.bytes, NULL);
    buffer_free(&delta);
}

static void write_call(struct buffer *b, const struct choice_call *x)
{
    buffer_append_text(b, "\"id\":");
    out_string(b, x->id, strlen(x->id));
    buffer_append_text(b, ",\"type\":\"function\",\"function\":{\"name\":");
    out_string(b, x->name, strlen(x->name));
    buffer_append_text(b, ",\"arguments\":");
    out_string(b, x->arguments, strlen(x->arguments));
    buffer_append_byte(b, '}');
}

static void say_call(struct choice *c, uint32_t call)
{
    struct buffer delta = {0};

    open_choice(c);
    out_format(&delta, "\"tool_calls\":[{\"index\":%u,", call);
    write_call(&delta, &c->call[call]);
    buffer_append_text(&delta, "}]");
    if (delta.failed)
        c->job->out.failed = true;
    else
        send_delta(c, delta.data, delta.bytes, NULL);
    buffer_free(&delta);
}

static void say_finish(struct choice *c)
{
    if (!chat(c->job)) {
        send_text(c, "", 0, c->finish);
        return;
    }
    open_choice(c);
    /* tokens without text of their own */
    if (c->logprobs.sent < c->logprobs.count) send_delta(c, "\"content\":\"\"", 12, NULL);
    send_delta(c, "", 0, c->finish);
}

static void say_progress(struct job *j)
{
    struct buffer b = {0};

    begin(&b, j);
    buffer_append_text(&b, ",\"choices\":[]");
    out_format(&b, ",\"prompt_progress\":{\"total\":%u,\"cache\":%llu,\"processed\":%u,\"time_ms\":%llu}",
               atomic_load(&j->prompt_total), (unsigned long long)j->cached_tokens, atomic_load(&j->prompt_done),
               (unsigned long long)((clock_ns() - j->began_ns) / 1000000));
    end(&b, j);
    send(j, &b);
}

static void end_stream(struct job *j)
{
    static const char done[] = "data: [DONE]\n\n";
    struct buffer b = {0};

    if (j->ask->usage) {
        begin(&b, j);
        buffer_append_text(&b, ",\"choices\":[]");
        usage(&b, j);
        buffer_append_byte(&b, '}');
        send(j, &b);
    }
    job_say(j, done, sizeof done - 1);
}

/* ---- whole ---- */

static void whole_choice(struct buffer *b, struct choice *c)
{
    const char *text = c->text.data ? c->text.data : "";

    out_format(b, "{\"index\":%u,", c->index);
    if (chat(c->job)) {
        buffer_append_text(b, "\"message\":{\"role\":\"assistant\",\"content\":");
        if (c->calls && !c->text.bytes)
            buffer_append_text(b, "null");
        else
            out_string(b, text, c->text.bytes);
        for (uint32_t i = 0; i < c->calls; i++) {
            buffer_append_text(b, i ? ",{" : ",\"tool_calls\":[{");
            write_call(b, &c->call[i]);
            buffer_append_text(b, i + 1 == c->calls ? "}]" : "}");
        }
        if (c->thought.bytes) {
            buffer_append_text(b, ",\"reasoning_content\":");
            out_string(b, c->thought.data, c->thought.bytes);
        }
        buffer_append_text(b, ",\"refusal\":null,\"annotations\":[]}");
    } else {
        buffer_append_text(b, "\"text\":");
        out_string(b, text, c->text.bytes);
    }
    logprobs(b, c);
    finish_reason(b, c->finish);
}

static void whole(struct job *j, struct buffer *b)
{
    head(b, j);
    buffer_append_text(b, ",\"choices\":[");
    for (uint32_t i = 0; i < j->choices; i++) {
        if (i) buffer_append_byte(b, ',');
        whole_choice(b, &j->choice[i]);
    }
    buffer_append_byte(b, ']');
    usage(b, j);
    buffer_append_byte(b, '}');
}

static void say_fault(struct job *j, struct buffer *b, const struct fault *f)
{
    (void)j;
    buffer_append_text(b, "data: ");
    fault_write(b, f);
    buffer_append_text(b, "\n\n");
}

const struct reply_style reply_openai = {.piece = say_piece,
                                         .call = say_call,
                                         .finish = say_finish,
                                         .progress = say_progress,
                                         .end = end_stream,
                                         .whole = whole,
                                         .fault = say_fault};
