/* sluice chat as people meet it: in a terminal with keys, paste and Ctrl-C, and fed by a pipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_recite.h"
#include "tests/support_terminal.h"

#define DEMO     "tests/data/demo-model"
#define QUESTION "Please tell me about Karl and the bell."
#define FIRST    "Once upon a time there was"
#define LAST     "A friend is worth more than any bell."
#define UP       "\033[A"

static char *scratch; /* where the history lies */
static char state_home[256], home[256];

static int setup(void **state)
{
    (void)state;
    scratch = scratch_make();
    snprintf(state_home, sizeof state_home, "XDG_STATE_HOME=%s", scratch);
    snprintf(home, sizeof home, "HOME=%s", scratch);
    return 0;
}

static int teardown(void **state)
{
    char path[300];

    (void)state;
    snprintf(path, sizeof path, "%s/sluice/history", scratch);
    unlink(path);
    snprintf(path, sizeof path, "%s/sluice", scratch);
    rmdir(path);
    scratch_remove(scratch);
    return 0;
}

#define CHAT(...)                                                                                                      \
    terminal_start("sluice", (const char *const[]){__VA_ARGS__, NULL}, (const char *const[]){state_home, home, NULL})

static struct terminal chat_with_demo(void)
{
    struct terminal t = CHAT(DEMO, "--temperature", "0", "-q"); /* no progress line amid the text */

    terminal_wait(&t, "> ");
    return t;
}

/* Types a line and waits until the prompt is back. */
static void say(struct terminal *t, const char *line, const char *shows)
{
    terminal_type(t, line);
    terminal_type(t, "\n");
    terminal_wait(t, shows);
    terminal_wait(t, "\n> ");
}

static void leave(struct terminal *t)
{
    terminal_type(t, "\004");
    assert_int_equal(terminal_end(t), 0);
}

/* What /save writes; the caller's. */
static json_t *saved(struct terminal *t)
{
    const char *path = scratch_path(scratch, "talk.json");
    char line[400];
    json_t *m;

    snprintf(line, sizeof line, "/save %s", path);
    say(t, line, "messages written to");
    m = json_load_file(path, 0, NULL);
    assert_non_null(m);
    return m;
}

static const char *content(const json_t *messages, size_t i)
{
    return json_string_value(json_object_get(json_array_get(messages, i), "content"));
}

struct counts {
    unsigned used, prompt, kept, computed;
};

static struct counts stats(struct terminal *t)
{
    struct counts c;
    size_t from = t->seen;
    const char *at;

    say(t, "/stats", "peak memory");
    at = strstr(t->text + from, " tokens; ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, " tokens; %u", &c.used), 1);
    at = strstr(at, "last prompt: ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "last prompt: %u tokens, %u of them known from before; %u positions", &c.prompt,
                            &c.kept, &c.computed),
                     3);
    return c;
}

/* ---- turns ---- */

static void only_new_tokens(void **state)
{
    struct terminal t = CHAT(DEMO, "--temperature", "0", "-q", "--speculate", "off"); /* guesses count as positions */
    struct counts a, b;

    (void)state;
    terminal_wait(&t, "> ");
    say(&t, QUESTION, LAST);
    a = stats(&t);
    assert_int_equal(a.kept, 0);
    assert_int_equal(a.computed, a.used - 1); /* the token that ended the answer needs no sweep */
    say(&t, "Tell me a story about a goat and a kite.", "goat");
    b = stats(&t);
    assert_true(b.prompt > a.used);
    assert_int_equal(b.kept, a.computed);
    assert_int_equal(b.computed, b.used - 1 - b.kept);
    say(&t, "/retry", "at temperature 0"); /* the same prompt: but for its last token all is known */
    a = stats(&t);
    assert_int_equal(a.prompt, b.prompt);
    assert_int_equal(a.kept, b.prompt - 1);
    leave(&t);
}

