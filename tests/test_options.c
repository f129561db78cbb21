/* The option table: parsing, refusing, suggesting; help, man page and completions list all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "coordinator/cli/help.h"
#include "coordinator/cli/options.h"
#include "coordinator/text/suggest.h"
#include "coordinator/cli/values.h"

#define ARGS_MAX 48

static struct options o;
static struct error e;
static char *args[ARGS_MAX + 1];

static int parse_list(const char *const *word)
{
    int n = 0;

    args[n++] = (char *)"sluice";
    for (; *word; word++) {
        assert_true(n < ARGS_MAX);
        args[n++] = (char *)*word;
    }
    args[n] = NULL;
    options_free(&o);
    memset(&e, 0, sizeof e);
    return options_parse(&o, n, args, &e);
}

#define PARSE(...)        parse_list((const char *const[]){__VA_ARGS__, NULL})
#define ACCEPT(...)       assert_accepted(PARSE(__VA_ARGS__), __LINE__)
#define REFUSE(text, ...) assert_refused(PARSE(__VA_ARGS__), text, __LINE__)

static void assert_accepted(int rc, int line)
{
    if (rc) fail_msg("line %d: refused: %s", line, e.text);
}

static void assert_refused(int rc, const char *text, int line)
{
    if (rc != -EINVAL) fail_msg("line %d: returned %d", line, rc);
    if (!strstr(e.text, text)) fail_msg("line %d: the message should say '%s': %s", line, text, e.text);
}

/* ---- commands and operands ------------------------------------------------------------------------------------- */

static void defaults(void **state)
{
    (void)state;
    ACCEPT("run", "M");
    assert_int_equal(o.command, COMMAND_RUN);
    assert_string_equal(o.model, "M");
    assert_true(isnan(o.temperature) && isnan(o.top_p) && isnan(o.min_p) && isnan(o.repeat_penalty));
    assert_int_equal(o.max_tokens, -1);
    assert_int_equal(o.top_k, -1);
    assert_false(o.has_seed || o.json || o.quiet || o.chat || o.ignore_eos);
    assert_true(o.host_memory == UINT64_MAX && o.device_memory == UINT64_MAX);
    assert_int_equal(o.backend, BACKEND_AUTO);
    assert_int_equal(o.kv_form, FORM_F32);
    assert_int_equal(o.slot_bytes + o.io_block, 0);
    assert_int_equal(o.threads + o.context + o.batch_tokens + o.reader_depth + o.transfer_depth + o.io_depth, 0);
    assert_null(o.prompt);
    assert_null(o.fault);
}

static void command_words(void **state)
{
    (void)state;
    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++)
        assert_int_equal(option_command_by_name(option_commands[c].name), c);
    ACCEPT("/no/such/folder");
    assert_int_equal(o.command, COMMAND_CHAT);
    assert_string_equal(o.model, "/no/such/folder");
    ACCEPT("tests", "--temperature", "0"); /* a folder that there is */
    assert_int_equal(o.command, COMMAND_CHAT);
    ACCEPT("Llama-3.1-405B"); /* is none, but looks like nothing else: the chat will say so */
    assert_int_equal(o.command, COMMAND_CHAT);
    ACCEPT("--json", "run", "M", "-q"); /* flags go anywhere */
    assert_true(o.command == COMMAND_RUN && o.json && o.quiet);
    ACCEPT("--host-memory", "4G", "plan", "M"); /* the value is not taken for the command */
    assert_true(o.command == COMMAND_PLAN && o.host_memory == 4000000000);
    REFUSE("did you mean 'tokenize'", "tokenise", "M");
    REFUSE("did you mean 'tokenize'", "tokenise");
    REFUSE("did you mean 'run'", "rnu", "M");
    REFUSE("did you mean 'detokenize'", "detok", "M");
    REFUSE("unknown command 'frobnicate'", "frobnicate", "M");
    REFUSE("MODEL is empty", "");
    REFUSE("give a model folder, a GGUF file or a command", "--json");
}

static void no_arguments(void **state)
{
    char *argv[] = {(char *)"sluice", NULL};

    (void)state;
    options_free(&o);
    assert_int_equal(options_parse(&o, 1, argv, &e), -EINVAL);
    assert_int_equal(options_parse(&o, 0, argv, &e), -EINVAL); /* as execve allows */
}

