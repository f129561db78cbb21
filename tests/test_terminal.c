/* The program in a real terminal (tmux) under a shell with job control: Ctrl-Z and fg at the prompt and amid an answer,
 * and an answer with the live line below it. */
#include <jansson.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_recite.h"
#include "tests/support_temporary.h"
#include "tests/support_tmux.h"
#include "tests/support_victims.h"

#define DEMO     "tests/data/demo-model"
#define QUESTION "Please tell me about Karl and the bell."
#define LAST     "A friend is worth more than any bell."

static char folder[TEMPORARY_BYTES];

static int setup(void **state)
{
    (void)state;
    return temporary_make(folder, NULL) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    tmux_end();
    temporary_remove(folder);
    return 0;
}

/* A shell whose prompt is "$ "; $S is the program. */
static void shell_start(const char *shell, int columns)
{
    char command[2 * PATH_MAX];

    if (tmux_refused()) {
        print_message("skipped: %s\n", tmux_refused());
        skip();
    }
    snprintf(command, sizeof command,
             "HOME='%s' XDG_STATE_HOME='%s' XDG_CACHE_HOME='%s' ENV= PS1='$ ' S='%s/sluice' exec %s", folder, folder,
             folder, process_build(), shell);
    tmux_start(folder, columns, 24, command);
    tmux_wait("$ ");
}

#define BASH "bash --norc --noprofile --noediting -i" /* its line editing would change the mode that is looked at */

/* A child whose name is this (NULL: the first one); 0: there is none. */
static pid_t child_of(pid_t parent, const char *name)
{
    char path[64], comm[64];
    pid_t found = 0;
    FILE *f, *g;
    int pid;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    f = parent > 0 ? fopen(path, "re") : NULL;
    while (f && !found && fscanf(f, "%d", &pid) == 1) {
        snprintf(path, sizeof path, "/proc/%d/comm", pid);
        g = fopen(path, "re");
        if (g && fgets(comm, sizeof comm, g) && (!name || !strncmp(comm, name, strlen(name)))) found = pid;
        if (g) fclose(g);
    }
    if (f) fclose(f);
    return found;
}

static pid_t program(void)
{
    pid_t found = 0;

    for (int i = 0; i < 500 && !(found = child_of(tmux_pid(), NULL)); i++) nap_ms(10);
    assert_true(found > 0);
    return found;
}

static pid_t chat_start(void)
{
    tmux_keys("$S " DEMO " --temperature 0 -q", "Enter", NULL);
    tmux_wait("\n> ");
    tmux_wait_stty("-icanon");
    return program();
}

/* What /save writes of the first message. */
static void first_message_is(const char *want)
{
    char path[TEMPORARY_BYTES + 16], line[TEMPORARY_BYTES + 32];
    json_t *m;

    snprintf(path, sizeof path, "%s/talk", folder);
    snprintf(line, sizeof line, "/save %s", path);
    tmux_keys(line, "Enter", NULL);
    tmux_wait("messages written");
    m = json_load_file(path, 0, NULL);
    assert_non_null(m);
    assert_string_equal(json_string_value(json_object_get(json_array_get(m, 0), "content")), want);
    json_decref(m);
    unlink(path);
}

static void leave(void)
{
    tmux_keys("C-d", NULL);
    tmux_wait_stty("icanon");
    tmux_end();
}

/* ---- Ctrl-Z ---- */

/* Under bash, which sets the terminal's mode itself, and dash, which leaves it as it finds it. */
static void stopped_at_the_prompt(const char *shell)
{
    shell_start(shell, 80);
    chat_start();
    for (int i = 0; i < 2; i++) {
        const char *typed = i ? "abcd" : "wxyz"; /* Ctrl-Z throws away what was not read yet */

        tmux_keys(typed, NULL);
        tmux_wait(typed);
        tmux_keys("C-z", NULL);
        tmux_wait("Stopped");
        tmux_wait_stty("icanon");
        tmux_wait_stty("echo");
        tmux_paste("echo pas'te'd\n"); /* nobody asks for marks any more */
        tmux_wait("\npasted");
        tmux_keys("fg", "Enter", NULL);
        tmux_wait_stty("-icanon");
        tmux_wait_stty("-echo");
        tmux_keys("Left", "Left", "X", "BSpace", NULL);
        if (!i) tmux_keys("C-u", "C-k", "clear", "C-u", NULL);
    }
    tmux_paste("<p\nq>"); /* marks again: it is one message */
    tmux_keys("Enter", NULL);
    tmux_wait("\n> ");
    first_message_is("ab<p\nq>cd");
    leave();
}

