#include "tests/mkmodel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (UINT64_C(1) << 20) /* elements made at a time */

enum rule {
    RULE_LIN,
    RULE_E4M3,
    RULE_RAW,
    RULE_FAST,
    RULE_SPARSE,
    RULE_INT8,
    RULE_NIB,
    RULE_PERM,
    RULE_VAL,
    RULE_TEXT,
    RULE_WALK
};

struct row {
    char *file, *name, *dtype;
    uint64_t shape[8], elements, offset;
    uint32_t dims, size; /* size: bytes of an element */
    enum rule rule;
    float mean, scale;
    uint32_t lo, n, g;
    const char *text; /* of the last rules, in the list */
};

struct list {
    struct row *rows;
    size_t count, capacity;
};

/* ---- elements ---- */

static uint64_t fnv1a64(const char *s)
{
    uint64_t h = UINT64_C(14695981039346656037);

    while (*s) h = (h ^ (uint8_t)*s++) * UINT64_C(1099511628211);
    return h;
}

static uint64_t splitmix64(uint64_t x)
{
    uint64_t z = x + UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint16_t bf16_bits(float x)
{
    uint32_t b;

    memcpy(&b, &x, 4);
    return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

static float bf16_value(uint16_t h)
{
    uint32_t b = (uint32_t)h << 16;
    float x;

    memcpy(&x, &b, 4);
    return x;
}

/* Nearest-even half of a float, subnormals and overflow included. */
static uint16_t f16_bits(float x)
{
    uint32_t b, sign, mant, half, rest;
    int e;

    memcpy(&b, &x, 4);
    sign = b >> 16 & 0x8000;
    e = (int)(b >> 23 & 255) - 112;
    mant = b & 0x7fffff;
    if (e >= 31) return (uint16_t)(sign | 0x7c00);
    if (e <= 0) {
        if (e < -10) return (uint16_t)sign;
        mant |= 0x800000;
        half = mant >> (14 - e);
        rest = mant & ((1u << (14 - e)) - 1);
        return (uint16_t)(sign | (half + (rest > 1u << (13 - e) || (rest == 1u << (13 - e) && half & 1))));
    }
    half = (uint32_t)e << 10 | mant >> 13;
    rest = mant & 0x1fff;
    return (uint16_t)(sign | (half + (rest > 0x1000 || (rest == 0x1000 && half & 1))));
}

static void put_float(uint8_t *out, const char *dtype, float x)
{
    if (!strcmp(dtype, "F32")) {
        memcpy(out, &x, 4);
    } else {
        uint16_t h = !strcmp(dtype, "F16") ? f16_bits(x) : bf16_bits(x);
        memcpy(out, &h, 2);
    }
}

static uint8_t random_byte(uint64_t seed, uint64_t i)
{
    return (uint8_t)(splitmix64(seed + i) >> 56);
}

static uint64_t integer_of(const struct row *r, uint64_t seed, uint64_t i)
{
    uint64_t word = 0;

    if (r->rule == RULE_PERM) return i * r->n % r->lo / r->g;
    if (r->rule == RULE_WALK) return (random_byte(seed, i / r->n) + i % r->n) % r->lo;
    for (uint32_t k = 0; k < 8; k++) word |= (uint64_t)((r->lo + random_byte(seed, 8 * i + k) % r->n) & 15) << 4 * k;
    return word;
}

static void put_integer(const struct row *r, uint8_t *out, uint64_t x)
{
    memcpy(out, &x, r->size); /* lowest bytes first */
}

/* Numbers and texts as the list writes them. */
static void fill_written(const struct row *r, uint64_t start, uint64_t n, uint8_t *out)
{
    char *at = (char *)(uintptr_t)r->text;

    for (uint64_t i = 0; r->rule == RULE_TEXT && i < n; i++) out[i] = (uint8_t)at[start + i];
    for (uint64_t i = 0; r->rule == RULE_VAL && i < start + n; i++) {
        double x = strtod(at, &at);

        if (i < start) continue;
        if (r->dtype[0] == 'I' || r->dtype[0] == 'U')
            put_integer(r, out + (i - start) * r->size, (uint64_t)(int64_t)x);
        else
            put_float(out + (i - start) * r->size, r->dtype, (float)x);
    }
}

/* Elements [start, start + n) of the tensor. */
static void fill(const struct row *r, uint64_t seed, uint64_t start, uint64_t n, uint8_t *out)
{
    if (r->rule == RULE_FAST) {
        uint64_t bits = splitmix64(seed ^ start);
        uint16_t middle = bf16_bits(r->scale);
        for (uint64_t i = 0; i < n; i++) {
            uint16_t h = (uint16_t)((middle & 0xff80) | (bits & 0x7f) | (bits >> 40 & 1) << 15);
            bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            bits ^= bits >> 29;
            memcpy(out + i * 2, &h, 2);
        }
        return;
    }
    if (r->rule == RULE_VAL || r->rule == RULE_TEXT) {
        fill_written(r, start, n, out);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint8_t u = random_byte(seed, start + i);
        switch (r->rule) {
        case RULE_LIN:
            put_float(out + i * r->size, r->dtype,
                      bf16_value(bf16_bits(r->mean + r->scale * ((2 * (float)u - 255) / 256))));
            break;
        case RULE_E4M3: out[i] = (uint8_t)((u & 0x80) | (0x20 + (u & 0x1f))); break;
        case RULE_INT8: out[i] = u; break;
        case RULE_RAW: out[i] = (uint8_t)(r->lo + u % r->n); break;
        default: put_integer(r, out + i * r->size, integer_of(r, seed, start + i)); break;
        }
    }
}

/* ---- the list ---- */

static uint32_t dtype_size(const char *s)
{
    static const struct {
        const char *name;
        uint32_t size;
    } known[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"U8", 1},  {"F8_E4M3", 1}, {"F8_E8M0", 1},
                 {"I8", 1},  {"I32", 4}, {"I64", 8},  {"U32", 4}, {"F8_E5M2", 1}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, s)) return known[i].size;
    return 0;
}

