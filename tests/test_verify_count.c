/* What sluice-verify does with bytes: NaN and infinity in every stored form, at odd offsets and over any cut; digests;
 * files that change or cannot be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "proto/verify.h"
#include "tests/support_model.h"
#include "proto/count.h"
#include "reader/verify/run.h"
#include "reader/verify/blocks.h"

static uint64_t seed = 1;
static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* The value by its definition: sign, exponent, mantissa. */
static double value_of(uint32_t form, const uint8_t *p)
{
    static const struct {
        int bits, exponent, bias;
    } of[FORMS] = {[FORM_F16] = {16, 5, 15}, [FORM_BF16] = {16, 8, 127}, [FORM_F8_E5M2] = {8, 5, 15}};
    uint64_t raw = 0, e, m, mantissa_bits;
    double d;
    float f;

    if (form == FORM_F8_E8M0) return *p == 255 ? NAN : ldexp(1, *p - 127);
    if (form == FORM_F8_E4M3) return (*p & 127) == 127 ? NAN : ldexp(*p & 7, (*p >> 3 & 15) - 10);
    if (form == FORM_F64) return memcpy(&d, p, 8), d;
    if (form == FORM_F32) return memcpy(&f, p, 4), (double)f;
    memcpy(&raw, p, (size_t)of[form].bits / 8);
    mantissa_bits = (uint64_t)(of[form].bits - 1 - of[form].exponent);
    m = raw & ((UINT64_C(1) << mantissa_bits) - 1);
    e = raw >> mantissa_bits & ((UINT64_C(1) << of[form].exponent) - 1);
    if (e == (UINT64_C(1) << of[form].exponent) - 1) return m ? (double)NAN : INFINITY;
    return ldexp((double)m, (int)e - of[form].bias);
}

/* Blocks with scales inside: how many can be no number, where these are and what they are. Others are numbers themselves. */
static uint32_t scales_of(uint32_t form)
{
    switch (form) {
    case FORM_Q4_1:
    case FORM_Q5_1:
    case FORM_Q2_K:
    case FORM_Q4_K:
    case FORM_Q5_K: return 2;
    }
    return 1;
}

static uint32_t scale_at(uint32_t form, uint32_t k)
{
    switch (form) {
    case FORM_Q2_K: return 80 + 2 * k;
    case FORM_Q3_K: return 108;
    case FORM_Q6_K: return 208;
    case FORM_IQ1_M: return 48;
    case FORM_TQ1_0: return 52;
    case FORM_TQ2_0: return 64;
    }
    return 2 * k;
}

static double scale_value(uint32_t form, const uint8_t *p)
{
    const uint8_t half[2] = {(uint8_t)(p[1] >> 4 | (p[3] & 0xf0)), (uint8_t)(p[5] >> 4 | (p[7] & 0xf0))};

    if (form_scales(form) != FORM_SCALES_INSIDE) return value_of(form, p);
    if (form == FORM_MXFP4_BLOCK) return value_of(FORM_F8_E8M0, p);
    return value_of(FORM_F16, form == FORM_IQ1_M ? half : p);
}

static void feed_in_pieces(struct counter *c, const uint8_t *p, uint64_t bytes, uint64_t most)
{
    uint64_t at = 0;

    while (at < bytes) {
        uint64_t n = 1 + next_random() % most;

        if (n > bytes - at) n = bytes - at;
        counter_feed(c, at, p + at, n);
        at += n;
    }
}