static void ctrl_z_at_the_prompt(void **state)
{
    (void)state;
    stopped_at_the_prompt(BASH);
    if (access("/bin/dash", X_OK)) return;
    stopped_at_the_prompt("dash -i");
}

/* The shell takes the mode without a stop that could be caught, or the program goes on in the background first. */
static void mode_taken_otherwise(void **state)
{
    char line[64];
    pid_t chat;

    (void)state;
    shell_start(BASH, 80);
    chat = chat_start();
    kill(chat, SIGSTOP);
    tmux_wait("Stopped");
    tmux_keys("stty sane", "Enter", NULL);
    tmux_wait_stty("icanon");
    tmux_keys("fg", "Enter", NULL);
    tmux_wait_stty("-icanon");
    tmux_keys("C-z", NULL);
    tmux_wait_stty("icanon");
    tmux_keys("bg", "Enter", NULL);
    nap_ms(200);
    tmux_keys("fg", "Enter", NULL);
    tmux_wait_stty("-icanon");
    snprintf(line, sizeof line, QUESTION);
    tmux_keys(line, "Left", "Left", "Y", "BSpace", "Enter", NULL);
    tmux_wait(LAST);
    first_message_is(QUESTION);
    leave();
}

/* While the answer waits for a stage: what is typed is not shown amid it, and it goes on where it was. */
static void ctrl_z_amid_an_answer(void **state)
{
    pid_t chat, compute;

    (void)state;
    shell_start(BASH, 80);
    chat = chat_start();
    compute = victim_wait(chat, 2, 5000);
    assert_true(compute > 0);
    kill(compute, SIGSTOP);
    tmux_keys(QUESTION, "Enter", NULL);
    nap_ms(300);
    tmux_keys("C-z", NULL);
    tmux_wait("Stopped");
    tmux_wait_stty("icanon");
    tmux_keys("fg", "Enter", NULL);
    tmux_wait_stty("-icanon");
    kill(compute, SIGCONT);
    tmux_wait(LAST);
    tmux_keys("again", "Left", "Left", NULL);
    tmux_wait("> again");
    assert_null(strstr(tmux_text(), "^["));
    tmux_keys("C-u", "C-k", NULL);
    leave();
}

/* `run` with these flags, whose first compute stage stops itself before it begins; the run. */
static pid_t run_held(const char *flags, pid_t *compute)
{
    char text[6 * PATH_MAX], line[PATH_MAX];

    snprintf(text, sizeof text,
             "B='%s' D='%s/bin'; rm -rf $D && mkdir $D && cp $B/sluice $D && ln -s $B/sluice-reader "
             "$B/sluice-transfer-cpu $D && "
             "printf '#!/bin/sh\\n[ -e %%s/held ] || { touch %%s/held; kill -STOP $$; }\\nexec %%s/sluice-compute-cpu "
             "\"$@\"\\n' "
             "$D $D $B >$D/sluice-compute-cpu && chmod 755 $D/sluice-compute-cpu",
             process_build(), folder);
    assert_int_equal(system(text), 0);
    snprintf(line, sizeof line,
             "clear; %s/bin/sluice run " DEMO " -p 'Once upon a time' --temperature 0 -n 90 --ignore-eos %s", folder,
             flags);
    tmux_keys(line, "Enter", NULL);
    *compute = 0;
    for (int i = 0; i < 500 && !*compute; i++) {
        nap_ms(20);
        *compute = child_of(child_of(tmux_pid(), NULL), "sluice-compute-"); /* the script, its name cut by the kernel */
    }
    assert_true(*compute > 0);
    return child_of(tmux_pid(), NULL);
}

