/* OpenAI's /v1/responses: an answer is a list of items, of a stream each begun, grown and ended by numbered events. */
#include <string.h>
#include <time.h>

#include "coordinator/serve/choice.h"
#include "coordinator/serve/job.h"
#include "coordinator/serve/out.h"
#include "coordinator/serve/reply.h"

static void event(struct buffer *b, struct job *j, const char *name)
{
    out_format(b, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u", name, name, j->events++);
}

static void end_event(struct buffer *b)
{
    buffer_append_text(b, "}\n\n");
}

/* A part of the request that is repeated, or what stands where it said nothing. */
static void repeat(struct buffer *b, const struct job *j, const char *key, const char *fallback)
{
    json_t *v = json_object_get(j->ask->frame, key);
    char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    out_format(b, ",\"%s\":", key);
    buffer_append_text(b, text ? text : fallback);
    free(text);
}

/* ---- items ---- */

static void write_thought(struct buffer *b, const struct choice *c, uint32_t index, const char *status)
{
    out_format(b, "{\"type\":\"reasoning\",\"id\":\"rs_%s_%u\",\"summary\":[],\"status\":\"%s\",\"content\":[",
               c->job->id, index, status);
    if (!strcmp(status, "completed")) {
        buffer_append_text(b, "{\"type\":\"reasoning_text\",\"text\":");
        out_string(b, c->thought.data ? c->thought.data : "", c->thought.bytes);
        buffer_append_byte(b, '}');
    }
    buffer_append_text(b, "]}");
}

static void write_part(struct buffer *b, const char *text, size_t bytes)
{
    buffer_append_text(b, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":");
    out_string(b, text, bytes);
    buffer_append_byte(b, '}');
}

static void write_message(struct buffer *b, const struct choice *c, uint32_t index, const char *status)
{
    out_format(b, "{\"type\":\"message\",\"id\":\"msg_%s_%u\",\"role\":\"assistant\",\"status\":\"%s\",\"content\":[",
               c->job->id, index, status);
    if (strcmp(status, "in_progress")) write_part(b, c->text.data ? c->text.data : "", c->text.bytes);
    buffer_append_text(b, "]}");
}

static void write_call(struct buffer *b, const struct choice_call *x, const char *arguments, const char *status)
{
    out_format(b, "{\"type\":\"function_call\",\"id\":\"fc_%s\",\"call_id\":\"%s\",\"status\":\"%s\",\"name\":", x->id,
               x->id, status);
    out_string(b, x->name, strlen(x->name));
    buffer_append_text(b, ",\"arguments\":");
    out_string(b, arguments, strlen(arguments));
    buffer_append_byte(b, '}');
}

static void write_output(struct buffer *b, const struct choice *c)
{
    const char *status = !strcmp(c->finish, "length") ? "incomplete" : "completed";
    uint32_t n = 0;

    if (c->thought.bytes) write_thought(b, c, n++, "completed");
    if (c->text.bytes || !c->calls) {
        if (n) buffer_append_byte(b, ',');
        write_message(b, c, n++, status);
    }
    for (uint32_t i = 0; i < c->calls; i++) {
        if (n++) buffer_append_byte(b, ',');
        write_call(b, &c->call[i], c->call[i].arguments, "completed");
    }
}

/* finish NULL: it is still being said. */
static void write_response(struct buffer *b, struct job *j, const char *finish)
{
    bool cut = finish && !strcmp(finish, "length");

    out_format(b, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",\"model\":", j->id,
               (long long)j->created,
               !finish ? "in_progress"
               : cut   ? "incomplete"
                       : "completed");
    out_string(b, j->ask->model, strlen(j->ask->model));
    if (finish)
        out_format(b, ",\"completed_at\":%lld", (long long)time(NULL));
    else
        buffer_append_text(b, ",\"completed_at\":null");
    out_format(b, ",\"error\":null,\"incomplete_details\":%s,\"output\":[",
               cut ? "{\"reason\":\"max_output_tokens\"}" : "null");
    if (finish) write_output(b, &j->choice[0]);
    buffer_append_byte(b, ']');
    repeat(b, j, "instructions", "null");
    repeat(b, j, "max_output_tokens", "null");
    repeat(b, j, "metadata", "{}");
    repeat(b, j, "parallel_tool_calls", "true");
    repeat(b, j, "reasoning", "{\"effort\":null,\"summary\":null}");
    out_format(b, ",\"temperature\":%.9g,\"top_p\":%.9g", j->ask->sampling.temperature, j->ask->sampling.top_p);
    repeat(b, j, "text", "{\"format\":{\"type\":\"text\"}}");
    repeat(b, j, "tool_choice", "\"auto\"");
    repeat(b, j, "tools", "[]");
    repeat(b, j, "truncation", "\"disabled\"");
    repeat(b, j, "user", "null");
    repeat(b, j, "prompt_cache_key", "null");
    repeat(b, j, "safety_identifier", "null");
    out_format(b, ",\"presence_penalty\":%.9g,\"frequency_penalty\":%.9g,\"top_logprobs\":0,\"max_tool_calls\":null",
               j->ask->presence, j->ask->frequency);
    buffer_append_text(b, ",\"service_tier\":\"default\"");
    buffer_append_text(b, ",\"previous_response_id\":null,\"store\":false,\"background\":false,\"usage\":");
    if (finish)
        out_format(b,
                   "{\"input_tokens\":%llu,\"input_tokens_details\":{\"cached_tokens\":%llu},\"output_tokens\":%llu,"
                   "\"output_tokens_details\":{\"reasoning_tokens\":%llu},\"total_tokens\":%llu}",
                   (unsigned long long)j->prompt_tokens, (unsigned long long)j->cached_tokens,
                   (unsigned long long)j->tokens, (unsigned long long)j->thought_tokens,
                   (unsigned long long)(j->prompt_tokens + j->tokens));
    else
        buffer_append_text(b, "null");
    buffer_append_byte(b, '}');
}

/* ---- events ---- */

static void open_response(struct choice *c, struct buffer *b)
{
    static const char *const names[] = {"response.created", "response.in_progress"};

    if (c->opened) return;
    c->opened = true;
    for (int i = 0; i < 2; i++) {
        event(b, c->job, names[i]);
        buffer_append_text(b, ",\"response\":");
        write_response(b, c->job, NULL);
        end_event(b);
    }
}

static void place(struct buffer *b, const struct choice *c, const char *kind)
{
    out_format(b, ",\"item_id\":\"%s_%s_%u\",\"output_index\":%u", kind, c->job->id, c->parts, c->parts);
}

static void close_text(struct choice *c, struct buffer *b, const char *status)
{
    const char *text = c->text.data ? c->text.data : "";

    event(b, c->job, "response.output_text.done");
    place(b, c, "msg");
    buffer_append_text(b, ",\"content_index\":0,\"logprobs\":[],\"text\":");
    out_string(b, text, c->text.bytes);
    end_event(b);
    event(b, c->job, "response.content_part.done");
    place(b, c, "msg");
    buffer_append_text(b, ",\"content_index\":0,\"part\":");
    write_part(b, text, c->text.bytes);
    end_event(b);
    event(b, c->job, "response.output_item.done");
    out_format(b, ",\"output_index\":%u,\"item\":", c->parts);
    write_message(b, c, c->parts, status);
    end_event(b);
}

static void close_thought(struct choice *c, struct buffer *b)
{
    event(b, c->job, "response.reasoning_text.done");
    place(b, c, "rs");
    buffer_append_text(b, ",\"content_index\":0,\"text\":");
    out_string(b, c->thought.data ? c->thought.data : "", c->thought.bytes);
    end_event(b);
    event(b, c->job, "response.output_item.done");
    out_format(b, ",\"output_index\":%u,\"item\":", c->parts);
    write_thought(b, c, c->parts, "completed");
    end_event(b);
}

static void close_part(struct choice *c, struct buffer *b)
{
    if (c->part == PART_TEXT) close_text(c, b, c->finish && !strcmp(c->finish, "length") ? "incomplete" : "completed");
    if (c->part == PART_THOUGHT) close_thought(c, b);
    if (c->part != PART_NONE) c->parts++;
    c->part = PART_NONE;
}

static void open_part(struct choice *c, struct buffer *b, bool thinking)
{
    open_response(c, b);
    if (c->part == (thinking ? PART_THOUGHT : PART_TEXT)) return;
    close_part(c, b);
    c->part = thinking ? PART_THOUGHT : PART_TEXT;
    event(b, c->job, "response.output_item.added");
    out_format(b, ",\"output_index\":%u,\"item\":", c->parts);
    if (thinking)
        write_thought(b, c, c->parts, "in_progress");
    else
        write_message(b, c, c->parts, "in_progress");
    end_event(b);
    if (thinking) return;
    event(b, c->job, "response.content_part.added");
    place(b, c, "msg");
    buffer_append_text(b, ",\"content_index\":0,\"part\":");
    write_part(b, "", 0);
    end_event(b);
}

static void say_piece(struct choice *c, bool thinking, const char *text, size_t bytes)
{
    struct buffer b = {0};

    open_part(c, &b, thinking);
    event(&b, c->job, thinking ? "response.reasoning_text.delta" : "response.output_text.delta");
    place(&b, c, thinking ? "rs" : "msg");
    out_format(&b, ",\"content_index\":0,%s\"delta\":", thinking ? "" : "\"logprobs\":[],");
    out_string(&b, text, bytes);
    end_event(&b);
    reply_say(c->job, &b);
}

static void say_call(struct choice *c, uint32_t call)
{
    const struct choice_call *x = &c->call[call];
    struct buffer b = {0};

    open_response(c, &b);
    close_part(c, &b);
    event(&b, c->job, "response.output_item.added");
    out_format(&b, ",\"output_index\":%u,\"item\":", c->parts);
    write_call(&b, x, "", "in_progress");
    end_event(&b);
    for (int done = 0; done < 2; done++) {
        event(&b, c->job, done ? "response.function_call_arguments.done" : "response.function_call_arguments.delta");
        out_format(&b, ",\"item_id\":\"fc_%s\",\"output_index\":%u,\"%s\":", x->id, c->parts,
                   done ? "arguments" : "delta");
        out_string(&b, x->arguments, strlen(x->arguments));
        end_event(&b);
    }
    event(&b, c->job, "response.output_item.done");
    out_format(&b, ",\"output_index\":%u,\"item\":", c->parts++);
    write_call(&b, x, x->arguments, "completed");
    end_event(&b);
    reply_say(c->job, &b);
}

static void say_finish(struct choice *c)
{
    struct buffer b = {0};

    if (!c->parts && c->part == PART_NONE) open_part(c, &b, false);
    close_part(c, &b);
    reply_say(c->job, &b);
}

static void say_end(struct job *j)
{
    const char *finish = j->choice[0].finish;
    struct buffer b = {0};

    event(&b, j, strcmp(finish, "length") ? "response.completed" : "response.incomplete");
    buffer_append_text(&b, ",\"response\":");
    write_response(&b, j, finish);
    end_event(&b);
    reply_say(j, &b);
}

static void say_fault(struct job *j, struct buffer *b, const struct fault *f)
{
    event(b, j, "error");
    out_format(b, ",\"code\":\"%s\",\"param\":null,\"message\":", f->code ? f->code : "server_error");
    out_string(b, f->text, strlen(f->text));
    end_event(b);
}

static void whole(struct job *j, struct buffer *b)
{
    write_response(b, j, j->choice[0].finish);
}

const struct reply_style reply_responses = {
    .piece = say_piece, .call = say_call, .finish = say_finish, .end = say_end, .whole = whole, .fault = say_fault};
