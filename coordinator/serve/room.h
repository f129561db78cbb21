/* Memory for requests: how much of a server's budget is theirs, and the account that keeps them within it.
 *
 *   budget --room_share()--> connections: each has a thread, buffers and sockets
 *                            the account: bodies, what is read out of them, prompts that wait, answers that are not sent yet
 *                            answers that are kept for chats that go on
 *
 * What is held of a request is taken from the account before it is there, or right after it has grown. Where the account is
 * used up, finished streams that are only kept for being read again give way first; then requests are refused. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connection: its thread's stack and the kernel's, buffers for headers and for what is sent, both of the socket's. */
#define ROOM_CONNECTION_BYTES (UINT64_C(256) << 10)
#define ROOM_SPARE            8u /* connections that are only told that there are too many */
/* Of the budget: a twentieth, within these. */
#define ROOM_SHARE 20u
#define ROOM_LEAST (UINT64_C(16) << 20)
#define ROOM_MOST  (UINT64_C(384) << 20)

struct room_share {
    uint32_t connections;
    uint64_t account, answers; /* bytes */
};

/* What so many bytes, ROOM_LEAST at least, are for. */
struct room_share room_share(uint64_t bytes);

struct room; /* NULL stands for one without an end */

/* reclaim: gives something back if it can; called without any lock of the room. */
struct room *room_open(size_t most, bool (*reclaim)(void *arg), void *arg); /* NULL: no memory */
void room_close(struct room *r);
size_t room_most(const struct room *r); /* SIZE_MAX: there is no end */
size_t room_used(struct room *r);

/* Waits so long for others to give back; false: nothing was taken. */
bool room_take(struct room *r, size_t bytes, unsigned ms);
void room_give(struct room *r, size_t bytes);
/* *held becomes want: at once, or not at all. Less is always possible. */
bool room_hold(struct room *r, size_t *held, size_t want);
