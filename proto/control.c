#include "proto/control.h"

#include <errno.h>
#include <fcntl.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#define DESCRIPTORS 24 /* for a socket, its threads and its peers, and a few beside them */

struct control {
    void *context, *socket;
    bool router;
    int wake; /* an eventfd */
    pid_t peer;
    struct control_scratch scratch;
};

/* ---- encoding ---- */

static void pack_text(msgpack_packer *p, const char *s)
{
    size_t n = strlen(s);

    msgpack_pack_str(p, n);
    msgpack_pack_str_body(p, s, n);
}

static void pack_bytes(msgpack_packer *p, const void *data, size_t n)
{
    msgpack_pack_bin(p, n);
    msgpack_pack_bin_body(p, data, n);
}

static void pack_head(msgpack_packer *p, const struct control_message *m, size_t fields)
{
    msgpack_pack_array(p, fields + 1);
    msgpack_pack_uint32(p, (uint32_t)m->type);
}

static int pack_message(msgpack_packer *p, const struct control_message *m)
{
    switch (m->type) {
    case CONTROL_HELLO:
        pack_head(p, m, 4);
        msgpack_pack_uint32(p, m->hello.version);
        msgpack_pack_uint32(p, m->hello.stage);
        msgpack_pack_uint64(p, m->hello.pid);
        pack_text(p, m->hello.build);
        return 0;
    case CONTROL_SETUP:
        pack_head(p, m, 6);
        msgpack_pack_int32(p, m->setup.plan);
        msgpack_pack_int32(p, m->setup.run);
        msgpack_pack_int32(p, m->setup.arena);
        msgpack_pack_int32(p, m->setup.logits);
        msgpack_pack_int32(p, m->setup.cache);
        msgpack_pack_int32(p, m->setup.link);
        return 0;
    case CONTROL_EXPORT:
        pack_head(p, m, 3);
        msgpack_pack_uint32(p, m->export.to);
        msgpack_pack_uint32(p, m->export.kind);
        pack_bytes(p, m->export.data, m->export.bytes);
        return 0;
    case CONTROL_ATTACHED:
        pack_head(p, m, 1);
        pack_text(p, m->attached.text);
        return 0;
    case CONTROL_SWEEP:
        pack_head(p, m, 4);
        msgpack_pack_uint64(p, m->sweep.sweep);
        msgpack_pack_uint64(p, m->sweep.first_row);
        msgpack_pack_uint32(p, m->sweep.rows);
        pack_bytes(p, m->sweep.position, m->sweep.count * sizeof *m->sweep.position);
        return 0;
    case CONTROL_DONE:
        pack_head(p, m, 2);
        msgpack_pack_uint64(p, m->done.sweep);
        msgpack_pack_uint32(p, m->done.logits);
        return 0;
    case CONTROL_TRACE:
        pack_head(p, m, 1);
        pack_bytes(p, m->trace.record, m->trace.count * sizeof *m->trace.record);
        return 0;
    case CONTROL_ERROR:
        pack_head(p, m, 2);
        msgpack_pack_uint32(p, m->error.code);
        pack_text(p, m->error.text);
        return 0;
    case CONTROL_STOP: pack_head(p, m, 0); return 0;
    case CONTROL_MEASURE:
        pack_head(p, m, 4);
        msgpack_pack_uint32(p, m->measure.what);
        msgpack_pack_uint32(p, m->measure.depth);
        msgpack_pack_uint64(p, m->measure.block_bytes);
        msgpack_pack_uint64(p, m->measure.limit_ns);
        return 0;
    case CONTROL_MEASURED:
        pack_head(p, m, 3);
        msgpack_pack_uint64(p, m->measured.bytes);
        msgpack_pack_uint64(p, m->measured.ns);
        msgpack_pack_uint64(p, m->measured.cpu_ns);
        return 0;
    case CONTROL_COMPARE:
        pack_head(p, m, 1);
        msgpack_pack_uint32(p, m->compare.file);
        return 0;
    case CONTROL_COMPARED:
        pack_head(p, m, 3);
        msgpack_pack_uint32(p, m->compared.file);
        msgpack_pack_uint32(p, m->compared.code);
        pack_text(p, m->compared.text);
        return 0;
    }
    return -EINVAL;
}

