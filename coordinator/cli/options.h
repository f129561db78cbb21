/* The command line, from one table.
 *
 * options_table.c lists every command and every flag once. The parser, --help, the man page and the shell completions
 * are all made from that list, so they cannot contradict each other.
 *
 *   argv --options_parse()--> struct options --main's table--> command_NAME(options, error)
 *
 * Strings in struct options point into argv and are not owned, so argv must outlive it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

enum option_command {
    COMMAND_NONE, /* --help, --version and --man-page without a command */
    COMMAND_CHAT,
    COMMAND_RUN,
    COMMAND_SERVE,
    COMMAND_BATCH,
    COMMAND_PLAN,
    COMMAND_PROFILE,
    COMMAND_LOGITS,
    COMMAND_TOKENIZE,
    COMMAND_DETOKENIZE,
    COMMAND_TEMPLATE,
    COMMAND_VERIFY,
    COMMAND_PACK,
    COMMAND_UNPACK,
    COMMAND_SHARE,
    COMMAND_DOCTOR,
    COMMAND_TRACE,
    COMMAND_COMPLETION,
    COMMAND_HELP,
    COMMANDS
};

#define BACKEND_AUTO (-1) /* beside enum plan_backend: choose by the machine */
enum option_mps { OPTION_MPS_AUTO, OPTION_MPS_ON, OPTION_MPS_OFF };
#define OPTION_SPECULATE_AUTO (-1)
/* In the order of the words of --to; behind the first in that of enum pack_form. */
enum option_pack { PACK_LOSSLESS, PACK_Q8, PACK_Q6, PACK_Q5, PACK_Q4, PACK_BF16, PACK_F16, PACK_F32, PACK_AUTO };
enum option_switch { OPTION_ON, OPTION_OFF };
enum option_think { THINK_SHOW, THINK_HIDE, THINK_OFF };

struct source;

struct options {
    enum option_command command;
    enum option_command help_topic; /* COMMAND_HELP: whose help; COMMAND_NONE: the general one */
    bool help, version, man_page;   /* --help, --version, --man-page were given */
    bool quiet;                     /* no progress, no messages but errors */
    int verbose;                    /* how often -v was given */
    bool json;                      /* results on stdout as one JSON object */

    /* Operands. Only those of the command are set, the others are NULL. */
    const char *model;           /* folder */
    const struct source *source; /* of the model, where it is open already; model is then where it was found */
    double seconds;              /* profile: about how long to measure */
    const char *profile_what;    /* "reader", "transfer", "compute" or "pipeline" */
    const char *shell;           /* completion: "bash", "zsh" or "fish" */

    /* What goes in. */
    const char *prompt, *prompt_file; /* at most one is set; neither: standard input. Batch: the requests */
    bool chat;                        /* run: wrap the prompt with the chat template */
    const char *prompts;              /* run: a file of prompts, one a line, or NULL */
    int parallel;                     /* answers at once; 0: automatic */
    const char *system;               /* system message, or NULL */
    const char *messages_file;        /* template; NULL: standard input */
    const char *tools_file;           /* JSON list of tools, or NULL */
    char **var;                       /* "name=value" each, the array is owned */
    size_t vars;
    const char *template_name; /* of the model's chat templates; NULL: the default one */
    const char *pre;           /* how a GGUF file's tokenizer splits texts; NULL: as the file says */
    const char *date;          /* YYYY-MM-DDTHH:MM:SS, checked (value_date() reads it), or NULL: now */
    enum option_think think;
    bool no_special;       /* tokenize: add no BOS and the like; detokenize: leave special tokens out */
    const char *tokens;    /* logits: ids, checked (value_numbers() reads them) */
    const char *positions; /* logits: which of them, checked; NULL: all */

    /* Generation. Not given: -1, NaN, !has_seed; then generation_config.json decides, or the program. */
    int max_tokens, top_k;
    double temperature, top_p, min_p, repeat_penalty;
    uint64_t seed;
    bool has_seed;
    char **stop; /* texts that end the answer; the array is owned */
    size_t stops;
    bool ignore_eos;

    /* The pipeline. 0 means automatic unless it says otherwise. */
    int context;           /* positions of a sequence */
    int speculate;         /* tokens that are guessed for one sweep; OPTION_SPECULATE_AUTO: as many as pay */
    const char *draft;     /* a small model that guesses too, or NULL */
    uint64_t draft_memory; /* bytes of it; UINT64_MAX: automatic */
    int batch_tokens;      /* --chunk: positions of the prompt in one sweep */
    int backend;           /* BACKEND_AUTO, BACKEND_CPU, BACKEND_CUDA */
    int device;            /* index of the GPU, from 0 */
    enum option_mps mps;
    int node;          /* share: number of the machine among those; -1: not given */
    const char *hosts; /* machines to deal the layers over, or NULL: coordinator/hosts/hosts.h */
    int threads;       /* compute threads of the cpu backend */
    enum form kv_form;
    uint64_t host_memory, device_memory; /* bytes; UINT64_MAX: automatic */
    int reader_depth, transfer_depth;    /* slots of the host and the device ring */
    uint64_t slot_bytes;                 /* a multiple of PLAN_PAGE */
    int io_depth;                        /* reads in flight */
    uint64_t io_block;                   /* bytes of one read */
    enum plan_io io;
    enum plan_engine io_engine;
    const char *fault; /* faults to inject; always NULL but in a build with SLUICE_FAULTS */