static bool starts(struct row *r, const char *s, const char *rule)
{
    size_t n = strlen(rule);

    if (strncmp(s, rule, n)) return false;
    r->text = s + n;
    return true;
}

static int parse_rule(struct row *r, const char *s)
{
    int rc = -EINVAL;

    if (sscanf(s, "lin %f %f", &r->mean, &r->scale) == 2) {
        r->rule = RULE_LIN;
        rc = r->size > 1 && r->dtype[0] != 'I' ? 0 : rc;
    } else if (sscanf(s, "raw %u %u", &r->lo, &r->n) == 2 && r->n) {
        r->rule = RULE_RAW;
        rc = r->size == 1 ? 0 : rc;
    } else if (sscanf(s, "nib %u %u", &r->lo, &r->n) == 2 && r->n) {
        r->rule = RULE_NIB;
        rc = r->size == 4 ? 0 : rc;
    } else if (sscanf(s, "perm %u %u %u", &r->lo, &r->n, &r->g) == 3 && r->lo && r->g) {
        r->rule = RULE_PERM;
        rc = r->size >= 4 ? 0 : rc;
    } else if (sscanf(s, "walk %u %u", &r->lo, &r->n) == 2 && r->lo && r->n) {
        r->rule = RULE_WALK;
        rc = r->size >= 4 ? 0 : rc;
    } else if (sscanf(s, "fast %f", &r->scale) == 1) {
        r->rule = RULE_FAST;
        rc = r->size == 2 ? 0 : rc;
    } else if (starts(r, s, "text ")) {
        r->rule = RULE_TEXT;
        rc = r->size == 1 && strlen(r->text) == r->elements ? 0 : rc;
    } else if (starts(r, s, "val ")) {
        r->rule = RULE_VAL;
        rc = r->size > 1 ? 0 : rc;
    } else if (!strcmp(s, "sparse")) {
        r->rule = RULE_SPARSE;
        rc = 0;
    } else if (!strcmp(s, "e4m3") || !strcmp(s, "int8")) {
        r->rule = *s == 'e' ? RULE_E4M3 : RULE_INT8;
        rc = r->size == 1 ? 0 : rc;
    }
    return rc;
}