/* Nothing of the live line stays for the shell. */
static void ctrl_z_with_the_line(void **state)
{
    pid_t run, compute;

    (void)state;
    shell_start(BASH, 80);
    run = run_held("", &compute);
    tmux_wait(" ETA ");
    tmux_keys("C-z", NULL);
    tmux_wait("Stopped");
    if (strstr(tmux_text(), " ETA ")) fail_msg("%s", tmux_text());
    tmux_keys("fg", "Enter", NULL);
    kill(compute, SIGCONT);
    for (int i = 0; i < 500 && !victim_gone(run); i++) nap_ms(20);
    tmux_keys("echo 'the' end", "Enter", NULL);
    tmux_wait("\nthe end");
    assert_null(strstr(tmux_text(), " ETA "));
    assert_non_null(strstr(tmux_text(), "there was a"));
    tmux_end();
}

/* ---- an answer and the line ---- */

/* Rows that are exactly full, from the program itself. */
static void full_rows(void **state)
{
    static const int widths[] = {20, 79, 80, 100};
    char *row = malloc(101), line[PATH_MAX + 128], want[1024];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        int w = widths[i];

        for (int k = 0; k < w; k++) row[k] = (char)('a' + k % 26);
        row[w] = 0;
        const char *const said[] = {"A:",    row,         "\nnext ", row + 5, "\n\xE6\x97\xA5\xE6\x9C\xAC",
                                    row + 4, "\tT\nthe ", "end",     NULL};
        char *model = recite_make(said, NULL, "{% for m in messages %}{{ m.content }}{% endfor %}A:");

        shell_start(BASH, w);
        snprintf(line, sizeof line, "clear; $S run %s --temperature 0 -p A:", model);
        tmux_keys(line, "Enter", NULL);
        tmux_wait("\nthe end");
        tmux_wait("end\n$ ");
        snprintf(want, sizeof want, "%s\nnext %s\n", row, row + 5);
        assert_non_null(strstr(tmux_text(), want));
        assert_null(strstr(tmux_text(), " ETA "));
        tmux_end();
        scratch_remove(model);
    }
    free(row);
}

/* Messages of the coordinator and of the stages amid an answer: each on lines of its own, and the answer is whole. */
static void messages_amid_an_answer(void **state)
{
    const char *const arg[] = {"run", DEMO, "-p", "Once upon a time", "--temperature",
                               "0",   "-n", "90", "--ignore-eos",     NULL};
    struct process_result want = process_run("sluice", arg, NULL, 0, 20);
    static char got[1 << 16];
    pid_t compute;
    size_t n = 0;
    bool restarted = false;

    (void)state;
    assert_int_equal(want.status, 0);
    shell_start(BASH, 60);
    run_held("-vv; echo 'the' end", &compute);
    nap_ms(300);
    kill(compute, SIGKILL);
    tmux_wait("\nthe end");
    restarted = strstr(tmux_text(), "starting the stages again") != NULL;
    for (const char *line = tmux_text(); *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (strncmp(line, "sluice", 6) && strncmp(line, "the end", 7) && *line != '$')
            for (const char *p = line; *p && *p != '\n'; p++)
                if (*p != ' ') got[n++] = *p;
    got[n] = 0;
    assert_null(strstr(got, "ETA"));
    n = 0;
    for (char *p = want.out; *p; p++)
        if (*p != ' ' && *p != '\n') want.out[n++] = *p;
    want.out[n] = 0;
    assert_string_equal(got, want.out);
    tmux_end();
    assert_true(restarted);
    process_result_free(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ctrl_z_at_the_prompt),
        cmocka_unit_test(mode_taken_otherwise),
        cmocka_unit_test(ctrl_z_amid_an_answer),
        cmocka_unit_test(ctrl_z_with_the_line),
        cmocka_unit_test(full_rows),
        cmocka_unit_test(messages_amid_an_answer),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
