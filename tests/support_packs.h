/* What tests of packing share. Each fails the test where it cannot. */
#pragma once
#include <stdint.h>
#include "coordinator/pack/pack.h"
#include "tests/support_process.h"

#define PACKS_SECONDS 30

/* Whole files. */
void packs_load(char **bytes, uint64_t *n, const char *path); /* the caller's */
void packs_store(const char *path, const char *bytes, uint64_t n);
void packs_copy(const char *from, const char *to);
void packs_flip(const char *path, uint64_t at); /* a bit of that byte */
void packs_assert_same(const char *a, const char *b);
/* FOLDER/NAME, one of eight static places in turn. */
char *packs_within(const char *folder, const char *name);
/* A scratch folder with the demo model, which may be changed. */
char *packs_demo(void);

/* Two threads, any memory. */
struct pack_options packs_options(const char *out, uint32_t unit_bytes);
int packs_try(const char *folder, const struct pack_options *o, struct pack_result *r, struct error *e);
void packs_make(const char *folder, const char *out, uint32_t unit_bytes);
/* out NULL: into nothing. Of what unpack_folder() says. */
int packs_unpack(const char *folder, const char *out, struct error *e);

/* A run of the program: its exit status; the rest is here until the next one. */
extern struct process_result packs_last;
int packs_sluice(const char *const *arg);
#define SLUICE(...) packs_sluice((const char *const[]){__VA_ARGS__, NULL})
/* It has failed, and its one line says so. */
void packs_assert_told(int status, const char *text);
/* verify has found it, and its one line says that something is wrong. */
void packs_assert_found(int status, const char *text);