/* line is cut into its fields in place. */
static int parse_line(struct row *r, char *line)
{
    char *shape, *rule, *end;

    r->file = strsep(&line, "\t");
    r->name = strsep(&line, "\t");
    r->dtype = strsep(&line, "\t");
    shape = strsep(&line, "\t");
    rule = strsep(&line, "\t");
    if (!rule || !(r->size = dtype_size(r->dtype))) return -EINVAL;
    r->elements = 1;
    for (; *shape && r->dims < 8; shape = end + 1) {
        r->shape[r->dims] = strtoull(shape, &end, 10);
        r->elements *= r->shape[r->dims++];
        if (end == shape || (*end && *end != 'x')) return -EINVAL;
        if (!*end) break;
    }
    return parse_rule(r, rule);
}

static int add_row(struct list *l, const struct row *r)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? l->capacity * 2 : 256;
        struct row *rows = reallocarray(l->rows, capacity, sizeof *rows);
        if (!rows) return -ENOMEM;
        l->rows = rows;
        l->capacity = capacity;
    }
    l->rows[l->count++] = *r;
    return 0;
}

static int parse_list(struct list *l, char *text, struct error *e)
{
    char *line;
    size_t n = 0;

    while ((line = strsep(&text, "\n"))) {
        struct row r = {0};
        n++;
        if (!*line) continue;
        if (parse_line(&r, line))
            return error_set(e, EINVAL, "list of tensors, line %zu: file, name, dtype, shape, rule expected", n);
        if (add_row(l, &r)) return error_set(e, ENOMEM, "no memory for a list of tensors");
    }
    return 0;
}

/* ---- files ---- */

static int write_at(int fd, const void *p, uint64_t n, uint64_t at)
{
    uint64_t done = 0;

    while (done < n) {
        ssize_t k = pwrite(fd, (const char *)p + done, n - done, (off_t)(at + done));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -errno;
        done += (uint64_t)k;
    }
    return 0;
}

static int write_tensor(int fd, const struct row *r, uint64_t at, uint8_t *scratch)
{
    uint64_t seed = fnv1a64(r->name);
    int rc = 0;

    for (uint64_t i = 0; i < r->elements && !rc && r->rule != RULE_SPARSE; i += CHUNK) {
        uint64_t n = r->elements - i < CHUNK ? r->elements - i : CHUNK;
        fill(r, seed, i, n, scratch);
        rc = write_at(fd, scratch, n * r->size, at + i * r->size);
    }
    return rc;
}

static char *make_header(struct list *l, const char *file, uint64_t *bytes, uint64_t *data)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    if (!f) return NULL;
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", f);
    *data = 0;
    for (size_t i = 0; i < l->count; i++) {
        struct row *r = &l->rows[i];
        if (strcmp(r->file, file)) continue;
        fprintf(f, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", r->name, r->dtype);
        for (uint32_t d = 0; d < r->dims; d++) fprintf(f, "%s%" PRIu64, d ? "," : "", r->shape[d]);
        r->offset = *data;
        *data += r->elements * r->size;
        fprintf(f, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", r->offset, *data);
    }
    fputs("}", f);
    fflush(f);
    while (n % 8) {
        fputc(' ', f);
        fflush(f);
    }
    if (fclose(f)) return NULL;
    *bytes = n;
    return text;
}

static int open_new(const char *out, const char *name, struct error *e)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/%s", out, name);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return fd < 0 ? error_set(e, errno, "%s: %s", path, error_name(errno)) : fd;
}