/* Random bytes, in which NaN are common in small forms, and planted ones for the wide. */
static void counts_every_form(void **state)
{
    enum { BYTES = 60000 };
    static uint8_t file[BYTES + 8];

    (void)state;
    for (uint32_t form = 0; form < FORMS; form++) {
        for (int round = 0; round < 12 && form_info(form)->codes; round++) {
            uint32_t w = form_info(form)->bytes;
            struct verify_span s = {.offset = 1 + next_random() % 9000, .form = form};
            uint64_t nan = 0, inf = 0, first = VERIFY_NONE;
            struct counter c;

            s.bytes = (BYTES - s.offset - next_random() % 100) / w * w;
            for (int i = 0; i < BYTES; i++) file[i] = round ? (uint8_t)next_random() : 0;
            if (round % 3 == 1) /* few: most chunks are clean */
                for (int i = 0; i < BYTES; i++) file[i] &= 0x3f;
            if (round % 3 == 1)
                for (int i = 0; i < 5; i++) memset(file + s.offset + next_random() % (s.bytes / w) * w, 0xff, w);
            for (uint64_t i = 0; i < s.bytes; i += w) {
                for (uint32_t k = 0; k < scales_of(form); k++) {
                    uint64_t at = s.offset + i + scale_at(form, k);
                    double x = scale_value(form, file + at);

                    if (isnan(x)) nan++;
                    if (isinf(x)) inf++;
                    if (!isfinite(x) && first == VERIFY_NONE) first = at;
                }
            }
            counter_begin(&c, &s, 1);
            feed_in_pieces(&c, file, BYTES, round % 2 ? 7 : 20000);
            assert_int_equal(s.nan, nan);
            assert_int_equal(s.inf, inf);
            assert_int_equal(s.first, first);
            if (round % 3 == 1) assert_true(nan > 0);
        }
    }
}

/* Spans that touch, that hold nothing, and bytes that belong to none. */
static void counts_each_span_by_itself(void **state)
{
    static uint8_t file[10000];
    struct verify_span s[] = {{.offset = 3, .bytes = 1000, .form = FORM_BF16},
                              {.offset = 1003, .bytes = 0, .form = FORM_F32},
                              {.offset = 1003, .bytes = 4000, .form = FORM_F32},
                              {.offset = 5003, .bytes = 1000, .form = FORM_BYTES},
                              {.offset = 7001, .bytes = 2, .form = FORM_F16}};
    struct counter c;

    (void)state;
    for (uint64_t most = 1; most < 6000; most = most * 3 + 1) {
        memset(file, 0, sizeof file);
        memcpy(file + 3 + 998, "\x80\x7f", 2);      /* infinity, the last of its span */
        memcpy(file + 1003, "\x00\x00\xc0\x7f", 4); /* NaN, the first of its */
        memset(file + 5003, 0xff, 1000);            /* no numbers */
        memcpy(file + 6500, "\xff\xff\xff\xff", 4); /* between spans */
        memcpy(file + 7001, "\x00\xfc", 2);         /* minus infinity */
        counter_begin(&c, s, 5);
        feed_in_pieces(&c, file, sizeof file, most);
        assert_int_equal(s[0].inf, 1);
        assert_int_equal(s[0].nan, 0);
        assert_int_equal(s[0].first, 1001);
        assert_int_equal(s[2].nan, 1);
        assert_int_equal(s[2].first, 1003);
        assert_int_equal(s[3].nan + s[3].inf + s[1].nan, 0);
        assert_int_equal(s[4].inf, 1);
    }
}

/* ---- files ---- */

struct job {
    struct verify_shm *shm;
    char *folder;
};

/* A job over files of these sizes, number i filled with bytes of i + 1. */
static struct job job_make(const uint64_t *bytes, uint32_t n)
{
    struct job j = {.folder = scratch_make()};
    uint64_t room = sizeof *j.shm + n * (sizeof(struct verify_file) + 4096), at;

    room = (room + 63) / 64 * 64;
    j.shm = aligned_alloc(64, room);
    assert_non_null(j.shm);
    memset(j.shm, 0, room);
    at = sizeof *j.shm;
    j.shm->magic = VERIFY_MAGIC;
    j.shm->version = VERIFY_VERSION;
    j.shm->bytes = room;
    j.shm->file_count = n;
    j.shm->file_off = at;
    j.shm->span_off = j.shm->string_off = at + n * sizeof(struct verify_file);
    j.shm->threads = 3;
    j.shm->block_bytes = 8192;
    for (uint32_t i = 0; i < n; i++) {
        struct verify_file *f = verify_files(j.shm) + i;
        struct stat st;
        char *text = malloc(bytes[i] + 1);
        FILE *out;

        f->path = j.shm->string_off + i * 4096;
        snprintf((char *)j.shm + f->path, 4096, "%s/%u", j.folder, i);
        assert_non_null(text);
        memset(text, (int)i + 1, bytes[i]);
        out = fopen((char *)j.shm + f->path, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(text, 1, bytes[i], out), bytes[i]);
        assert_int_equal(fclose(out), 0);
        free(text);
        assert_int_equal(stat((char *)j.shm + f->path, &st), 0);
        f->bytes = bytes[i];
        f->mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
        f->inode = st.st_ino;
    }
    return j;
}