int control_encode(const struct control_message *m, void **out, size_t *bytes, struct error *e)
{
    msgpack_sbuffer buffer;
    msgpack_packer packer;

    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    if (pack_message(&packer, m)) {
        msgpack_sbuffer_destroy(&buffer);
        return error_set(e, EINVAL, "control: no message of type %d", (int)m->type);
    }
    *bytes = buffer.size;
    *out = msgpack_sbuffer_release(&buffer);
    return *out ? 0 : error_set(e, ENOMEM, "control: out of memory");
}

/* ---- decoding ---- */

#define FIELDS_MAX 8u

static uint64_t big_endian(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    while (n--) v = v << 8 | *p++;
    return v;
}

/* Bytes of the number, text or bytes that begin here; 0: something else, or more than there is. */
static size_t plain_bytes(const uint8_t *p, size_t left)
{
    uint64_t n = 0;
    size_t length = 0;

    if (*p < 0x80 || *p >= 0xe0) return 1; /* small integers */
    if (*p >= 0xcc && *p <= 0xd3)
        n = 1u + (1u << (*p - 0xcc) % 4); /* integers of 1, 2, 4, 8 bytes */
    else if (*p >= 0xa0 && *p < 0xc0)
        n = 1u + (*p & 31u); /* short text */
    else if (*p >= 0xd9 && *p <= 0xdb)
        length = (size_t)1 << (*p - 0xd9);
    else if (*p >= 0xc4 && *p <= 0xc6)
        length = (size_t)1 << (*p - 0xc4);
    else
        return 0;
    if (length) {
        if (left < 1 + length) return 0;
        n = 1 + length + big_endian(p + 1, length);
    }
    return n <= left ? (size_t)n : 0;
}

/* An array of a few fields, none of which is an array or a map, and nothing behind it: msgpack may then unpack it, which
 * would believe an array's length before it sees its elements, and take memory for them. */
static bool plain_message(const uint8_t *p, size_t bytes)
{
    uint32_t fields;

    if (!bytes || *p < 0x91 || *p >= 0x90 + FIELDS_MAX) return false;
    fields = *p++ - 0x90u;
    bytes--;
    while (fields--) {
        size_t n = bytes ? plain_bytes(p, bytes) : 0;

        if (!n) return false;
        p += n;
        bytes -= n;
    }
    return !bytes;
}

/* A cursor over the array; the first thing that does not fit is remembered. */

struct fields {
    const msgpack_object *at;
    uint32_t left;
    bool bad;
};

static const msgpack_object *field(struct fields *f, msgpack_object_type type)
{
    if (f->bad || !f->left || f->at->type != type) {
        f->bad = true;
        return NULL;
    }
    f->left--;
    return f->at++;
}

static uint64_t get_u64(struct fields *f)
{
    const msgpack_object *o = field(f, MSGPACK_OBJECT_POSITIVE_INTEGER);

    return o ? o->via.u64 : 0;
}

static uint32_t get_u32(struct fields *f)
{
    uint64_t v = get_u64(f);

    if (v > UINT32_MAX) f->bad = true;
    return (uint32_t)v;
}

static int32_t get_fd(struct fields *f)
{
    if (f->left && f->at->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        f->left--;
        f->at++;
        return -1;
    }
    uint64_t v = get_u64(f);
    if (v > INT32_MAX) f->bad = true;
    return (int32_t)v;
}

static void get_text(struct fields *f, char *to, size_t room)
{
    const msgpack_object *o = field(f, MSGPACK_OBJECT_STR);

    if (!o || !o->via.str.size) return; /* the fields are zeroed */
    if (o->via.str.size >= room || memchr(o->via.str.ptr, 0, o->via.str.size)) {
        f->bad = true;
        return;
    }
    memcpy(to, o->via.str.ptr, o->via.str.size);
    to[o->via.str.size] = 0;
}