    /* The server. */
    const char *host; /* the address to listen on */
    int port;         /* 0: any that is free */
    int queue;        /* requests that may wait */
    char **api_key;   /* what requests must show; the array is owned */
    size_t api_keys;
    const char *api_key_file; /* more of them, or NULL */
    char **alias;             /* further names of the model; the array is owned */
    size_t aliases;
    double drain;      /* seconds for what runs when it is told to end */
    int match_answers; /* enum option_switch: chats that go on from an answer take its tokens over */
    double heartbeat;  /* seconds between signs of life of an answer that takes its time; 0: none */

    /* What comes out besides text. */
    bool resume; /* batch: goes on with what --out holds already */
    enum option_pack pack_to;
    double speedup;       /* pack --to auto */
    uint64_t shard_bytes; /* pack: of a GGUF file, at most; 0: one file */
    const char
        *out; /* logits: the numbers; verify: the manifest; batch: the results; pack, unpack, share: the folder */
    const char *trace;    /* file of the trace to write; of the command trace: the one to read */
    const char *svg;      /* trace: the drawing */
    const char *baseline; /* verify: a manifest written before */
};

/* Fills *o from argv[1..argc). Returns 0, or -EINVAL for wrong usage (the message says what would be right), or -ENOMEM.
 * With o->help, o->version, o->man_page, or COMMAND_HELP, nothing else of *o needs to be complete.
 * options_free(o) in every case. */
int options_parse(struct options *o, int argc, char **argv, struct error *e);
void options_free(struct options *o);

/* ---- the table ------------------------------------------------------------------------------------------------- */

enum option_kind {
    KIND_FLAG,    /* bool */
    KIND_COUNT,   /* int, one more each time */
    KIND_INT,     /* int, min..max */
    KIND_SEED,    /* uint64_t and bool */
    KIND_REAL,    /* double, min..max */
    KIND_SIZE,    /* uint64_t bytes, min..max */
    KIND_MIB,     /* uint64_t bytes, given in MiB min..max, rounded down to whole pages */
    KIND_TEXT,    /* const char * */
    KIND_FILE,    /* const char *, a path */
    KIND_NUMBERS, /* const char *, token ids or positions */
    KIND_DATE,    /* const char * */
    KIND_LIST,    /* char ** and size_t, one more each time */
    KIND_PAIR,    /* the same, of the form name=value */
    KIND_CHOICE,  /* int: min for the first of the words, min + 1 for the second, ... */
};

enum option_group {
    GROUP_INPUT,
    GROUP_SERVER,
    GROUP_GENERATION,
    GROUP_MEMORY,
    GROUP_COMPUTE,
    GROUP_READING,
    GROUP_OUTPUT,
    GROUPS
};

#define COMMAND_BIT(c) (1u << (c))

struct option_flag {
    const char *name; /* without the dashes */
    char letter;      /* the short form, or 0 */
    enum option_kind kind;
    enum option_group group;
    uint32_t commands;    /* COMMAND_BIT of each command that takes it */
    size_t field, field2; /* offsets in struct options; field2 of SEED, LIST and PAIR */
    double min, max;
    const char *argument; /* what help calls its value; CHOICE: the words, "auto|cpu|cuda"; NULL: takes none */
    const char *fallback; /* the default as help tells it, or NULL; "auto" may then be given as a value too */
    const char *help;
};

struct option_operand {
    const char *name; /* "MODEL"; "reader|transfer" for one word of these */
    size_t field;     /* const char * in struct options */
    bool optional;
    const char *what; /* for the message when it is missing */
};

#define OPTION_OPERANDS 2
struct option_command_info {
    const char *name, *summary, *detail; /* detail: a paragraph */
    struct option_operand operand[OPTION_OPERANDS];
    uint32_t needs; /* COMMAND_NEEDS_... */
};
#define COMMAND_NEEDS_TOKENS 1u
#define COMMAND_NEEDS_OUT    2u
#define COMMAND_NEEDS_SVG    4u
#define COMMAND_NEEDS_FILE   8u

extern const struct option_flag option_flags[];
extern const size_t option_flag_count;
extern const struct option_command_info option_commands[COMMANDS]; /* [COMMAND_NONE] is the program itself */
extern const char *const option_group_titles[GROUPS];
extern const struct options option_defaults;

bool option_applies(const struct option_flag *f, enum option_command c); /* COMMAND_NONE: every flag */
/* The flag of that name, with the command's own going first; NULL if there is none. */
const struct option_flag *option_by_name(enum option_command c, const char *name, size_t bytes);
const struct option_flag *option_by_letter(enum option_command c, char letter);
/* COMMAND_NONE where there is none of that name. */
enum option_command option_command_by_name(const char *name);
