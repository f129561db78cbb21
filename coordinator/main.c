/* sluice: reads the command line, runs one command, and says how it ended. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "coordinator/cli/commands.h"
#include "coordinator/cli/help.h"
#include "coordinator/cli/options.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/hosts/held.h"
#include "coordinator/source/source.h"
#include "coordinator/view/terminal.h"
#include "proto/base/log.h"
#include "proto/base/printable.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

typedef int command_fn(const struct options *o, struct error *e);

static command_fn *const commands[COMMANDS] = {
    [COMMAND_CHAT] = command_chat,         [COMMAND_RUN] = command_run,
    [COMMAND_PLAN] = command_plan,         [COMMAND_PROFILE] = command_profile,
    [COMMAND_LOGITS] = command_logits,     [COMMAND_TEMPLATE] = command_template,
    [COMMAND_TOKENIZE] = command_tokenize, [COMMAND_DETOKENIZE] = command_detokenize,
    [COMMAND_DOCTOR] = command_doctor,     [COMMAND_VERIFY] = command_verify,
    [COMMAND_TRACE] = command_trace,       [COMMAND_COMPLETION] = command_completion,
    [COMMAND_PACK] = command_pack,         [COMMAND_UNPACK] = command_unpack,
    [COMMAND_SHARE] = command_share,       [COMMAND_HELP] = command_help,
    [COMMAND_SERVE] = command_serve,       [COMMAND_BATCH] = command_batch,
};

static void setup_log(const struct options *o)
{
    enum log_level level = LOG_WARN;

    if (o->quiet) level = LOG_QUIET;
    if (o->verbose) level = o->verbose > 1 ? LOG_DEBUG : LOG_INFO;
    log_setup("sluice", level);
}

/* One line on standard error, whatever stands in the names that it tells. */
static void print_error(struct error *e, int rc)
{
    char line[sizeof e->text * PRINTABLE_GROWTH];

    if (!e->text[0]) error_set(e, -rc, "%s", error_name(-rc));
    printable_line(line, sizeof line, e->text);
    fprintf(stderr, "sluice: %s\n", line);
}

static int version(void)
{
    puts("sluice " SLUICE_VERSION);
    return 0;
}

static int manual(void)
{
    manual_print(stdout);
    return 0;
}

/* A folder of one machine's share (coordinator/hosts/held.h) has holes where the rest would be: only who runs over several
 * machines, or reads no weights, may open it. */
static int refuse_share(const struct options *o, struct error *e)
{
    const uint32_t never = COMMAND_BIT(COMMAND_PROFILE) | COMMAND_BIT(COMMAND_VERIFY) | COMMAND_BIT(COMMAND_PACK) |
                           COMMAND_BIT(COMMAND_UNPACK) | COMMAND_BIT(COMMAND_SHARE),
                   over = COMMAND_BIT(COMMAND_CHAT) | COMMAND_BIT(COMMAND_RUN) | COMMAND_BIT(COMMAND_SERVE) |
                          COMMAND_BIT(COMMAND_BATCH) | COMMAND_BIT(COMMAND_LOGITS);
    uint32_t command = COMMAND_BIT(o->command);

    if (!(command & never) && (!(command & over) || o->hosts)) return 0;
    if (!held_is_share(o->model)) return 0;
    return error_set(
        e, EINVAL,
        "%s: holds one machine's share of a model (`sluice share`): run it with the --hosts that it was made "
        "for, or take the whole model",
        o->model);
}

/* Commands of a model are given its source. What is wrong with a folder is a finding of doctor's own. */
static int run(struct options *o, struct error *e)
{
    struct source *source = NULL;
    int rc = o->model ? source_open(&source, o->model, e) : 0;

    if (rc && o->command != COMMAND_DOCTOR) return rc;
    if (source) {
        if (strcmp(source_path(source), o->model))
            log_info("%s: the model is taken from %s", o->model, source_path(source));
        o->model = source_path(source);
        o->source = source;
        rc = refuse_share(o, e);
        if (!rc && o->pre) rc = source_set_split(source, o->pre, e);
    }
    if (!rc || !source) rc = commands[o->command](o, e);
    o->source = NULL;
    o->model = NULL;
    source_close(source);
    return rc;
}

static int dispatch(struct options *o, struct error *e)
{
    if (o->help) {
        o->help_topic = o->command;
        o->command = COMMAND_HELP;
    }
    if (o->version) return version();
    if (o->man_page) return manual();
    if (!commands[o->command])
        return error_set(e, ENOSYS, "`sluice %s` is not in this build", option_commands[o->command].name);
    return run(o, e);
}

/* A full disk or a closed pipe behind standard output is a failure too. */
static int flush_output(struct error *e)
{
    int failed = ferror(stdout);

    errno = EIO;
    if (fflush(stdout) == 0 && !failed) return 0;
    /* What failed before has lost its reason: one more byte behind what is broken anyway meets it again. */
    if (failed && errno == EIO && write(STDOUT_FILENO, "\n", 1) == 1) errno = EIO;
    if (interrupted()) return error_set(e, ECANCELED, "interrupted");
    return error_set(e, errno, "cannot write to standard output: %s", error_name(errno));
}

/* A standard descriptor that is closed would be given to the next file or segment, and text would be written into that. A
 * place-holder of the wrong direction keeps its number, and every use of it an error. */
static void hold_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            _exit(EXIT_FAILED);
}

int main(int argc, char **argv)
{
    struct options o;
    struct error e = {0};
    int rc, status = EXIT_DONE;

    interrupt_begin();
    hold_standard_descriptors();
    if (terminal_streams()) return EXIT_FAILED;
    rc = options_parse(&o, argc, argv, &e);
    if (rc) {
        print_error(&e, rc);
        options_free(&o);
        return rc == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
    }
    setup_log(&o);
    rc = dispatch(&o, &e);
    if (!rc) rc = flush_output(&e);
    if (rc == -ECANCELED)
        status = EXIT_INTERRUPTED;
    else if (rc)
        status = EXIT_FAILED;
    if (status == EXIT_FAILED) print_error(&e, rc);
    options_free(&o);
    return status;
}