static void operands(void **state)
{
    (void)state;
    REFUSE("`sluice run` needs MODEL, a path", "run");
    REFUSE("one argument too many for `sluice run`", "run", "M", "Once upon a time");
    REFUSE("MODEL is empty", "run", "");
    ACCEPT("profile", "reader", "M");
    assert_string_equal(o.profile_what, "reader");
    assert_string_equal(o.model, "M");
    REFUSE("needs reader|transfer|compute|pipeline", "profile");
    REFUSE("needs MODEL", "profile", "reader");
    REFUSE("did you mean 'reader'", "profile", "raeder", "M");
    REFUSE("must be one of reader|transfer", "profile", "everything", "M");
    ACCEPT("doctor");
    assert_null(o.model);
    ACCEPT("doctor", "M");
    assert_string_equal(o.model, "M");
    ACCEPT("trace", "t.json", "--svg", "t.svg");
    assert_string_equal(o.trace, "t.json");
    assert_string_equal(o.svg, "t.svg");
    ACCEPT("completion", "zsh");
    assert_string_equal(o.shell, "zsh");
    REFUSE("bash|zsh|fish", "completion", "tcsh");
    ACCEPT("run", "--", "-M"); /* a folder with such a name */
    assert_string_equal(o.model, "-M");
    ACCEPT("--", "run", "M");
    assert_int_equal(o.command, COMMAND_RUN);
    REFUSE("one argument too many", "run", "--", "M", "--json");
}

static void help_words(void **state)
{
    (void)state;
    ACCEPT("--help");
    assert_true(o.help && o.command == COMMAND_NONE);
    ACCEPT("logits", "--help"); /* nothing else is asked for then */
    assert_true(o.help && o.command == COMMAND_LOGITS);
    ACCEPT("help", "logits");
    assert_true(o.command == COMMAND_HELP && o.help_topic == COMMAND_LOGITS);
    ACCEPT("help");
    assert_int_equal(o.help_topic, COMMAND_NONE);
    REFUSE("did you mean 'logits'", "help", "logit");
    ACCEPT("-V");
    assert_true(o.version);
    ACCEPT("--man-page");
    assert_true(o.man_page);
    REFUSE("give it without a command", "run", "M", "--man-page");
}

/* ---- flags ----------------------------------------------------------------------------------------------------- */

static void fields(void **state)
{
    (void)state;
    ACCEPT("run", "M", "-p", "Once", "-n", "7", "-t", "0.5", "--top-k", "40", "--top-p=0.9", "--min-p", "0.05",
           "--seed", "18446744073709551615", "--stop", "a", "--stop=b=c", "--ignore-eos", "--chat", "--system", "S");
    assert_string_equal(o.prompt, "Once");
    assert_int_equal(o.max_tokens, 7);
    assert_int_equal(o.top_k, 40);
    assert_true(o.temperature == 0.5 && o.top_p == 0.9 && o.min_p == 0.05);
    assert_true(o.has_seed && o.seed == UINT64_MAX);
    assert_int_equal(o.stops, 2);
    assert_string_equal(o.stop[0], "a");
    assert_string_equal(o.stop[1], "b=c");
    assert_true(o.ignore_eos && o.chat);
    assert_string_equal(o.system, "S");
    ACCEPT("plan", "M", "--backend", "cuda", "-d1", "-j", "2", "--host-memory=1.5GiB", "--device-memory", "0",
           "--reader-depth", "8", "--transfer-depth", "1", "--slot-mib", "0.0625", "--io-depth", "64", "--io-block",
           "1Mi", "--io", "buffered", "--io-engine", "threads");
    assert_int_equal(o.backend, BACKEND_CUDA);
    assert_int_equal(o.device, 1);
    assert_int_equal(o.threads, 2);
    assert_true(o.host_memory == 1610612736 && o.device_memory == 0);
    assert_int_equal(o.reader_depth * 10 + o.transfer_depth, 81);
    assert_int_equal(o.slot_bytes, 65536);
    assert_int_equal(o.io_block, 1 << 20);
    assert_int_equal(o.io_depth, 64);
    assert_int_equal(o.io, PLAN_IO_BUFFERED);
    assert_int_equal(o.io_engine, ENGINE_THREADS);
    ACCEPT("template", "M", "-f", "m.json", "--tools", "t.json", "--var", "a=1", "--var", "b==", "--date",
           "2025-07-10T12:00:00");
    assert_string_equal(o.messages_file, "m.json");
    assert_null(o.prompt_file);
    assert_string_equal(o.tools_file, "t.json");
    assert_int_equal(o.vars, 2);
    assert_string_equal(o.var[1], "b==");
    ACCEPT("run", "M", "-f", "story.txt", "--think", "off", "--kv-type", "bf16", "--chunk", "64", "-c", "2048");
    assert_string_equal(o.prompt_file, "story.txt");
    assert_int_equal(o.think, THINK_OFF);
    assert_int_equal(o.kv_form, FORM_BF16);
    assert_int_equal(o.batch_tokens, 64);
    assert_int_equal(o.context, 2048);
    ACCEPT("logits", "M", "--tokens", "1 2 3", "--positions", "0,2", "-o", "x.f32", "--trace", "t.json");
    assert_string_equal(o.tokens, "1 2 3");
    assert_string_equal(o.out, "x.f32");
    assert_string_equal(o.trace, "t.json");
}

