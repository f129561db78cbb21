/* What a stage gives up once it is attached: everything is open, mapped and started by then, so that whoever should come to
 * run code of his own in it finds memory, its ring and the one socket that it has.
 *
 *   all           no new privileges, ever (prctl PR_SET_NO_NEW_PRIVS)
 *   CONFINE_READ  memory, threads, waiting, sockets that are there; reads of files that are open. No open, no socket, no
 *                 program, no process, no executable memory
 *   CONFINE_WORK  the same without the reads: transfer and compute on the processor
 *   CONFINE_DEVICE what a GPU's driver surely does not do: programs, tracing, listening, modules, mounts
 *
 * A system call that is not among them fails with EPERM, and the kernel's audit log tells of it where it is set to. The
 * filter is written by hand as a list of numbers: it is one screen long, and spares three small programs a library.
 *
 * io_uring could open files and sockets where a filter does not see it: the reader restricts its ring to reads of registered
 * files first (engine.h: seal). */
#pragma once
#include "proto/base/error.h"

enum sandbox { CONFINE_READ, CONFINE_WORK, CONFINE_DEVICE };

struct sock_filter;
/* The filter's instructions, as the kernel is given them, to out, which has room for so many: how many there are, -E2BIG, or
 * -ENOTSUP on an architecture without a list. Tests look up in it what becomes of each call. */
int sandbox_filter(enum sandbox what, struct sock_filter *out, unsigned room);
#define SANDBOX_FILTER_MOST 256u

/* For every thread of the process, for good. -errno with what could not be had: a kernel or a container that takes no
 * filters, -ENOTSUP in a build with sanitizers, which need more; then this thread alone gives up new privileges. */
int sandbox(enum sandbox what, struct error *e);
