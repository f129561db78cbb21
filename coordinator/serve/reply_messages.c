/* Anthropic's /v1/messages: an answer is a list of blocks, of a stream each begun, grown and ended by events. */
#include <string.h>

#include "coordinator/serve/choice.h"
#include "coordinator/serve/job.h"
#include "coordinator/serve/out.h"
#include "coordinator/serve/reply.h"

static void event(struct buffer *b, const char *name)
{
    out_format(b, "event: %s\ndata: {\"type\":\"%s\"", name, name);
}

static void end_event(struct buffer *b)
{
    buffer_append_text(b, "}\n\n");
}

static void usage(struct buffer *b, const struct job *j, uint64_t said)
{
    out_format(b,
               "\"usage\":{\"input_tokens\":%llu,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%llu,"
               "\"cache_creation\":null,\"output_tokens\":%llu,\"output_tokens_details\":{\"thinking_tokens\":%llu},"
               "\"server_tool_use\":null,\"service_tier\":\"standard\",\"inference_geo\":null}",
               (unsigned long long)(j->prompt_tokens - j->cached_tokens), (unsigned long long)j->cached_tokens,
               (unsigned long long)said, (unsigned long long)j->thought_tokens);
}

static void head(struct buffer *b, const struct job *j)
{
    out_format(b, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", j->id);
    out_string(b, j->ask->model, strlen(j->ask->model));
    buffer_append_text(b, ",\"container\":null,\"stop_details\":null");
}

static void stop_reason(struct buffer *b, const struct choice *c)
{
    const char *met = c->completion ? completion_met(c->completion) : NULL;
    const char *why = c->calls                       ? "tool_use"
                      : !strcmp(c->finish, "length") ? "max_tokens"
                      : met                          ? "stop_sequence"
                                                     : "end_turn";

    out_format(b, "\"stop_reason\":\"%s\",\"stop_sequence\":", why);
    if (met && !c->calls)
        out_string(b, met, strlen(met));
    else
        buffer_append_text(b, "null");
}

/* ---- events ---- */

static void open_message(struct choice *c, struct buffer *b)
{
    if (c->opened) return;
    c->opened = true;
    event(b, "message_start");
    buffer_append_text(b, ",\"message\":");
    head(b, c->job);
    buffer_append_text(b, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,");
    usage(b, c->job, 1);
    buffer_append_byte(b, '}');
    end_event(b);
}

static void close_part(struct choice *c, struct buffer *b)
{
    if (c->part == PART_NONE) return;
    event(b, "content_block_stop");
    out_format(b, ",\"index\":%u", c->parts++);
    end_event(b);
    c->part = PART_NONE;
}

static void open_part(struct choice *c, struct buffer *b, bool thinking)
{
    open_message(c, b);
    if (c->part == (thinking ? PART_THOUGHT : PART_TEXT)) return;
    close_part(c, b);
    event(b, "content_block_start");
    out_format(b, ",\"index\":%u,\"content_block\":%s", c->parts,
               thinking ? "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"
                        : "{\"type\":\"text\",\"text\":\"\",\"citations\":null}");
    end_event(b);
    c->part = thinking ? PART_THOUGHT : PART_TEXT;
}

static void say_piece(struct choice *c, bool thinking, const char *text, size_t bytes)
{
    struct buffer b = {0};

    open_part(c, &b, thinking);
    event(&b, "content_block_delta");
    out_format(&b, ",\"index\":%u,\"delta\":{\"type\":\"%s\",\"%s\":", c->parts,
               thinking ? "thinking_delta" : "text_delta", thinking ? "thinking" : "text");
    out_string(&b, text, bytes);
    buffer_append_byte(&b, '}');
    end_event(&b);
    reply_say(c->job, &b);
}

static void write_call(struct buffer *b, const struct choice_call *x, const char *input)
{
    buffer_append_text(b, "{\"type\":\"tool_use\",\"id\":");
    out_string(b, x->id, strlen(x->id));
    buffer_append_text(b, ",\"name\":");
    out_string(b, x->name, strlen(x->name));
    out_format(b, ",\"input\":");
    buffer_append_text(b, input);
    buffer_append_byte(b, '}');
}

static void say_call(struct choice *c, uint32_t call)
{
    const struct choice_call *x = &c->call[call];
    struct buffer b = {0};

    open_message(c, &b);
    close_part(c, &b);
    event(&b, "content_block_start");
    out_format(&b, ",\"index\":%u,\"content_block\":", c->parts);
    write_call(&b, x, "{}");
    end_event(&b);
    event(&b, "content_block_delta");
    out_format(&b, ",\"index\":%u,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":", c->parts);
    out_string(&b, x->arguments, strlen(x->arguments));
    buffer_append_byte(&b, '}');
    end_event(&b);
    c->part = PART_TEXT; /* to be closed like one */
    close_part(c, &b);
    reply_say(c->job, &b);
}

static void say_finish(struct choice *c)
{
    struct buffer b = {0};

    if (!c->parts && c->part == PART_NONE) open_part(c, &b, false);
    close_part(c, &b);
    event(&b, "message_delta");
    buffer_append_text(&b, ",\"delta\":{");
    stop_reason(&b, c);
    buffer_append_text(&b, "},");
    usage(&b, c->job, c->made);
    end_event(&b);
    reply_say(c->job, &b);
}

static void say_end(struct job *j)
{
    struct buffer b = {0};

    event(&b, "message_stop");
    end_event(&b);
    reply_say(j, &b);
}

static void say_fault(struct job *j, struct buffer *b, const struct fault *f)
{
    struct fault typed = *f;

    (void)j;
    typed.typed = true;
    buffer_append_text(b, "event: error\ndata: ");
    fault_write(b, &typed);
    buffer_append_text(b, "\n\n");
}

/* ---- whole ---- */

static void whole(struct job *j, struct buffer *b)
{
    struct choice *c = &j->choice[0];
    bool any = false;

    head(b, j);
    buffer_append_text(b, ",\"content\":[");
    if (c->thought.bytes) {
        buffer_append_text(b, "{\"type\":\"thinking\",\"thinking\":");
        out_string(b, c->thought.data, c->thought.bytes);
        buffer_append_text(b, ",\"signature\":\"\"}");
        any = true;
    }
    if (c->text.bytes || !c->calls) {
        buffer_append_text(b, any ? ",{\"type\":\"text\",\"text\":" : "{\"type\":\"text\",\"text\":");
        out_string(b, c->text.data ? c->text.data : "", c->text.bytes);
        buffer_append_text(b, ",\"citations\":null}");
        any = true;
    }
    for (uint32_t i = 0; i < c->calls; i++, any = true) {
        if (any) buffer_append_byte(b, ',');
        write_call(b, &c->call[i], c->call[i].arguments);
    }
    buffer_append_text(b, "],");
    stop_reason(b, c);
    buffer_append_byte(b, ',');
    usage(b, j, j->tokens);
    buffer_append_byte(b, '}');
}

const struct reply_style reply_messages = {
    .piece = say_piece, .call = say_call, .finish = say_finish, .end = say_end, .whole = whole, .fault = say_fault};
