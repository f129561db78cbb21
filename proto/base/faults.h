/* Faults on purpose, for tests: what --fault says. Only a build with SLUICE_FAULTS (make build/faults) takes the flag; no
 * other one links this file.
 *
 *   SPEC = ITEM[,ITEM...]     ITEM = KIND[@N][xTIMES][=VALUE]
 *
 *   eio@N       reads that cover byte N of a file fail with EIO           (the reader)
 *   hang@N      reads that cover byte N never end                         (the reader)
 *   flip@N      the lowest bit of byte N is wrong, whenever it is read    (the reader)
 *   eagain=P    a read fails with EAGAIN, with a probability of P         (the reader)
 *   short=N     a read brings N bytes at most                             (the reader)
 *   patience=S  a disk that does not answer is given up after S seconds   (the reader)
 *   lost@N      the device is lost when sweep N begins, from 0            (compute)
 *   once        all of this in the first epoch only
 *
 * xTIMES: so often, then no more; without it, always. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"

enum fault_kind {
    FAULT_EIO,
    FAULT_HANG,
    FAULT_FLIP,
    FAULT_EAGAIN,
    FAULT_SHORT,
    FAULT_PATIENCE,
    FAULT_LOST,
    FAULT_ONCE,
    FAULT_KINDS
};

struct fault {
    enum fault_kind kind;
    uint64_t at, times; /* times: that are left */
    double value;
};

#define FAULTS_MAX 16
struct faults {
    struct fault fault[FAULTS_MAX];
    uint32_t count;
};

/* NULL is no faults. epoch: from 1. -EINVAL and what is wrong with the spec. */
int faults_parse(struct faults *f, const char *spec, uint64_t epoch, struct error *e);
/* The fault of that kind that meets bytes [from, to), one less of it is left; NULL: none does. */
const struct fault *faults_meet(struct faults *f, enum fault_kind kind, uint64_t from, uint64_t to);
/* Its value; otherwise where the spec has none. */
double faults_value(const struct faults *f, enum fault_kind kind, double otherwise);