static void ways_to_write(void **state)
{
    (void)state;
    ACCEPT("run", "M", "-qn5", "--json");
    assert_true(o.quiet && o.json && o.max_tokens == 5);
    ACCEPT("run", "M", "-vv");
    assert_int_equal(o.verbose, 2);
    ACCEPT("run", "M", "-n5", "-n", "6");
    assert_int_equal(o.max_tokens, 6); /* the last one counts */
    ACCEPT("run", "M", "-p", "--json");
    assert_string_equal(o.prompt, "--json"); /* what stands behind a flag is its value, whatever it looks like */
    assert_false(o.json);
    ACCEPT("run", "M", "--prompt=");
    assert_string_equal(o.prompt, "");
    ACCEPT("run", "M", "--threads", "3", "--threads", "auto", "--backend", "cpu", "--backend=auto", "--host-memory",
           "1G", "--host-memory", "auto", "--slot-mib", "2", "--slot-mib", "auto");
    assert_true(!o.threads && o.backend == BACKEND_AUTO && o.host_memory == UINT64_MAX && !o.slot_bytes);
    ACCEPT("run", "-", "-n", "0");
    assert_string_equal(o.model, "-");
}

static void ranges(void **state)
{
    (void)state;
    REFUSE("from 0 to 1", "run", "M", "--top-p", "1.01");
    REFUSE("from 0 to 1", "run", "M", "--min-p", "-0.1");
    REFUSE("from 0 to 100", "run", "M", "--temperature", "-1");
    REFUSE("from 0.01", "run", "M", "--repeat-penalty", "0");
    REFUSE("from 0", "run", "M", "-n", "-1");
    REFUSE("from 0", "run", "M", "-n", "99999999999999999999");
    REFUSE("not a whole number", "run", "M", "-n", "1.5");
    REFUSE("not a whole number", "run", "M", "-n", "");
    REFUSE("not a number", "run", "M", "-t", "warm");
    REFUSE("not a whole number", "run", "M", "-t", "0", "--device", "auto");
    REFUSE("from 1", "run", "M", "--threads", "0");
    REFUSE("from 1", "run", "M", "--reader-depth=0");
    REFUSE("from 1", "run", "M", "--io-depth=0");
    REFUSE("from 0.00390625", "run", "M", "--slot-mib", "0.001");
    REFUSE("from 4.10 kB", "run", "M", "--io-block", "100");
    REFUSE("not a size", "run", "M", "--host-memory", "lots");
    REFUSE("must be from", "run", "M", "--host-memory", "99999999999T");
    REFUSE("one of auto|cpu|cuda", "run", "M", "--backend", "gpu");
    REFUSE("one of show|hide|off", "run", "M", "--think", "");
    REFUSE("one of f32|bf16|f16", "run", "M", "--kv-type", "f3");
    REFUSE("less than 2^64", "run", "M", "--seed", "18446744073709551616");
    REFUSE("not a whole number", "run", "M", "--seed", "-1");
    REFUSE("NAME=VALUE", "run", "M", "--var", "novalue");
    REFUSE("NAME=VALUE", "run", "M", "--var", "=x");
    REFUSE("not empty", "run", "M", "--stop", "");
    REFUSE("name of a file", "run", "M", "--trace", "");
    REFUSE("not a date", "template", "M", "--date", "yesterday");
    REFUSE("'b' at byte 2", "logits", "M", "--out", "x", "--tokens", "1 b");
    REFUSE("at least one", "logits", "M", "--out", "x", "--tokens", " ");
}

