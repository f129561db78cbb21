#include "coordinator/serve/reply.h"

#include "coordinator/serve/choice.h"
#include "coordinator/serve/job.h"

static const struct reply_style *style(const struct job *j)
{
    switch (j->ask->api) {
    case ASK_MESSAGES: return &reply_messages;
    case ASK_RESPONSES: return &reply_responses;
    default: return &reply_openai;
    }
}

void reply_say(struct job *j, struct buffer *b)
{
    if (b->failed)
        j->out.failed = true;
    else
        job_say(j, b->data, b->bytes);
    buffer_free(b);
}

void reply_piece(struct choice *c, bool thinking, const char *text, size_t bytes)
{
    style(c->job)->piece(c, thinking, text, bytes);
}

void reply_call(struct choice *c, uint32_t call)
{
    style(c->job)->call(c, call);
}

void reply_finish(struct choice *c)
{
    style(c->job)->finish(c);
}

void reply_progress(struct job *j)
{
    if (style(j)->progress) style(j)->progress(j);
}

void reply_end(struct job *j)
{
    struct buffer b = {0};

    if (j->ask->stream) {
        style(j)->end(j);
    } else {
        style(j)->whole(j, &b);
        reply_say(j, &b);
    }
    job_done(j);
}

void reply_fault(struct job *j, struct buffer *b, const struct fault *f)
{
    style(j)->fault(j, b, f);
}