static void pipe_agrees(void **state)
{
    static const char lines[] = QUESTION "\n\nTell me a story \\\nabout a goat.\n/quit\n//help";
    const char *const arg[] = {"chat", DEMO, "--temperature", "0", NULL};
    struct process_result r = process_run("sluice", arg, lines, strlen(lines), 20);
    struct terminal t = chat_with_demo();
    json_t *m;
    char *both = NULL;

    (void)state;
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err, "");
    say(&t, QUESTION, LAST);
    terminal_type(&t, "Tell me a story \\\n");
    terminal_wait(&t, ". ");
    say(&t, "about a goat.", FIRST);
    say(&t, "//quit", "."); /* at a terminal one slash begins a command, in a pipe none does */
    say(&t, "///help", ".");
    m = saved(&t);
    assert_int_equal(json_array_size(m), 8);
    assert_string_equal(content(m, 2), "Tell me a story \nabout a goat.");
    assert_string_equal(content(m, 4), "/quit");
    assert_string_equal(content(m, 6), "//help");
    assert_true(asprintf(&both, "%s\n%s\n%s\n%s\n", content(m, 1), content(m, 3), content(m, 5), content(m, 7)) > 0);
    assert_string_equal(r.out, both); /* nothing but the answers */
    free(both);
    json_decref(m);
    process_result_free(&r);
    leave(&t);
}

/* ---- keys ---- */

static void paste(void **state)
{
    struct terminal t = chat_with_demo();
    json_t *m;

    (void)state;
    terminal_wait(&t, ""); /* the terminal was asked to mark what is pasted */
    assert_non_null(strstr(t.raw, "\033[?2004h"));
    terminal_type(&t, "\033[200~erste Zeile\rzweite: \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x8E\x89\r/clear\r\033[201~");
    assert_null(strstr(terminal_peek(&t, 300), "forgotten")); /* nothing is sent, no line is a command */
    say(&t, "Ende", ".");
    m = saved(&t);
    assert_string_equal(content(m, 0), "erste Zeile\nzweite: \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x8E\x89\n/clear\nEnde");
    json_decref(m);
    leave(&t);
}

static void editing(void **state)
{
    struct terminal t = chat_with_demo();
    json_t *m;

    (void)state;
    /* wide characters are one step each; \001 is Ctrl-A, \177 Backspace, \033[D arrow left, \033\n Alt-Enter */
    say(&t, "\xE6\x97\xA5\xE6\x9C\xACx\177\033[D\xC3\xA9\001<\033[F>\033\nz", ".");
    m = saved(&t);
    assert_string_equal(content(m, 0), "<\xE6\x97\xA5\xC3\xA9\xE6\x9C\xAC>\nz");
    json_decref(m);
    terminal_type(&t, "/he\t");
    say(&t, "", "forget all but the system message");
    leave(&t);
}

static void history_is_kept(void **state)
{
    struct terminal t = chat_with_demo();
    struct stat st;
    char path[300];
    json_t *m;

    (void)state;
    say(&t, QUESTION, LAST);
    leave(&t);
    snprintf(path, sizeof path, "%s/sluice/history", scratch);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    t = chat_with_demo();
    say(&t, UP, LAST);
    m = saved(&t);
    assert_string_equal(content(m, 0), QUESTION);
    json_decref(m);
    leave(&t);
}

/* ---- Ctrl-C ---- */

static void ctrl_c_at_the_prompt(void **state)
{
    struct terminal t = chat_with_demo();

    (void)state;
    terminal_type(&t, "half a question");
    terminal_wait(&t, "question"); /* Ctrl-C would throw away what was not read yet */
    terminal_type(&t, "\003");
    terminal_wait(&t, "^C");
    terminal_wait(&t, "> ");
    terminal_type(&t, "\003");
    terminal_wait(&t, "Ctrl-C again leaves");
    say(&t, QUESTION, LAST); /* in between counts */
    terminal_type(&t, "\003");
    terminal_wait(&t, "Ctrl-C again leaves");
    terminal_wait(&t, "> ");
    terminal_type(&t, "\003");
    assert_int_equal(terminal_end(&t), 130);
}