static const char *job_path(const struct job *j, uint32_t i)
{
    return (const char *)j->shm + verify_files(j->shm)[i].path;
}

static void job_free(struct job *j)
{
    scratch_remove(j->folder);
    free(j->shm);
}

static void assert_sum(const struct verify_file *f, const char *hex, const char *git)
{
    char text[65];

    for (int i = 0; i < 32; i++) snprintf(text + 2 * i, 3, "%02x", f->sha256[i]);
    assert_string_equal(text, hex);
    for (int i = 0; i < 20; i++) snprintf(text + 2 * i, 3, "%02x", f->git_sha1[i]);
    assert_string_equal(text, git);
}

/* Sums that sha256sum and git hash-object give. */
static void digests(void **state)
{
    const uint64_t bytes[] = {0, 100000, 8192};

    (void)state;
    for (uint32_t io = VERIFY_IO_AUTO; io <= VERIFY_IO_BUFFERED; io++) {
        struct job j = job_make(bytes, 3);
        struct error e = {0};

        j.shm->io = io;
        assert_int_equal(verify_check(j.shm, j.shm->bytes, &e), 0);
        assert_int_equal(verify_run(j.shm, &e), 0);
        for (int i = 0; i < 3; i++) assert_int_equal(verify_files(j.shm)[i].state, VERIFY_DONE);
        assert_int_equal(j.shm->done_bytes, 108192);
        assert_sum(verify_files(j.shm), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                   "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_sum(verify_files(j.shm) + 1, "6d480505cf66cc002a7ac867d163e114e3c6f9a4a01f568177f8c9a5ae04bf23",
                   "dbb03c9507158398a6cfa473f4e3cd93f11fa4c7");
        assert_sum(verify_files(j.shm) + 2, "48a2e5059bcac357fae4652e86b58abeb0c5fc87c9fffc0d9ae5e8b7195172fb",
                   "08c15098db15629e1fc91c6ba28a3d6bb80170a2");
        job_free(&j);
    }
}

static void changed_files(void **state)
{
    const uint64_t bytes[] = {20000, 30000, 40000, 50000};
    struct job j = job_make(bytes, 4);
    struct verify_file *f = verify_files(j.shm);
    struct blocks s;
    struct error e;

    (void)state;
    assert_int_equal(truncate(job_path(&j, 0), 10000), 0); /* shorter than the coordinator saw it */
    f[1].mtime_ns++;                                       /* written to meanwhile */
    assert_int_equal(unlink(job_path(&j, 2)), 0);
    assert_int_equal(verify_run(j.shm, &e), 0);
    assert_int_equal(f[0].state, VERIFY_FAILED);
    assert_int_equal(f[0].code, ESTALE);
    assert_int_equal(f[1].code, ESTALE);
    assert_int_equal(f[2].code, ENOENT);
    assert_int_equal(f[3].state, VERIFY_DONE);

    /* while it is being read */
    assert_int_equal(blocks_open(&s, job_path(&j, 3), f + 3, VERIFY_IO_AUTO), 0);
    assert_int_equal(blocks_unchanged(&s, f + 3), 0);
    assert_int_equal(rename(job_path(&j, 0), job_path(&j, 3)), 0); /* another file under its name */
    assert_int_equal(blocks_unchanged(&s, f + 3), ESTALE);
    blocks_close(&s);
    job_free(&j);
}

