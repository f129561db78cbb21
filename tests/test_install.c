/* make install and make uninstall, and where an installed program looks for its stages. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_process.h"
#include "tests/support_temporary.h"

#define SECONDS 50
#define RUN     "run tests/data/demo-model -p 'Once upon a time' --temperature 0 -n 8"

static char folder[TEMPORARY_BYTES], build[PATH_MAX];

static int setup(void **state)
{
    char cwd[PATH_MAX];
    const char *home = process_build();
    size_t n;

    (void)state;
    /* make knows its files by the names that they have from here */
    if (!getcwd(cwd, sizeof cwd)) return -1;
    n = strlen(cwd);
    snprintf(build, sizeof build, "%s", !strncmp(home, cwd, n) && home[n] == '/' ? home + n + 1 : home);
    return temporary_make(folder, NULL) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    temporary_remove(folder);
    return 0;
}

/* A script for the shell; $D is the test's folder, $B the build, and INSTALL and UNINSTALL take DESTDIR. */
static struct process_result script(const char *lines)
{
    char text[2 * PATH_MAX];
    const char *const args[] = {"-c", text, NULL};
    struct process p;

    snprintf(
        text, sizeof text,
        "D='%s' B='%s'; unset MAKEFLAGS MAKEOVERRIDES MFLAGS; make_() { make -s B=$B CUDA=no PREFIX=/usr \"$@\"; }\n%s",
        folder, build, lines);
    p = process_start("/bin/sh", args);
    return process_finish(&p, NULL, 0, SECONDS);
}

static void expect(const char *lines, const char *out)
{
    struct process_result r = script(lines);

    if (r.status || strcmp(r.out, out)) fail_msg("%s\nstatus %d\n%s\n%s", lines, r.status, r.out, r.err);
    process_result_free(&r);
}

/* Whatever the umask, all may read; whatever stands in DESTDIR, nothing lands elsewhere. */
static void for_everybody(void **state)
{
    (void)state;
    expect("umask 077; mkdir \"$D/a\" && touch \"$D/a/mine\" && make_ DESTDIR=\"$D/a place; with 'quotes' & more\" "
           "install || exit 1\n"
           "cd \"$D\" && ls\n"
           "cd 'a place; with '\\''quotes'\\'' & more' && find usr -type d ! -perm 755; find usr -type f ! -perm 755 ! "
           "-perm 644\n"
           "find usr -type f -size 0; find usr -type f ! -name sluice-link | sort", /* only where there is an MPI */
           "a\na place; with 'quotes' & more\n"
           "usr/bin/sluice\nusr/libexec/sluice/sluice-compute-cpu\nusr/libexec/sluice/sluice-node\n"
           "usr/libexec/sluice/sluice-reader\n"
           "usr/libexec/sluice/sluice-transfer-cpu\nusr/libexec/sluice/sluice-verify\n"
           "usr/share/bash-completion/completions/sluice\nusr/share/fish/vendor_completions.d/sluice.fish\n"
           "usr/share/man/man1/sluice.1\nusr/share/zsh/site-functions/_sluice\n");
    expect("touch \"$D/a place; with 'quotes' & more/usr/bin/other\"\n"
           "make_ DESTDIR=\"$D/a place; with 'quotes' & more\" uninstall || exit 1\n"
           "cd \"$D\" && find . -type f | sort; rm -rf \"$D\"/a*",
           "./a place; with 'quotes' & more/usr/bin/other\n./a/mine\n");
}

/* Programs of the same names in the folder above the installed program's are none of its. */
static void stages_of_nobody(void **state)
{
    static const char decoys[] =
        "for s in reader transfer-cpu compute-cpu; do printf '#!/bin/sh\\ntouch %s/run\\n' \"$D\" "
        ">$D/usr/sluice-$s; chmod 755 $D/usr/sluice-$s; done\n";
    char lines[2048];
    struct process_result r;

    (void)state;
    snprintf(lines, sizeof lines,
             "make_ DESTDIR=$D install || exit 1\n%s$B/sluice " RUN " >$D/want && $D/usr/bin/sluice " RUN
             " >$D/got && cmp $D/want $D/got && ls $D",
             decoys);
    expect(lines, "got\nusr\nwant\n");
    r = script("rm $D/usr/libexec/sluice/sluice-reader; $D/usr/bin/sluice " RUN);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "sluice-reader is missing"));
    process_result_free(&r);
    expect("ls $D", "got\nusr\nwant\n");
}

/* What the CUDA backend is built for is what its compiler knows, whatever version it has. */
static void architectures_that_nvcc_knows(void **state)
{
    static const char ask[] =
        "nvcc() { printf '#!/bin/sh\\n[ \"$1\" != --list-gpu-arch ] || printf \"compute_%%s\\\\n\" '\"$*\" >$D/nvcc; "
        "chmod 755 $D/nvcc; make -s B=$D/b CUDA=yes NVCC=$D/nvcc cuda-archs; }\n"
        "nvcc 35 50 70 75 80 86 87 89 90\nnvcc 50 70 75 80 86 87 89 90 100 101 120\nnvcc 75 80 86 87 88 89 90 100 103 "
        "110 120 121\nnvcc 90\nrm -rf $D/nvcc $D/b";

    (void)state;
    expect(ask, "kernels for 75 80 86 89 90, PTX of 75 90\nkernels for 75 80 86 89 90 100 120, PTX of 120 75\n"
                "kernels for 75 80 86 89 90 100 120, PTX of 120 75\nkernels for 90, PTX of 90\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(for_everybody), cmocka_unit_test(stages_of_nobody),
                                       cmocka_unit_test(architectures_that_nvcc_knows)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