static void ctrl_c_stops_the_answer(void **state)
{
    struct terminal t = CHAT(DEMO, "--temperature", "0", "--ignore-eos", "-q");
    json_t *m;
    pid_t compute;

    (void)state;
    terminal_wait(&t, "> ");
    compute = terminal_child(&t, "sluice-compute");
    assert_true(compute > 0);
    terminal_type(&t, QUESTION "\n");
    terminal_wait(&t, FIRST);
    kill(compute, SIGSTOP); /* or the answer might be over before the key is seen */
    terminal_type(&t, "\003");
    terminal_wait(&t, "(stopped)");
    kill(compute, SIGCONT);
    terminal_wait(&t, "\n> ");
    m = saved(&t);
    assert_int_equal(json_array_size(m), 2);
    assert_int_equal(strncmp(content(m, 1), FIRST, strlen(FIRST)), 0); /* what was said is kept */
    json_decref(m);
    kill(compute, SIGSTOP);
    terminal_type(&t, "And then?\n");
    terminal_peek(&t, 200);
    terminal_type(&t, "\003");
    terminal_wait(&t, "stopped before the first word");
    kill(compute, SIGCONT);
    terminal_wait(&t, "\n> ");
    m = saved(&t);
    assert_int_equal(json_array_size(m), 2); /* as if it had not been asked */
    json_decref(m);
    terminal_type(&t, "/set max-tokens 5\n");
    terminal_wait(&t, "\n> ");
    say(&t, "And then?", "(stopped after 5 tokens");
    leave(&t);
}

/* ---- commands ---- */

static void bad_commands(void **state)
{
    static const char *const lines[][2] = {
        {"/retri", "did you mean /retry?"},
        {"/xyzzy", "// begins a question with a slash"},
        {"/retry", "there is no question yet"},
        {"/undo", "there is nothing to undo"},
        {"/undo now", "/undo takes nothing behind it"},
        {"/set tmperature 1", "did you mean temperature?"},
        {"/set temperature warm", "temperature takes a number from 0 to 100, not warm"},
        {"/set top_p 2", "top-p takes a number from 0 to 1"},
        {"/set top-k 1.5", "top-k takes a whole number"},
        {"/set think loudly", "think takes show, hide or off"},
        {"/set temperature 1 2", "a name and one value"},
        {"/save", "wants the name of a file"},
        {"/save /no/such/folder/x", "cannot write /no/such/folder/x: "},
        {"/load", "wants the name of a file"},
        {"/load /no/such/file", "/no/such/file: "},
        {"/load tests", "tests is a folder"},
        {"/load README.md", "README.md: line 1"},
        {"/load tests/data/demo-model/config.json", "holds no list of messages"},
    };
    struct terminal t = chat_with_demo();

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) say(&t, lines[i][0], lines[i][1]);
    leave(&t);
}

static void commands(void **state)
{
    struct terminal t = chat_with_demo();
    const char *path;
    char line[400];
    json_t *m;

    (void)state;
    say(&t, "/help", "/quit");
    say(&t, "/system Be brief.", "the system message is set");
    say(&t, QUESTION, ".");
    say(&t, " /is this a question?", ".");
    m = saved(&t);
    assert_int_equal(json_array_size(m), 5);
    assert_string_equal(content(m, 0), "Be brief.");
    assert_string_equal(content(m, 3), " /is this a question?");
    json_decref(m);
    say(&t, "/undo", "the last question is: " QUESTION);
    say(&t, "/set temperature 0.5", "");
    say(&t, "/set temperature", "0.5");
    say(&t, "/set", "max-tokens");
    say(&t, "/clear", "all forgotten but the system message");
    m = saved(&t);
    assert_int_equal(json_array_size(m), 1);
    json_decref(m);
    path = scratch_path(scratch, "other.json");
    scratch_write(scratch, "other.json",
                  "[{\"role\":\"user\",\"content\":\"" QUESTION "\"},{\"role\":\"assistant\",\"content\":\"No.\"}]");
    snprintf(line, sizeof line, "/load %s", path);
    say(&t, line, "the last question is: " QUESTION);
    say(&t, "/set temperature 0", "");
    say(&t, "/retry", LAST);
    m = saved(&t);
    assert_int_equal(json_array_size(m), 2);
    assert_string_not_equal(content(m, 1), "No.");
    json_decref(m);
    say(&t, "/system", "there is no system message");
    terminal_type(&t, "/quit\n");
    assert_int_equal(terminal_end(&t), 0);
}

/* ---- other models ---- */

