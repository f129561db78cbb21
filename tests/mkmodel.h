/* Synthetic models: safetensors files made from a list of tensors, the same bytes anywhere.
 *
 * A line of the list: file, tensor name, dtype, shape (AxBxC), rule, separated by tabs. Element i (row-major, from 0) of
 * tensor NAME has the random byte u = splitmix64(fnv1a64(NAME) + i) >> 56. Rules:
 *     lin MEAN SCALE  MEAN + SCALE * (2u - 255) / 256, in float32, rounded to nearest even to bfloat16, stored as the dtype
 *     e4m3            the byte (u & 0x80) | (0x20 + (u & 0x1f))
 *     raw LO N        the byte LO + u % N
 *     int8            the byte u
 *     nib LO N        an integer of eight four-bit numbers: number k, at bit 4k, is LO + u % N with u of index 8i + k
 *     perm N P G      (i * P % N) / G
 *     val A B...      the numbers as written
 *     text S          the bytes of S
 *     walk N K        (u + i % K) % N, with u of index i / K: distinct numbers in each row of K
 *     fast SCALE      any dtype of two bytes: pseudo random bfloat16 near SCALE, made at memory speed, for speed tests
 *     sparse          nothing is written: the file has a hole there, which reads as zeros
 * Several files get a model.safetensors.index.json. An empty shape is a scalar. All rules but the last two are those of the reference models. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"

/* Writes the files of the list into the folder out, which exists. */
int mkmodel_from_list(const char *list_path, const char *out, struct error *e);
/* The list itself, as text in memory. */
int mkmodel_from_text(const char *text, const char *out, struct error *e);
/* mkmodel_from_list() of FOLDER/tensors.tsv, and FOLDER/config.json beside it; out is made where it is not there. */
int mkmodel_reference(const char *folder, const char *out, struct error *e);
/* bytes of text into a file of the folder. */
int mkmodel_write_file(const char *out, const char *name, const void *bytes, uint64_t n, struct error *e);