/* Copies n elements of size bytes each into the scratch, aligned for any of the records. */
static const void *get_records(struct fields *f, struct control_scratch *s, size_t size, size_t most, uint32_t *count)
{
    const msgpack_object *o = field(f, MSGPACK_OBJECT_BIN);
    size_t n;

    *count = 0;
    if (!o) return NULL;
    n = o->via.bin.size;
    if (n % size || n / size > most) {
        f->bad = true;
        return NULL;
    }
    if (n > s->bytes) {
        void *more = realloc(s->data, n);
        if (!more) {
            f->bad = true;
            return NULL;
        }
        s->data = more;
        s->bytes = n;
    }
    if (n) memcpy(s->data, o->via.bin.ptr, n);
    *count = (uint32_t)(n / size);
    return s->data;
}

static void unpack_message(struct control_message *m, struct fields *f, struct control_scratch *s)
{
    switch (m->type) {
    case CONTROL_HELLO:
        m->hello.version = get_u32(f);
        m->hello.stage = get_u32(f);
        m->hello.pid = get_u64(f);
        get_text(f, m->hello.build, sizeof m->hello.build);
        return;
    case CONTROL_SETUP:
        m->setup.plan = get_fd(f);
        m->setup.run = get_fd(f);
        m->setup.arena = get_fd(f);
        m->setup.logits = get_fd(f);
        m->setup.cache = get_fd(f);
        m->setup.link = get_fd(f);
        return;
    case CONTROL_EXPORT:
        m->export.to = get_u32(f);
        m->export.kind = get_u32(f);
        m->export.data = get_records(f, s, 1, CONTROL_BLOB_MAX, &m->export.bytes);
        if (m->export.to >= STAGES) f->bad = true;
        return;
    case CONTROL_ATTACHED: get_text(f, m->attached.text, sizeof m->attached.text); return;
    case CONTROL_SWEEP:
        m->sweep.sweep = get_u64(f);
        m->sweep.first_row = get_u64(f);
        m->sweep.rows = get_u32(f);
        m->sweep.position = get_records(f, s, sizeof *m->sweep.position, 1u << 24, &m->sweep.count);
        return;
    case CONTROL_DONE:
        m->done.sweep = get_u64(f);
        m->done.logits = get_u32(f);
        return;
    case CONTROL_TRACE:
        m->trace.record = get_records(f, s, sizeof *m->trace.record, CONTROL_TRACE_MAX, &m->trace.count);
        return;
    case CONTROL_ERROR:
        m->error.code = get_u32(f);
        get_text(f, m->error.text, sizeof m->error.text);
        return;
    case CONTROL_STOP: return;
    case CONTROL_MEASURE:
        m->measure.what = get_u32(f);
        m->measure.depth = get_u32(f);
        m->measure.block_bytes = get_u64(f);
        m->measure.limit_ns = get_u64(f);
        return;
    case CONTROL_MEASURED:
        m->measured.bytes = get_u64(f);
        m->measured.ns = get_u64(f);
        m->measured.cpu_ns = get_u64(f);
        return;
    case CONTROL_COMPARE: m->compare.file = get_u32(f); return;
    case CONTROL_COMPARED:
        m->compared.file = get_u32(f);
        m->compared.code = get_u32(f);
        get_text(f, m->compared.text, sizeof m->compared.text);
        return;
    }
    f->bad = true;
}

int control_decode(struct control_message *m, const void *data, size_t bytes, struct control_scratch *s,
                   struct error *e)
{
    msgpack_unpacked u;
    struct fields f = {0};
    size_t at = 0;
    int rc = 0;

    memset(m, 0, sizeof *m);
    msgpack_unpacked_init(&u);
    if (!plain_message(data, bytes) || msgpack_unpack_next(&u, data, bytes, &at) != MSGPACK_UNPACK_SUCCESS ||
        at != bytes || u.data.type != MSGPACK_OBJECT_ARRAY || !u.data.via.array.size) {
        rc = error_set(e, EPROTO, "control: %zu bytes that are no message", bytes);
    } else {
        f = (struct fields){u.data.via.array.ptr, u.data.via.array.size, false};
        m->type = (enum control_type)get_u32(&f);
        if (!f.bad) unpack_message(m, &f, s);
        if (f.bad || f.left) rc = error_set(e, EPROTO, "control: message of type %d is malformed", (int)m->type);
    }
    msgpack_unpacked_destroy(&u);
    return rc;
}