/* The demo model with another chat template; NULL: with none. */
static char *demo_with(const char *template)
{
    static const char *const files[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"};
    char *folder = scratch_make(), from[600], to[600], cwd[400];

    assert_non_null(getcwd(cwd, sizeof cwd));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(from, sizeof from, "%s/" DEMO "/%s", cwd, files[i]);
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    if (template) scratch_write(folder, "chat_template.jinja", template);
    return folder;
}

static void plain_continuation(void **state)
{
    char *folder = demo_with(NULL);
    const char *const chat[] = {folder, "--temperature", "0", "-n", "12", NULL};
    const char *const run[] = {"run", folder, "--temperature", "0", "-n", "24", "-p", "Once upon a time", NULL};
    struct process_result long_one = process_run("sluice", run, NULL, 0, 20);
    struct process_result piped = process_run("sluice", chat, "Once upon a time\n\n", 18, 20);
    struct terminal t = CHAT(folder, "--temperature", "0", "-n", "12", "-q");
    char *at;

    (void)state;
    assert_int_equal(long_one.status | piped.status, 0);
    at = strchr(piped.out, '\n'); /* twelve tokens, and after the empty line twelve more of the same text */
    assert_non_null(at);
    assert_memory_equal(long_one.out, piped.out, (size_t)(at - piped.out));
    assert_memory_equal(long_one.out + (at - piped.out), at + 1, strlen(at + 1));
    terminal_wait(&t, "> ");
    say(&t, "Once upon a time", "there was a");
    leave(&t);
    t = CHAT(folder);
    terminal_wait(&t, "no chat template");
    terminal_wait(&t, "/help lists commands");
    leave(&t);
    process_result_free(&long_one);
    process_result_free(&piped);
    scratch_remove(folder);
}

#define OPENED "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n"

static void thinking_shown(void **state)
{
    char *folder = demo_with(OPENED);
    struct terminal t = CHAT(folder, "--temperature", "0", "-n", "8", "-q");

    (void)state;
    terminal_wait(&t, "> ");
    say(&t, "Once upon a time", "(stopped after 8");
    assert_non_null(strstr(t.raw, "\033[2m"));
    assert_null(strstr(t.text, "<think>"));
    say(&t, "/set think hide", "");
    say(&t, "/retry", "(thinking)\n");
    /* off: the tag is closed before the model begins, and all is answer */
    say(&t, "/set think off", "");
    say(&t, "/retry", "(stopped after 8");
    leave(&t);
    t = terminal_start("sluice", (const char *const[]){folder, "--temperature", "0", "-n", "8", "-q", NULL},
                       (const char *const[]){state_home, home, "NO_COLOR=1", NULL});
    terminal_wait(&t, "> ");
    say(&t, "Once upon a time", "<think>\n"); /* no style to tell it apart by */
    leave(&t);
    scratch_remove(folder);
}

/* The model opens and closes its thinking itself. */
static void thinking_of_the_model(void **state)
{
    static const char *const said[] = {"A:", "<think>", "Who is there?", "</think>", "Hello, Karl.", NULL};
    char *folder = recite_make(said, NULL, "{% for m in messages %}{{ m.content }}{% endfor %}A:");
    struct terminal t = CHAT(folder, "--temperature", "0", "-q");

    (void)state;
    terminal_wait(&t, "> ");
    say(&t, "Knock", "Who is there?");
    assert_non_null(strstr(t.raw, "\033[2mWho is there?\033[0m"));
    assert_non_null(strstr(t.text, "\n\nHello, Karl.\n"));
    assert_null(strstr(t.text, "think>"));
    say(&t, "/set think hide", "");
    say(&t, "/retry", "(thinking)\nHello, Karl.");
    leave(&t);
    scratch_remove(folder);
}

/* gpt-oss thinks in a channel of its own, and answers in another. */
static void channels_of_the_model(void **state)
{
    static const char *const said[] = {"<|start|>",     "assistant",   "<|channel|>",  "analysis",  "<|message|>",
                                       "Who is there?", "<|end|>",     "<|start|>",    "assistant", "<|channel|>",
                                       "final",         "<|message|>", "Hello, Karl.", NULL};
    static const char template[] = "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' and m.thinking %}"
                                   "({{ m.thinking }}){% endif %}{% endfor %}<|start|>assistant";
    char *folder = recite_make(said, "<|end|>", template);
    const char *const piped[] = {"chat", folder, "--temperature", "0", "--think", "hide", NULL};
    struct process_result r = process_run("sluice", piped, "Knock\n", 6, 20);
    struct terminal t = CHAT(folder, "--temperature", "0", "-q");
    json_t *m;

    (void)state;
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, "Hello, Karl.\n");
    terminal_wait(&t, "> ");
    say(&t, "Knock", "Who is there?");
    assert_non_null(strstr(t.raw, "\033[2mWho is there?\033[0m"));
    assert_non_null(strstr(t.text, "\n\nHello, Karl.\n"));
    assert_null(strstr(t.text, "analysis"));
    assert_null(strstr(t.text, "<|"));
    m = saved(&t);
    assert_string_equal(content(m, 1), "Hello, Karl.");
    assert_string_equal(json_string_value(json_object_get(json_array_get(m, 1), "thinking")), "Who is there?");
    json_decref(m);
    leave(&t);
    process_result_free(&r);
    scratch_remove(folder);
}

