#include "proto/frames.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_LEAST 65536u

struct frame_out {
    struct frame_out *next;
    size_t bytes, sent;
    int pass[2];
    uint8_t data[];
};

int frames_open(struct frames *f, int fd, struct error *e)
{
    *f = (struct frames){.fd = fd, .last = &f->first, .passed = {-1, -1}};
    if (fcntl(fd, F_SETFL, O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC))
        return error_set(e, errno, "a socket cannot be set up: %s", error_name(errno));
    return 0;
}

static void let_go(int pass[2])
{
    for (int i = 0; i < 2; i++) {
        if (pass[i] >= 0) close(pass[i]);
        pass[i] = -1;
    }
}

static void drop_first(struct frames *f)
{
    struct frame_out *o = f->first;

    f->first = o->next;
    if (!f->first) f->last = &f->first;
    f->waiting -= o->bytes - o->sent;
    let_go(o->pass);
    free(o);
}

void frames_close(struct frames *f)
{
    while (f->first) drop_first(f);
    let_go(f->passed);
    free(f->in);
    if (f->fd >= 0) close(f->fd);
    *f = (struct frames){.fd = -1, .passed = {-1, -1}, .closed = true};
    f->last = &f->first;
}

static ssize_t send_some(const struct frames *f, const struct frame_out *o)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } c = {.room = {0}};
    struct iovec v = {.iov_base = (void *)(o->data + o->sent), .iov_len = o->bytes - o->sent};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

    if (o->pass[0] >= 0 && !o->sent) {
        m.msg_control = c.room;
        m.msg_controllen = sizeof c.room;
        c.head =
            (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(2 * sizeof(int))};
        memcpy(CMSG_DATA(&c.head), o->pass, 2 * sizeof(int));
    }
    return sendmsg(f->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void frames_flush(struct frames *f)
{
    while (f->first && !f->closed) {
        ssize_t n = send_some(f, f->first);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            if (errno != EAGAIN) f->closed = true;
            return;
        }
        f->first->sent += (size_t)n;
        f->waiting -= (size_t)n;
        if (f->first->sent == f->first->bytes) drop_first(f);
    }
}

int frames_send(struct frames *f, enum frame_type type, uint32_t rank, const void *data, uint64_t bytes,
                const int *pass)
{
    struct frame h = {.magic = FRAME_MAGIC, .type = type, .rank = rank, .bytes = bytes};
    struct frame_out *o;

    if (bytes > FRAME_MOST) return -E2BIG;
    if (f->closed) return 0;
    o = malloc(sizeof *o + sizeof h + bytes);
    if (!o) return -ENOMEM;
    *o = (struct frame_out){.bytes = sizeof h + bytes, .pass = {-1, -1}};
    for (int i = 0; pass && i < 2; i++) o->pass[i] = fcntl(pass[i], F_DUPFD_CLOEXEC, 3);
    memcpy(o->data, &h, sizeof h);
    if (bytes) memcpy(o->data + sizeof h, data, bytes);
    *f->last = o;
    f->last = &o->next;
    f->waiting += o->bytes;
    frames_flush(f);
    return 0;
}

static void take_passed(struct frames *f, struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        int fd[2];

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof fd)) continue;
        memcpy(fd, CMSG_DATA(c), sizeof fd);
        let_go(f->passed);
        memcpy(f->passed, fd, sizeof fd);
    }
}

/* What the socket has, up to the room; false: nothing. */
static bool read_some(struct frames *f)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } c;
    struct iovec v = {.iov_base = f->in + f->have, .iov_len = f->room - f->have};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.room, .msg_controllen = sizeof c.room};
    ssize_t n;

    while ((n = recvmsg(f->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
    }
    if (n > 0) {
        take_passed(f, &m);
        f->have += (size_t)n;
        return true;
    }
    if (!n || errno != EAGAIN) f->closed = true;
    return false;
}

static bool make_room(struct frames *f, size_t bytes)
{
    uint8_t *more;

    if (f->room >= bytes) return true;
    more = realloc(f->in, bytes);
    if (!more) return false;
    f->in = more;
    f->room = bytes;
    return true;
}

/* The frame at the front, once it is there; its buffer begins with it. */
static int look(const struct frames *f, size_t *want)
{
    struct frame h;

    *want = READ_LEAST;
    if (f->have < sizeof h) return 0;
    memcpy(&h, f->in, sizeof h);
    if (h.magic != FRAME_MAGIC || h.type < FRAME_SEGMENTS || h.type > FRAME_STOP || h.bytes > FRAME_MOST)
        return -EPROTO;
    if (sizeof h + h.bytes > *want) *want = sizeof h + h.bytes;
    return f->have >= sizeof h + h.bytes;
}

const struct frame *frames_next(struct frames *f, int *rc)
{
    size_t want;
    int there;

    *rc = 0;
    if (f->fd < 0) return NULL;
    frames_flush(f);
    if (f->taken) {
        f->have -= f->taken;
        memmove(f->in, f->in + f->taken, f->have);
        f->taken = 0;
    }
    while (!(there = look(f, &want))) {
        if (!make_room(f, want)) {
            *rc = -ENOMEM;
            return NULL;
        }
        if (f->closed || !read_some(f)) return NULL;
    }
    if (there < 0) {
        *rc = there;
        return NULL;
    }
    f->taken = sizeof(struct frame) + ((struct frame *)(void *)f->in)->bytes;
    return (const struct frame *)(const void *)f->in;
}