/* ---- sockets ---- */

/* ZeroMQ aborts the process when it finds no descriptor in some places, so there must be enough before it is asked. */
static bool descriptors_left(int n)
{
    int fd[DESCRIPTORS], have = 0;

    while (have < n && (fd[have] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) >= 0) have++;
    for (int i = 0; i < have; i++) close(fd[i]);
    return have == n;
}

static int check_descriptors(struct error *e)
{
    struct rlimit l;

    if (descriptors_left(DESCRIPTORS)) return 0;
    if (!getrlimit(RLIMIT_NOFILE, &l) && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        if (!setrlimit(RLIMIT_NOFILE, &l) && descriptors_left(DESCRIPTORS)) return 0;
    }
    return error_set(e, EMFILE,
                     "too few file descriptors are left for this process; raise the limit (ulimit -n, %llu now)",
                     (unsigned long long)l.rlim_cur);
}

/* Nor does it take a refusal of an eventfd: so ours is made first. */
static int open_wake(int *fd, struct error *e)
{
    *fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (*fd >= 0) return 0;
    return error_set(
        e, errno,
        "eventfd cannot be had, and ZeroMQ needs it: %s; the container or its filter of system calls (seccomp) "
        "forbids it: allow it there",
        error_name(errno));
}

static int open_socket(struct control **out, int type, struct error *e)
{
    struct control *c;
    int zero = 0, most = 64 << 20, wake = -1, code = check_descriptors(e);
    int64_t limit = most;

    if (!code) code = open_wake(&wake, e);
    if (code) return code;
    c = calloc(1, sizeof *c);
    if (!c) {
        close(wake);
        return error_set(e, ENOMEM, "control: out of memory");
    }
    c->wake = wake;
    c->router = type == ZMQ_ROUTER;
    c->context = zmq_ctx_new();
    c->socket = c->context ? zmq_socket(c->context, type) : NULL;
    if (!c->socket) {
        int rc = error_set(e, errno, "control: cannot make a ZeroMQ socket: %s", zmq_strerror(errno));
        control_close(c);
        return rc;
    }
    zmq_setsockopt(c->socket, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(c->socket, ZMQ_SNDHWM, &zero, sizeof zero);
    zmq_setsockopt(c->socket, ZMQ_RCVHWM, &zero, sizeof zero);
    zmq_setsockopt(c->socket, ZMQ_MAXMSGSIZE, &limit, sizeof limit);
    *out = c;
    return 0;
}

int control_bind(struct control **out, const char *address, struct error *e)
{
    int rc = open_socket(out, ZMQ_ROUTER, e);

    if (rc) return rc;
#ifdef ZMQ_IPC_FILTER_UID
    uid_t uid = geteuid(); /* the address is abstract: its only guard is who may speak */
    zmq_setsockopt((*out)->socket, ZMQ_IPC_FILTER_UID, &uid, sizeof uid);
#endif
    if (zmq_bind((*out)->socket, address)) {
        rc = error_set(e, errno, "control: cannot bind %s: %s", address, zmq_strerror(errno));
        control_close(*out);
        *out = NULL;
    }
    return rc;
}

int control_connect(struct control **out, const char *address, enum stage_id me, struct error *e)
{
    int rc = open_socket(out, ZMQ_DEALER, e), linger = 500;
    const char *name = stage_name(me);

    if (rc) return rc;
    zmq_setsockopt((*out)->socket, ZMQ_LINGER, &linger, sizeof linger); /* last words go out */
    zmq_setsockopt((*out)->socket, ZMQ_ROUTING_ID, name, strlen(name));
    if (zmq_connect((*out)->socket, address)) {
        rc = error_set(e, errno, "control: cannot connect to %s: %s", address, zmq_strerror(errno));
        control_close(*out);
        *out = NULL;
    }
    return rc;
}

void control_close(struct control *c)
{
    if (!c) return;
    if (c->socket) zmq_close(c->socket);
    if (c->context) zmq_ctx_term(c->context);
    close(c->wake);
    free(c->scratch.data);
    free(c);
}

int control_fd(const struct control *c)
{
    int fd = -1;
    size_t n = sizeof fd;

    zmq_getsockopt(c->socket, ZMQ_FD, &fd, &n);
    return fd;
}

int control_send(struct control *c, enum stage_id to, const struct control_message *m, struct error *e)
{
    void *data;
    size_t n;
    int rc = control_encode(m, &data, &n, e);
    const char *name = stage_name(to);

    if (rc) return rc;
    if ((c->router && zmq_send(c->socket, name, strlen(name), ZMQ_SNDMORE) < 0) || zmq_send(c->socket, data, n, 0) < 0)
        rc = error_set(e, errno, "control: cannot send to %s: %s", c->router ? name : "the coordinator",
                       zmq_strerror(errno));
    free(data);
    return rc;
}

static int sender(const char *name, size_t n)
{
    for (int i = 0; i < STAGES; i++)
        if (n == strlen(stage_name(i)) && !memcmp(name, stage_name(i), n)) return i;
    return -1;
}

/* Reads all frames of one message; the last one is kept in *frame. Frames that should not be there make it malformed. */
static int receive_frames(struct control *c, char *name, size_t *name_bytes, zmq_msg_t *frame, struct error *e)
{
    int frames = 0, more = 1;
    size_t n = sizeof more;

    *name_bytes = 0;
    while (more) {
        if (frames++) {
            if (frames == 2 && c->router) {
                *name_bytes = zmq_msg_size(frame);
                if (*name_bytes > 16) *name_bytes = 16;
                memcpy(name, zmq_msg_data(frame), *name_bytes);
            }
            zmq_msg_close(frame);
            zmq_msg_init(frame);
        }
        if (zmq_msg_recv(frame, c->socket, 0) < 0) return error_set(e, errno, "control: %s", zmq_strerror(errno));
        zmq_getsockopt(c->socket, ZMQ_RCVMORE, &more, &n);
    }
    return frames == (c->router ? 2 : 1) ? 0 : error_set(e, EPROTO, "control: a message of %d frames", frames);
}

/* ":UID:GID:PID" as the kernel says it of the other end of a connection, behind an address. */
static pid_t peer_of(zmq_msg_t *frame)
{
    const char *address = zmq_msg_gets(frame, "Peer-Address"), *last = address ? strrchr(address, ':') : NULL;

    return last ? (pid_t)strtol(last + 1, NULL, 10) : 0;
}

void control_wake(struct control *c)
{
    eventfd_write(c->wake, 1);
}

pid_t control_peer(const struct control *c)
{
    return c->peer;
}

int control_receive(struct control *c, enum stage_id *from, struct control_message *m, int timeout_ms, struct error *e)
{
    zmq_pollitem_t item[2] = {{.socket = c->socket, .events = ZMQ_POLLIN}, {.fd = c->wake, .events = ZMQ_POLLIN}};
    zmq_msg_t frame;
    char name[16];
    size_t name_bytes;
    int rc = zmq_poll(item, 2, timeout_ms), who = 0;

    if (rc < 0) return errno == EINTR ? -EAGAIN : error_set(e, errno, "control: %s", zmq_strerror(errno));
    if (item[1].revents) eventfd_read(c->wake, &(eventfd_t){0});
    if (!item[0].revents) return -EAGAIN;
    zmq_msg_init(&frame);
    rc = receive_frames(c, name, &name_bytes, &frame, e);
    c->peer = peer_of(&frame);
    if (!rc && c->router && (who = sender(name, name_bytes)) < 0)
        rc = error_set(e, EPROTO, "control: an unknown sender");
    if (!rc) rc = control_decode(m, zmq_msg_data(&frame), zmq_msg_size(&frame), &c->scratch, e);
    zmq_msg_close(&frame);
    if (from) *from = (enum stage_id)who;
    return rc;
}