static int write_file(struct list *l, const char *file, const char *out, uint64_t *total, struct error *e)
{
    uint64_t header_bytes = 0, data = 0;
    char *header = make_header(l, file, &header_bytes, &data);
    uint8_t *scratch = malloc(CHUNK * 8);
    int fd = open_new(out, file, e), rc = fd < 0 ? fd : 0;

    if (!header || !scratch) rc = -ENOMEM;
    if (!rc && ftruncate(fd, (off_t)(8 + header_bytes + data))) rc = -errno;
    if (!rc) rc = write_at(fd, &header_bytes, 8, 0);
    if (!rc) rc = write_at(fd, header, header_bytes, 8);
    for (size_t i = 0; i < l->count && !rc; i++)
        if (!strcmp(l->rows[i].file, file))
            rc = write_tensor(fd, &l->rows[i], 8 + header_bytes + l->rows[i].offset, scratch);
    *total += data;
    free(header);
    free(scratch);
    if (fd >= 0 && close(fd) && !rc) rc = -errno;
    return rc ? error_set(e, -rc, "%s/%s: %s", out, file, error_name(-rc)) : 0;
}

static bool first_of_file(const struct list *l, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (!strcmp(l->rows[k].file, l->rows[i].file)) return false;
    return true;
}

static int write_index(const struct list *l, const char *out, uint64_t total, struct error *e)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    int rc;

    if (!f) return error_set(e, ENOMEM, "%s: no memory for its index", out);
    fprintf(f, "{\n \"metadata\": {\n  \"total_size\": %" PRIu64 "\n },\n \"weight_map\": {", total);
    for (size_t i = 0; i < l->count; i++)
        fprintf(f, "%s\n  \"%s\": \"%s\"", i ? "," : "", l->rows[i].name, l->rows[i].file);
    fputs("\n }\n}", f);
    fclose(f);
    rc = mkmodel_write_file(out, "model.safetensors.index.json", text, n, e);
    free(text);
    return rc;
}

static int write_all(struct list *l, const char *out, struct error *e)
{
    uint64_t total = 0;
    size_t files = 0;
    int rc = 0;

    for (size_t i = 0; i < l->count && !rc; i++) {
        if (i && !strcmp(l->rows[i].file, l->rows[i - 1].file)) continue; /* lists are nearly always sorted */
        if (!first_of_file(l, i)) continue;
        rc = write_file(l, l->rows[i].file, out, &total, e);
        files++;
    }
    return !rc && files > 1 ? write_index(l, out, total, e) : rc;
}

int mkmodel_write_file(const char *out, const char *name, const void *bytes, uint64_t n, struct error *e)
{
    int fd = open_new(out, name, e), rc;

    if (fd < 0) return fd;
    rc = write_at(fd, bytes, n, 0);
    if (close(fd) && !rc) rc = -errno;
    return rc ? error_set(e, -rc, "%s/%s: %s", out, name, error_name(-rc)) : 0;
}

int mkmodel_from_text(const char *text, const char *out, struct error *e)
{
    struct list l = {0};
    char *copy = strdup(text);
    int rc = copy ? parse_list(&l, copy, e) : error_set(e, ENOMEM, "no memory for a list of tensors");

    if (!rc) rc = write_all(&l, out, e);
    free(l.rows);
    free(copy);
    return rc;
}

/* The whole file, NUL-terminated; the caller's. */
static char *slurp(const char *path, struct error *e)
{
    FILE *f = fopen(path, "re");
    char *text = NULL;
    size_t n = 0;

    if (!f || getdelim(&text, &n, 0, f) < 0) error_set(e, errno ? errno : EIO, "%s: %s", path, error_name(errno));
    if (f) fclose(f);
    return text;
}

int mkmodel_from_list(const char *list_path, const char *out, struct error *e)
{
    char *text = slurp(list_path, e);
    int rc = text ? mkmodel_from_text(text, out, e) : -e->code;

    free(text);
    return rc;
}

int mkmodel_reference(const char *folder, const char *out, struct error *e)
{
    char path[4096], *config;
    int rc;

    if (mkdir(out, 0777) && errno != EEXIST) return error_set(e, errno, "%s: %s", out, error_name(errno));
    snprintf(path, sizeof path, "%s/config.json", folder);
    config = slurp(path, e);
    if (!config) return -e->code;
    rc = mkmodel_write_file(out, "config.json", config, strlen(config), e);
    free(config);
    snprintf(path, sizeof path, "%s/tensors.tsv", folder);
    return rc ? rc : mkmodel_from_list(path, out, e);
}