/* words words, and one that was added: special, or not, or none. */
static void write_tokenizer(const char *folder, int words, const char *special)
{
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);

    fputs("{\"added_tokens\":[", f);
    if (special)
        fprintf(f,
                "{\"id\":%d,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                "\"normalized\":false,\"special\":%s}",
                words, special);
    fputs("],\"model\":{\"type\":\"BPE\",\"merges\":[\"a b\"],\"vocab\":{\"a\":0,\"b\":1,\"ab\":2", f);
    for (int i = 3; i < words; i++) fprintf(f, ",\"w%d\":%d", i, i);
    fputs("}}}", f);
    fclose(f);
    unlink(scratch_path(folder, "tokenizer.json"));
    scratch_write(folder, "tokenizer.json", text);
    free(text);
}

/* The demo's weights with another tokenizer's number of tokens. */
static void vocabularies_of_two_models(void **state)
{
    static const struct {
        int words;
        const char *special, *says; /* NULL: it runs */
    } cases[] = {
        {768, NULL, NULL},
        {750, NULL, NULL},   /* rows that fill up */
        {768, "true", NULL}, /* one that the model has no row for, and that no text uses */
        {768, "false", NULL},
        {900, NULL, "the tokenizer has 900 tokens, and the model's vocabulary 768"},
        {600, NULL, "the tokenizer has 600 tokens, and the model's vocabulary 768"},
    };
    char *folder = demo_with(NULL);
    const char *const run[] = {"run", folder, "--temperature", "0", "-n", "2", "-q", "-p", "a", NULL};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct process_result r;

        write_tokenizer(folder, cases[i].words, cases[i].special);
        r = process_run("sluice", run, NULL, 0, 20);
        assert_int_equal(r.status, cases[i].says ? 1 : 0);
        if (cases[i].says) assert_non_null(strstr(r.err, cases[i].says));
        process_result_free(&r);
    }
    scratch_remove(folder);
}

static void narrow_and_resized(void **state)
{
    struct terminal t = chat_with_demo();
    struct winsize size = {.ws_row = 10, .ws_col = 16};
    json_t *m;

    (void)state;
    terminal_type(&t, "Please tell me ");
    terminal_wait(&t, "tell me");
    assert_int_equal(ioctl(t.fd, TIOCSWINSZ, &size), 0);
    terminal_peek(&t, 200);
    terminal_type(&t, "about Karl and the bell.\n");
    terminal_wait(&t, "bell.\n");
    terminal_wait(&t, LAST);
    terminal_wait(&t, "\n> ");
    m = saved(&t);
    assert_string_equal(content(m, 0), QUESTION);
    json_decref(m);
    leave(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_new_tokens),
        cmocka_unit_test(pipe_agrees),
        cmocka_unit_test(paste),
        cmocka_unit_test(editing),
        cmocka_unit_test(history_is_kept),
        cmocka_unit_test(ctrl_c_at_the_prompt),
        cmocka_unit_test(ctrl_c_stops_the_answer),
        cmocka_unit_test(bad_commands),
        cmocka_unit_test(commands),
        cmocka_unit_test(plain_continuation),
        cmocka_unit_test(thinking_shown),
        cmocka_unit_test(thinking_of_the_model),
        cmocka_unit_test(channels_of_the_model),
        cmocka_unit_test(vocabularies_of_two_models),
        cmocka_unit_test(narrow_and_resized),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