static void unknown_flags(void **state)
{
    (void)state;
    REFUSE("did you mean --temperature", "run", "M", "--tempurature", "0");
    REFUSE("did you mean --temperature", "run", "M", "--temp=0");
    REFUSE("did you mean --max-tokens", "run", "M", "--max-token", "3");
    REFUSE("did you mean --json", "run", "M", "--jsno");
    REFUSE("did you mean --svg", "run", "M", "--svgg");
    REFUSE("`sluice run --help` lists", "run", "M", "--frobnicate");
    REFUSE("`sluice run --help` lists", "run", "M", "-Z");
    REFUSE("unknown flag --", "run", "M", "--=3");
    REFUSE("it belongs to trace", "run", "M", "--svg", "x");
    REFUSE("--trace", "profile", "pipeline", "M", "--trace", "t.json");
    REFUSE("-t is no flag of `sluice plan`; it belongs to chat, run", "plan", "M", "-t", "0");
    REFUSE("--prompt needs a value", "run", "M", "--prompt");
    REFUSE("-n needs a value: -n N", "run", "M", "-n");
    REFUSE("--json takes no value", "run", "M", "--json=yes");
}

static void together(void **state)
{
    (void)state;
    REFUSE("needs --tokens", "logits", "M", "--out", "x");
    REFUSE("needs --out", "logits", "M", "--tokens", "1");
    REFUSE("needs --svg", "trace", "t.json");
    REFUSE("`sluice batch` needs --file FILE", "batch", "M", "-o", "b");
    REFUSE("`sluice batch` needs --out FILE", "batch", "M", "-f", "a");
    REFUSE("--prompt and --file", "run", "M", "-p", "a", "-f", "b");
    REFUSE("--quiet and --verbose", "run", "M", "-qv");
}

/* ---- the whole table ------------------------------------------------------------------------------------------- */

/* Words that make a command complete. */
static const char *const *complete(enum option_command c)
{
    static const char *const profile[] = {"profile", "reader", "M", NULL};
    static const char *const logits[] = {"logits", "M", "--tokens", "1", "--out", "x", NULL};
    static const char *const batch[] = {"batch", "M", "-f", "a", "-o", "b", NULL};
    static const char *const pack[] = {"pack", "M", "o", NULL};
    static const char *const unpack[] = {"unpack", "M", "o", NULL};
    static const char *const trace[] = {"trace", "t", "--svg", "x", NULL};
    static const char *const completion[] = {"completion", "bash", NULL};
    static const char *const help[] = {"help", NULL};
    static const char *plain[] = {NULL, "M", NULL};

    switch (c) {
    case COMMAND_PROFILE: return profile;
    case COMMAND_LOGITS: return logits;
    case COMMAND_BATCH: return batch;
    case COMMAND_PACK: return pack;
    case COMMAND_UNPACK: return unpack;
    case COMMAND_TRACE: return trace;
    case COMMAND_COMPLETION: return completion;
    case COMMAND_HELP: return help;
    default: plain[0] = option_commands[c].name; return plain;
    }
}

static const char *a_value(const struct option_flag *f)
{
    static char word[64];

    switch (f->kind) {
    case KIND_DATE: return "2025-07-10T12:00:00";
    case KIND_PAIR: return "a=b";
    case KIND_SIZE: return "2Mi";
    case KIND_CHOICE: snprintf(word, sizeof word, "%.*s", (int)strcspn(f->argument, "|"), f->argument); return word;
    default: return "1";
    }
}

