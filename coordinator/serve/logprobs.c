#include "coordinator/serve/logprobs.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "coordinator/tokenizer/token_bytes.h"
#include "proto/base/utf8.h"

/* ---- numbers ---- */

/* log of the sum of exponentials, so that logit minus it is the logarithm of the probability. */
static double log_sum(const float *x, uint32_t n)
{
    float most = x[0];
    double sum = 0;

    for (uint32_t i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
    for (uint32_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)most);
    return (double)most + log(sum);
}

/* The k largest, the lower id first where they are equal. */
static void find_top(struct logprob *top, uint32_t k, const float *x, uint32_t n, double sum)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < n && k; i++) {
        uint32_t at;

        if (kept == k && !(x[i] > top[k - 1].logprob)) continue;
        for (at = kept < k ? kept++ : k - 1; at > 0 && x[i] > top[at - 1].logprob; at--) top[at] = top[at - 1];
        top[at] = (struct logprob){i, x[i]};
    }
    for (uint32_t i = 0; i < kept; i++) top[i].logprob = (float)((double)top[i].logprob - sum);
    for (; kept < k; kept++) top[kept] = (struct logprob){0, NAN};
}

int logprobs_add(struct logprobs *l, const float *logits, uint32_t vocab, uint32_t token, struct error *e)
{
    size_t each = 1 + (size_t)l->top;
    struct logprob *p;
    double sum;

    if (l->count == l->room) {
        uint32_t room = 2 * l->room + 32;
        struct logprob *more = realloc(l->entry, room * each * sizeof *more);

        if (!more) return error_set(e, ENOMEM, "out of memory");
        l->entry = more;
        l->room = room;
    }
    p = l->entry + l->count++ * each;
    for (size_t i = 0; i < each; i++) p[i] = (struct logprob){token, NAN};
    if (!logits) return 0;
    sum = log_sum(logits, vocab);
    p[0].logprob = (float)((double)logits[token] - sum);
    find_top(p + 1, l->top, logits, vocab, sum);
    return 0;
}

void logprobs_free(struct logprobs *l)
{
    free(l->entry);
    *l = (struct logprobs){.top = l->top};
}

/* ---- tokens ---- */

/* Text where the bytes are whole characters; else what a reader of the text sees of them. */
void token_text(const struct facts *x, uint32_t token, struct buffer *text, struct buffer *bytes)
{
    bool incomplete;

    text->bytes = bytes->bytes = 0;
    tokenizer_token_bytes(x->tokenizer, token, bytes);
    for (size_t at = 0; at < bytes->bytes;) {
        size_t n = utf8_valid_bytes(bytes->data + at, bytes->bytes - at);

        buffer_append(text, bytes->data + at, n);
        at += n;
        if (at == bytes->bytes) break;
        buffer_append_text(text, "\xEF\xBF\xBD");
        at += utf8_broken_bytes(bytes->data + at, bytes->bytes - at, &incomplete);
    }
}

/* ---- writing ---- */

static uint64_t characters(const struct buffer *b)
{
    uint64_t n = 0;

    for (size_t i = 0; i < b->bytes; i++) n += (b->data[i] & 0xC0) != 0x80;
    return n;
}

static void write_value(struct buffer *b, float logprob)
{
    if (isnan(logprob))
        buffer_append_text(b, "null");
    else
        out_real(b, logprob);
}

static void write_token(struct buffer *b, const struct facts *x, const struct logprob *p)
{
    struct buffer text = {0}, bytes = {0};

    token_text(x, p->token, &text, &bytes);
    buffer_append_text(b, "{\"token\":");
    out_string(b, text.data ? text.data : "", text.bytes);
    buffer_append_text(b, ",\"logprob\":");
    write_value(b, p->logprob);
    buffer_append_text(b, ",\"bytes\":[");
    for (size_t i = 0; i < bytes.bytes; i++) out_format(b, "%s%u", i ? "," : "", (unsigned char)bytes.data[i]);
    buffer_append_byte(b, ']');
    buffer_free(&text);
    buffer_free(&bytes);
}

static void write_chat(struct buffer *b, struct logprobs *l, const struct facts *x)
{
    size_t each = 1 + (size_t)l->top;

    buffer_append_text(b, "{\"content\":[");
    for (uint32_t i = l->sent; i < l->count; i++) {
        if (i > l->sent) buffer_append_byte(b, ',');
        write_token(b, x, l->entry + i * each);
        buffer_append_text(b, ",\"top_logprobs\":[");
        for (uint32_t k = 1; k < each; k++) {
            if (k > 1) buffer_append_byte(b, ',');
            write_token(b, x, l->entry + i * each + k);
            buffer_append_byte(b, '}');
        }
        buffer_append_text(b, "]}");
    }
    buffer_append_text(b, "],\"refusal\":null}");
}

/* A token as a key or a value: its text, or its bytes where they are none. */
static void write_name(struct buffer *b, const struct facts *x, uint32_t token, uint64_t *count)
{
    struct buffer text = {0}, bytes = {0}, name = {0};
    bool whole;

    token_text(x, token, &text, &bytes);
    whole = utf8_valid_bytes(bytes.data ? bytes.data : "", bytes.bytes) == bytes.bytes;
    if (!whole) {
        buffer_append_text(&name, "bytes:");
        for (size_t i = 0; i < bytes.bytes; i++) out_format(&name, "\\x%02x", (unsigned char)bytes.data[i]);
    }
    if (whole)
        out_string(b, text.data ? text.data : "", text.bytes);
    else
        out_string(b, name.data ? name.data : "", name.bytes);
    if (count) *count += whole ? characters(&text) : 0;
    buffer_free(&text);
    buffer_free(&bytes);
    buffer_free(&name);
}

static void write_legacy(struct buffer *b, struct logprobs *l, const struct facts *x)
{
    struct buffer offsets = {0};
    size_t each = 1 + (size_t)l->top;

    buffer_append_text(b, "{\"tokens\":[");
    for (uint32_t i = l->sent; i < l->count; i++) {
        if (i > l->sent) buffer_append_byte(b, ',');
        out_format(&offsets, "%s%llu", i > l->sent ? "," : "", (unsigned long long)l->offset);
        write_name(b, x, l->entry[i * each].token, &l->offset);
    }
    buffer_append_text(b, "],\"token_logprobs\":[");
    for (uint32_t i = l->sent; i < l->count; i++) {
        if (i > l->sent) buffer_append_byte(b, ',');
        write_value(b, l->entry[i * each].logprob);
    }
    buffer_append_text(b, "],\"top_logprobs\":[");
    for (uint32_t i = l->sent; i < l->count; i++) {
        const struct logprob *p = l->entry + i * each;

        if (i > l->sent) buffer_append_byte(b, ',');
        buffer_append_text(b, isnan(p->logprob) ? "null" : "{");
        for (uint32_t k = 1; k < each && !isnan(p->logprob); k++) {
            if (k > 1) buffer_append_byte(b, ',');
            write_name(b, x, p[k].token, NULL);
            buffer_append_byte(b, ':');
            write_value(b, p[k].logprob);
        }
        if (!isnan(p->logprob)) buffer_append_byte(b, '}');
    }
    buffer_append_text(b, "],\"text_offset\":[");
    buffer_append(b, offsets.data ? offsets.data : "", offsets.bytes);
    buffer_append_text(b, "]}");
    b->failed |= offsets.failed;
    buffer_free(&offsets);
}

void logprobs_write(struct buffer *b, struct logprobs *l, const struct facts *x, bool chat)
{
    if (chat)
        write_chat(b, l, x);
    else
        write_legacy(b, l, x);
    l->sent = l->count;
}