/* Whoever writes to a file and puts its time back leaves a trace in the inode only, as does who changes nothing. */
static void a_touched_inode_is_read_again(void **state)
{
    const uint64_t bytes[] = {8192, 8192};
    struct job j = job_make(bytes, 2);
    struct verify_file *f = verify_files(j.shm);
    struct blocks s;
    struct error e;

    (void)state;
    assert_int_equal(blocks_open(&s, job_path(&j, 0), f, VERIFY_IO_AUTO), 0);
    assert_int_equal(blocks_unchanged(&s, f), 0);
    assert_int_equal(chmod(job_path(&j, 0), 0400), 0);
    assert_int_equal(blocks_unchanged(&s, f), EAGAIN);
    blocks_close(&s);
    assert_int_equal(blocks_open(&s, job_path(&j, 0), f, VERIFY_IO_AUTO), 0); /* as it is now, it is good */
    assert_int_equal(blocks_unchanged(&s, f), 0);
    blocks_close(&s);
    f[1].inode++; /* a copy of the same size and time */
    assert_int_equal(verify_run(j.shm, &e), 0);
    assert_int_equal(f[0].state, VERIFY_DONE);
    assert_int_equal(f[1].code, ESTALE);
    job_free(&j);
}

static void truncated_under_the_reader(void **state)
{
    const uint64_t bytes[] = {50000};
    struct job j = job_make(bytes, 1);
    static _Alignas(4096) uint8_t block[53248];
    struct blocks s;

    (void)state;
    for (uint32_t io = VERIFY_IO_AUTO; io <= VERIFY_IO_BUFFERED; io++) {
        assert_int_equal(truncate(job_path(&j, 0), 50000), 0);
        verify_files(j.shm)->mtime_ns = 0;
        struct stat st;
        assert_int_equal(stat(job_path(&j, 0), &st), 0);
        verify_files(j.shm)->mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
        assert_int_equal(blocks_open(&s, job_path(&j, 0), verify_files(j.shm), (enum verify_io)io), 0);
        assert_int_equal(blocks_load(&s, 0, block, 50000), 0);
        assert_int_equal(truncate(job_path(&j, 0), 20001), 0);
        assert_int_equal(blocks_load(&s, 0, block, 50000), ESTALE);
        assert_int_equal(blocks_load(&s, 40960, block, 9040), ESTALE);
        blocks_close(&s);
    }
    job_free(&j);
}

/* A job that lies is refused, whoever wrote it. */
static void hostile_jobs(void **state)
{
    const uint64_t bytes[] = {100, 200};
    struct job j = job_make(bytes, 2);
    struct verify_shm good = *j.shm;
    struct verify_file *f = verify_files(j.shm), whole = f[1];
    struct error e;

    (void)state;
    assert_int_equal(verify_check(j.shm, good.bytes, &e), 0);
    assert_int_equal(verify_check(j.shm, sizeof good - 1, &e), -EPROTO);
#define BROKEN(change)                                                                                                 \
    do {                                                                                                               \
        change;                                                                                                        \
        assert_int_equal(verify_check(j.shm, good.bytes, &e), -EPROTO);                                                \
        *j.shm = good;                                                                                                 \
        f[1] = whole;                                                                                                  \
    } while (0)
    BROKEN(j.shm->magic++);
    BROKEN(j.shm->version++);
    BROKEN(j.shm->bytes++);
    BROKEN(j.shm->file_count = UINT64_MAX / 8);
    BROKEN(j.shm->file_off = 8);
    BROKEN(j.shm->file_off = good.bytes);
    BROKEN(j.shm->span_count = 1u << 20);
    BROKEN(f[1].path = good.bytes);
    BROKEN(f[1].path = 0);
    BROKEN(f[1].spans = 1);
    BROKEN(f[1].span0 = 1);
#undef BROKEN
    job_free(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_every_form),
        cmocka_unit_test(counts_each_span_by_itself),
        cmocka_unit_test(digests),
        cmocka_unit_test(changed_files),
        cmocka_unit_test(a_touched_inode_is_read_again),
        cmocka_unit_test(truncated_under_the_reader),
        cmocka_unit_test(hostile_jobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