/* The command with one more flag; written as --flag value, --flag=value or -f value. */
static int parse_with(enum option_command c, const struct option_flag *f, int way)
{
    const struct option_flag *own = option_by_name(c, f->name, strlen(f->name));
    const char *word[ARGS_MAX], *value = a_value(own);
    char text[128];
    size_t n = 0;

    for (const char *const *w = complete(c); *w; w++) word[n++] = *w;
    if (way == 2)
        snprintf(text, sizeof text, "-%c", f->letter);
    else
        snprintf(text, sizeof text, "--%s%s%s", f->name, way == 1 && f->argument ? "=" : "",
                 way == 1 && f->argument ? value : "");
    word[n++] = text;
    if (way != 1 && f->argument) word[n++] = value;
    if (c == COMMAND_RUN && !strcmp(f->name, "parallel")) word[n++] = "--prompts=f"; /* of use with it alone */
    if (option_applies(f, c) && !strcmp(f->name, "draft-memory")) word[n++] = "--draft=m";
    word[n] = NULL;
    return parse_list(word);
}

static bool owned(enum option_command c, const struct option_flag *f)
{
    return option_applies(option_by_name(c, f->name, strlen(f->name)), c);
}

static void every_flag_everywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_flag_count; i++) {
        const struct option_flag *f = &option_flags[i];
        for (int c = COMMAND_NONE + 1; c < COMMANDS; c++) {
            for (int way = 0; way < 3; way++) {
                int rc, want = owned((enum option_command)c, f) ? 0 : -EINVAL;
                if (way == 2 && !f->letter) continue;
                rc = parse_with((enum option_command)c, f, way);
                if (rc != want) fail_msg("%s --%s (way %d): %d %s", option_commands[c].name, f->name, way, rc, e.text);
                if (rc && !strstr(e.text, "is no flag of")) fail_msg("--%s: %s", f->name, e.text);
            }
        }
    }
}

/* The first pass over argv does not know the command yet; it may rely on this. */
static void same_names_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_flag_count; i++) {
        const struct option_flag *a = &option_flags[i];
        for (size_t j = i + 1; j < option_flag_count; j++) {
            const struct option_flag *b = &option_flags[j];
            bool same_name = !strcmp(a->name, b->name);
            if (same_name) {
                assert_int_equal(a->letter, b->letter);
                if (strcmp(a->name, "to")) assert_int_equal(a->kind, b->kind); /* pack --to q4, share --to DIR */
                assert_true((a->commands & b->commands) == 0);
            } else if (a->letter && a->letter == b->letter) {
                fail_msg("-%c is both --%s and --%s", a->letter, a->name, b->name);
            }
        }
    }
}

static void table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_flag_count; i++) {
        const struct option_flag *f = &option_flags[i];
        bool plain = f->kind == KIND_FLAG || f->kind == KIND_COUNT;
        assert_true(plain == !f->argument);
        assert_true(f->commands != 0);
        assert_true(f->help && *f->help);
        if (f->kind == KIND_INT) assert_true(f->min < f->max && f->max <= INT32_MAX);
        if (f->kind == KIND_SEED || f->kind == KIND_LIST || f->kind == KIND_PAIR) assert_true(f->field2 != 0);
    }
}

/* ---- the table told -------------------------------------------------------------------------------------------- */

static char *told(void (*tell)(FILE *out, const void *arg), const void *arg)
{
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);

    assert_non_null(f);
    tell(f, arg);
    assert_int_equal(fclose(f), 0);
    return text;
}

struct help_request {
    enum option_command c;
    int columns;
};

static void tell_help(FILE *out, const void *arg)
{
    const struct help_request *r = arg;

    help_print(out, r->c, r->columns, false);
}

static void tell_manual(FILE *out, const void *arg)
{
    (void)arg;
    manual_print(out);
}

static void tell_completion(FILE *out, const void *arg)
{
    completion_print(out, arg);
}

static void assert_lines_fit(const char *text, size_t columns)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        if (n > columns) fail_msg("%zu columns: %.*s", n, (int)n, text);
        if (n && text[n - 1] == ' ') fail_msg("a blank at the end: %.*s", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static void help_lists_all(void **state)
{
    char want[64];

    (void)state;
    for (int c = COMMAND_NONE; c < COMMANDS; c++) {
        struct help_request r = {.c = (enum option_command)c, .columns = 100};
        char *text = told(tell_help, &r);
        assert_lines_fit(text, 100);
        for (size_t i = 0; i < option_flag_count; i++) {
            const struct option_flag *f = &option_flags[i];
            snprintf(want, sizeof want, " --%s%s", f->name, f->argument ? " " : "\n");
            want[strlen(want) - !f->argument] = 0;
            bool there = strstr(text, want) != NULL, due = owned(r.c, f);
            if (due && !there) fail_msg("help of '%s' lacks --%s", option_commands[c].name, f->name);
        }
        free(text);
        r.columns = 60;
        text = told(tell_help, &r);
        assert_lines_fit(text, 60);
        free(text);
    }
}

static void manual_lists_all(void **state)
{
    char *text = told(tell_manual, NULL), want[128], *w;

    (void)state;
    assert_non_null(strstr(text, ".TH SLUICE 1"));
    assert_non_null(strstr(text, "\n.SH EXIT STATUS\n"));
    for (size_t i = 0; i < option_flag_count; i++) {
        w = want + snprintf(want, sizeof want, "\\-\\-");
        for (const char *p = option_flags[i].name; *p; p++) w += snprintf(w, 8, *p == '-' ? "\\-" : "%c", *p);
        snprintf(w, 8, "\\fR");
        if (!strstr(text, want)) fail_msg("the man page lacks %s", want);
    }
    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++) {
        snprintf(want, sizeof want, ".TP\n\\fB%s\\fR", option_commands[c].name);
        assert_non_null(strstr(text, want));
    }
    free(text);
}

static void completions_list_all(void **state)
{
    static const char *const shell[] = {"bash", "zsh", "fish"}, *const flag[] = {"--%s", "--%s", " -l %s "};
    char want[64];

    (void)state;
    for (size_t s = 0; s < 3; s++) {
        char *text = told(tell_completion, shell[s]);
        for (size_t i = 0; i < option_flag_count; i++) {
            snprintf(want, sizeof want, s == 2 ? flag[2] : flag[0], option_flags[i].name);
            if (!strstr(text, want)) fail_msg("%s lacks --%s", shell[s], option_flags[i].name);
        }
        for (int c = COMMAND_NONE + 1; c < COMMANDS; c++)
            if (!strstr(text, option_commands[c].name)) fail_msg("%s lacks %s", shell[s], option_commands[c].name);
        free(text);
    }
}

/* Each script must at least be one to its shell, where that shell is there. */
static void completions_are_scripts(void **state)
{
    static const char *const shell[] = {"bash", "zsh", "fish"};
    char command[128];

    (void)state;
    for (size_t s = 0; s < 3; s++) {
        char *text = told(tell_completion, shell[s]);
        FILE *f;
        snprintf(command, sizeof command, "command -v %s >/dev/null || exec cat >/dev/null; exec %s -n /dev/stdin",
                 shell[s], shell[s]);
        f = popen(command, "w");
        assert_non_null(f);
        fputs(text, f);
        if (pclose(f)) fail_msg("%s does not take its script", shell[s]);
        free(text);
    }
}

static void distances(void **state)
{
    char name[80];

    (void)state;
    assert_int_equal(suggest_distance("run", "run"), 0);
    assert_int_equal(suggest_distance("rnu", "run"), 1);
    assert_int_equal(suggest_distance("", "run"), 3);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(suggest_distance(name, "a"), sizeof name - 1);
    assert_null(suggest_nearer("frobnicate", NULL, "run"));
    assert_string_equal(suggest_nearer("topk", NULL, "top-k"), "top-k");
}

static int free_options(void **state)
{
    (void)state;
    options_free(&o);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(command_words),
        cmocka_unit_test(no_arguments),
        cmocka_unit_test(operands),
        cmocka_unit_test(help_words),
        cmocka_unit_test(fields),
        cmocka_unit_test(ways_to_write),
        cmocka_unit_test(ranges),
        cmocka_unit_test(unknown_flags),
        cmocka_unit_test(together),
        cmocka_unit_test(every_flag_everywhere),
        cmocka_unit_test(same_names_agree),
        cmocka_unit_test(table_is_sound),
        cmocka_unit_test(help_lists_all),
        cmocka_unit_test(manual_lists_all),
        cmocka_unit_test(completions_list_all),
        cmocka_unit_test(completions_are_scripts),
        cmocka_unit_test(distances),
    };

    return cmocka_run_group_tests(tests, NULL, free_options);
}
