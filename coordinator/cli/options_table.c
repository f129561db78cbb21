/* Every command and every flag, once. Parser, help, man page and completion read nothing else. */
#include "coordinator/cli/options.h"

#include <math.h>
#include <string.h>

#define AT(field) offsetof(struct options, field)
#define BIT(c)    COMMAND_BIT(COMMAND_##c)

/* who takes what */
#define EVERY     (~0u)
#define TALKS     (BIT(CHAT) | BIT(RUN))
#define TEMPLATE  (TALKS | BIT(TEMPLATE))
#define SAMPLES   (TALKS | BIT(SERVE) | BIT(BATCH))
#define TOKENIZES (SAMPLES | BIT(TOKENIZE) | BIT(DETOKENIZE) | BIT(VERIFY))
#define PIPELINE  (TALKS | BIT(SERVE) | BIT(BATCH) | BIT(PLAN) | BIT(PROFILE) | BIT(LOGITS))
#define READS     (PIPELINE | BIT(VERIFY))
#define WORKS     (TALKS | BIT(SERVE) | BIT(BATCH) | BIT(PROFILE) | BIT(LOGITS))
#define PACKS     (BIT(PACK) | BIT(UNPACK))

#define GIB (1024.0 * 1024 * 1024)

/* --kv-type: its words in the order of the forms */
_Static_assert(FORM_BF16 == FORM_F32 + 1 && FORM_F16 == FORM_F32 + 2, "f32|bf16|f16");

const struct options option_defaults = {
    .max_tokens = -1,
    .top_k = -1,
    .temperature = NAN,
    .top_p = NAN,
    .min_p = NAN,
    .repeat_penalty = NAN,
    .speculate = OPTION_SPECULATE_AUTO,
    .backend = BACKEND_AUTO,
    .kv_form = FORM_F32,
    .draft_memory = UINT64_MAX,
    .host_memory = UINT64_MAX,
    .device_memory = UINT64_MAX,
    .io = PLAN_IO_AUTO,
    .io_engine = ENGINE_AUTO,
    .think = THINK_SHOW,
    .seconds = 8,
    .host = "127.0.0.1",
    .port = 8080,
    .queue = 256,
    .drain = 30,
    .heartbeat = 10,
    .speedup = 3,
    .node = -1,
};

const char *const option_group_titles[GROUPS] = {
    [GROUP_INPUT] = "Input",   [GROUP_SERVER] = "Server",   [GROUP_GENERATION] = "Generation",
    [GROUP_MEMORY] = "Memory", [GROUP_COMPUTE] = "Compute", [GROUP_READING] = "Reading",
    [GROUP_OUTPUT] = "Output",
};

/* clang-format off: a table reads best as one */
#define MODEL                                                                                                          \
    {                                                                                                                  \
        "MODEL", AT(model), false,                                                                                     \
            "a path to a model folder, to its config.json or one of its safetensors files, to models--ORG--NAME "      \
            "of a hub cache, or to a GGUF file"                                                                        \
    }

const struct option_command_info option_commands[COMMANDS] = {
    [COMMAND_NONE] =
        {"",
         "runs language models larger than memory by streaming their weights from disk",
         "sluice MODEL is sluice chat MODEL. MODEL is a path to a folder as Hugging Face publishes it, with "
         "config.json "
         "and safetensors files, or to a GGUF file (any of a split set); it is used as it lies. Text goes to standard "
         "output and nothing else does; progress and messages go to standard error.",
         {{0}},
         0},
    [COMMAND_CHAT] =
        {"chat",
         "chat with a model in the terminal",
         "Answers line by line, and keeps what was said. A model without a chat template continues the text instead. "
         "Lines that begin with a slash are commands, /help lists them, and two slashes stand for one that begins a "
         "question; a backslash at the end of a line continues it on the next, and what is pasted is one message. "
         "Ctrl-C stops an answer, Ctrl-D ends the chat. What was asked is "
         "kept for the arrow keys in $XDG_STATE_HOME/sluice/history (~/.local/state without it), readable by its owner "
         "only. Where standard input is no terminal, each of its lines is a question, whatever it begins with.",
         {MODEL},
         0},
    [COMMAND_RUN] = {"run",
                     "continue a text, or answer one question with --chat",
                     "Prints the continuation and nothing else. The text comes from --prompt, from --file, or from "
                     "standard input; the "
                     "newline at the end of a file or of standard input is not part of it.",
                     {MODEL},
                     0},
    [COMMAND_SERVE] =
        {"serve",
         "answer requests of OpenAI's protocol over HTTP",
         "/v1/chat/completions, /v1/completions and their kin, for many clients at once: all of them share the sweeps, "
         "and each gets the text that it would get alone. Says \"listening on http://...\" when the first request can "
         "be "
         "answered. The sampling flags are for requests that say nothing of their own. SIGTERM and Ctrl-C end it: what "
         "runs may go on for --drain seconds.",
         {MODEL},
         0},
    [COMMAND_BATCH] =
        {"batch",
         "answer a file of requests, many in the same sweeps",
         "Each line of --file is a request in OpenAI's batch form: {\"custom_id\": \"a\", \"method\": \"POST\", "
         "\"url\": \"/v1/chat/completions\", \"body\": {...}}. Each result is a line of --out, written as soon as it "
         "is "
         "there, in the order in which they end. A line that is no request, or is refused, gets a result that says so. "
         "After an end of any kind --resume goes on.",
         {MODEL},
         COMMAND_NEEDS_FILE | COMMAND_NEEDS_OUT},
    [COMMAND_PLAN] =
        {"plan",
         "what would lie where, and how long a token would take",
         "Tiles and where they would lie, bytes on every lane, predicted seconds per token, the bottleneck, and what "
         "one "
         "more GB of memory would bring. Starts nothing, and needs no weights: config.json alone is enough; the index "
         "of "
         "the weights, or a list of tensors in tensors.tsv (name, dtype, shape as 4096x1024, separated by tabs), says "
         "more.",
         {MODEL},
         0},
    [COMMAND_PROFILE] =
        {"profile",
         "measure one stage, or all together, against its peak",
         "reader: from disk into nothing. transfer: from memory to the device. compute: from tiles that are there "
         "already. pipeline: all three. Each beside what the machine could do, measured in the same minute.",
         {{"reader|transfer|compute|pipeline", AT(profile_what), false, "what to measure"}, MODEL},
         0},
    [COMMAND_LOGITS] = {"logits",
                        "the numbers that a model computes for token ids",
                        "Writes little-endian float32 [positions][vocabulary] to --out.",
                        {MODEL},
                        COMMAND_NEEDS_TOKENS | COMMAND_NEEDS_OUT},
    [COMMAND_TOKENIZE] = {"tokenize",
                          "text on standard input to token ids",
                          "Prints the ids in one line, separated by spaces.",
                          {MODEL},
                          0},
    [COMMAND_DETOKENIZE] = {"detokenize",
                            "token ids on standard input to text",
                            "Reads numbers separated by white space or commas and prints their text.",
                            {MODEL},
                            0},
    [COMMAND_TEMPLATE] =
        {"template",
         "the chat template filled in: what a model would be given",
         "The messages are a JSON list, or an object with messages, tools, add_generation_prompt (default true) and "
         "any "
         "further variables, from --file or standard input. A folder with tokenizer_config.json alone is enough.",
         {MODEL},
         0},
    [COMMAND_VERIFY] = {"verify",
                        "read all weights once and check them",
                        "Whatever a run would refuse, what safetensors' own library does not load, NaN and infinity "
                        "counts, and checksums "
                        "against published sha256 files where they lie beside the weights, or against an earlier "
                        "manifest. Exit status 1 "
                        "when something is wrong.",
                        {MODEL},
                        0},
    [COMMAND_PACK] =
        {"pack",
         "store a model's weights in fewer bytes, bit for bit or in fewer bits",
         "Makes a folder that is run like any other: the BF16 matrices, embeddings among them, take about two thirds "
         "of their "
         "bytes, everything else lies there as it was. Worth it where the disk is what a run waits for. Every "
         "piece is unpacked and compared before it is written; after a kill or a full disk the same command goes on "
         "where it ended. With --to q8, q6, q5 or "
         "q4 it makes an ordinary GGUF file instead, of fewer bits, with tokenizer, template and sampling defaults: "
         "other "
         "programs read it too, and the summary tells what each kind of tensor lost.",
         {MODEL, {"OUT", AT(out), false, "the folder to make, or the file, NAME.gguf"}},
         0},
    [COMMAND_UNPACK] =
        {"unpack",
         "the files that were packed, byte for byte",
         "Writes the files that a packed folder was made from, and compares their SHA-256 with those of then.",
         {{"MODEL", AT(model), false, "a folder that `sluice pack` has made"},
          {"OUT", AT(out), false, "the folder to make"}},
         0},
    [COMMAND_SHARE] =
        {"share",
         "one machine's part of a model, for a run over several",
         "Writes sparse files of the same names and sizes that hold what one machine reads of them: its layers, "
         "and for the first machine the embedding, the head and what opens the model. --hosts @FILE gives "
         "each machine's share=; `sluice run --hosts` with the same file finds all that it needs there. Such a "
         "folder is no model by itself, and is refused as one.",
         {MODEL},
         0},
    [COMMAND_DOCTOR] = {"doctor",
                        "look at the machine: what is wrong, and how to mend it",
                        "Disk, memory, limits, CPU and GPU. With MODEL also the file system that it lies on.",
                        {{"MODEL", AT(model), true, NULL}},
                        0},
    [COMMAND_TRACE] = {"trace",
                       "draw a trace that --trace has written",
                       "A Gantt chart of the three stages, and bandwidth over time.",
                       {{"FILE", AT(trace), false, "a file that `sluice run --trace FILE` has written"}},
                       COMMAND_NEEDS_SVG},
    [COMMAND_COMPLETION] = {"completion",
                            "print a completion script for a shell",
                            "For bash: sluice completion bash > ~/.local/share/bash-completion/completions/sluice",
                            {{"bash|zsh|fish", AT(shell), false, "the shell"}},
                            0},
    [COMMAND_HELP] = {"help", "what a command does, and its flags", "The same as sluice COMMAND --help.", {{0}}, 0},
};

/* name, letter | kind, group, commands | field(s) | min, max | argument, default | help */
const struct option_flag option_flags[] = {
    {"prompt", 'p', KIND_TEXT, GROUP_INPUT, BIT(RUN), AT(prompt), 0, 0, 0, "TEXT", NULL,
     "the text to continue, or the question"},
    {"file", 'f', KIND_FILE, GROUP_INPUT, BIT(RUN), AT(prompt_file), 0, 0, 0, "FILE", NULL, "read the text from FILE"},
    {"prompts", 0, KIND_FILE, GROUP_INPUT, BIT(RUN), AT(prompts), 0, 0, 0, "FILE", NULL,
     "answer every line of FILE, a text or a JSON string, many of them in the same sweeps; the answers come in order"},
    {"file", 'f', KIND_FILE, GROUP_INPUT, BIT(BATCH), AT(prompt_file), 0, 0, 0, "FILE", NULL,
     "the requests, one a line"},
    {"file", 'f', KIND_FILE, GROUP_INPUT, BIT(TEMPLATE), AT(messages_file), 0, 0, 0, "FILE", NULL,
     "read the messages from FILE"},
    {"chat", 0, KIND_FLAG, GROUP_INPUT, BIT(RUN), AT(chat), 0, 0, 0, NULL, NULL,
     "wrap the text with the model's chat template"},
    {"system", 's', KIND_TEXT, GROUP_INPUT, TALKS, AT(system), 0, 0, 0, "TEXT", NULL, "the system message of a chat"},
    {"tools", 0, KIND_FILE, GROUP_INPUT, TEMPLATE, AT(tools_file), 0, 0, 0, "FILE", NULL,
     "a JSON list of tools for the chat template"},
    {"var", 0, KIND_PAIR, GROUP_INPUT, TEMPLATE, AT(var), AT(vars), 0, 0, "NAME=VALUE", NULL,
     "a variable for the chat template, JSON or plain text; may be given several times"},
    {"date", 0, KIND_DATE, GROUP_INPUT, TEMPLATE, AT(date), 0, 0, 0, "DATE", "now",
     "the date that the chat template is told, as 2025-07-10T12:00:00"},
    {"chat-template", 0, KIND_TEXT, GROUP_INPUT, TEMPLATE | BIT(SERVE) | BIT(BATCH), AT(template_name), 0, 0, 0, "NAME",
     "default", "which of the model's chat templates is used, where it has several"},
    {"pre", 0, KIND_TEXT, GROUP_INPUT, TOKENIZES, AT(pre), 0, 0, 0, "NAME", NULL,
     "how the tokenizer of a GGUF file splits texts, where the file does not say it or says it wrongly: llama-bpe, "
     "qwen2 and "
     "so on"},
    {"no-special", 0, KIND_FLAG, GROUP_INPUT, BIT(TOKENIZE) | BIT(DETOKENIZE), AT(no_special), 0, 0, 0, NULL, NULL,
     "add no special tokens (beginning of text and the like); detokenize: leave them out"},
    {"tokens", 0, KIND_NUMBERS, GROUP_INPUT, BIT(LOGITS), AT(tokens), 0, 0, 0, "IDS", NULL, "token ids, as \"1 5 9\""},
    {"positions", 0, KIND_NUMBERS, GROUP_INPUT, BIT(LOGITS), AT(positions), 0, 0, 0, "LIST", "all",
     "the positions to write, from 0, in this order and as often as given, as \"0 2\""},

    {"host", 0, KIND_TEXT, GROUP_SERVER, BIT(SERVE), AT(host), 0, 0, 0, "HOST", "127.0.0.1",
     "the address to listen on; 0.0.0.0: all of this machine's"},
    {"port", 0, KIND_INT, GROUP_SERVER, BIT(SERVE), AT(port), 0, 0, 65535, "N", "8080",
     "the port; 0: any that is free, which is told"},
    {"queue", 0, KIND_INT, GROUP_SERVER, BIT(SERVE), AT(queue), 0, 1, 1e6, "N", "256",
     "requests that may wait; more are refused"},
    {"api-key", 0, KIND_LIST, GROUP_SERVER, BIT(SERVE), AT(api_key), AT(api_keys), 0, 0, "KEY", NULL,
     "a key that requests must show; may be given several times. Others on this machine can read it in the list of "
     "processes: --api-key-file keeps it"},
    {"api-key-file", 0, KIND_FILE, GROUP_SERVER, BIT(SERVE), AT(api_key_file), 0, 0, 0, "FILE", NULL,
     "a file with such keys, one a line"},
    {"alias", 0, KIND_LIST, GROUP_SERVER, BIT(SERVE) | BIT(BATCH), AT(alias), AT(aliases), 0, 0, "NAME", NULL,
     "a further name of the model; may be given several times"},
    {"drain", 0, KIND_REAL, GROUP_SERVER, BIT(SERVE), AT(drain), 0, 0, 1e6, "SECONDS", "30",
     "how long what runs may go on when the server is told to end"},
    {"match-answers", 0, KIND_CHOICE, GROUP_SERVER, BIT(SERVE), AT(match_answers), 0, OPTION_ON, 0, "on|off", "on",
     "a chat that brings an answer's text back goes on from the tokens that were said, which the KV cache holds; off: "
     "every prompt is tokenized anew"},
    {"heartbeat", 0, KIND_REAL, GROUP_SERVER, BIT(SERVE), AT(heartbeat), 0, 0, 1e6, "SECONDS", "10",
     "between signs of life of an answer that takes its time; 0: none"},

    {"max-tokens", 'n', KIND_INT, GROUP_GENERATION, TALKS, AT(max_tokens), 0, 0, 1e9, "N", "no limit",
     "stop after N tokens"},
    {"max-tokens", 'n', KIND_INT, GROUP_GENERATION, BIT(SERVE) | BIT(BATCH), AT(max_tokens), 0, 1, 1e9, "N", "512",
     "tokens of an answer where a request says nothing"},
    {"temperature", 't', KIND_REAL, GROUP_GENERATION, SAMPLES, AT(temperature), 0, 0, 100, "X", "the model's",
     "how freely to choose; 0 always takes the likeliest token"},
    {"top-k", 0, KIND_INT, GROUP_GENERATION, SAMPLES, AT(top_k), 0, 0, 1e9, "N", "the model's",
     "choose among the N likeliest tokens; 0: all"},
    {"top-p", 0, KIND_REAL, GROUP_GENERATION, SAMPLES, AT(top_p), 0, 0, 1, "X", "the model's",
     "choose among the likeliest tokens that together reach probability X"},
    {"min-p", 0, KIND_REAL, GROUP_GENERATION, SAMPLES, AT(min_p), 0, 0, 1, "X", "the model's",
     "drop tokens less likely than X times the likeliest"},
    {"repeat-penalty", 0, KIND_REAL, GROUP_GENERATION, SAMPLES, AT(repeat_penalty), 0, 0.01, 100, "X", "the model's",
     "make tokens that were there already less likely; 1: not"},
    {"seed", 0, KIND_SEED, GROUP_GENERATION, TALKS, AT(seed), AT(has_seed), 0, 0, "N", "random",
     "the same seed gives the same text"},
    {"stop", 0, KIND_LIST, GROUP_GENERATION, TALKS, AT(stop), AT(stops), 0, 0, "TEXT", NULL,
     "end the answer before TEXT; may be given several times"},
    {"ignore-eos", 0, KIND_FLAG, GROUP_GENERATION, TALKS, AT(ignore_eos), 0, 0, 0, NULL, NULL,
     "go on where the model would end"},
    {"think", 0, KIND_CHOICE, GROUP_GENERATION, TALKS, AT(think), 0, THINK_SHOW, 0, "show|hide|off", "show",
     "what becomes of a model's thinking: shown, not shown, or asked not to happen"},

    {"host-memory", 0, KIND_SIZE, GROUP_MEMORY, PACKS, AT(host_memory), 0, 0, 1e18, "SIZE", "auto",
     "memory for buffers"},
    {"host-memory", 0, KIND_SIZE, GROUP_MEMORY, PIPELINE, AT(host_memory), 0, 0, 1e18, "SIZE", "auto",
     "memory for all processes together; auto: what is free, less a margin"},
    {"device-memory", 0, KIND_SIZE, GROUP_MEMORY, PIPELINE, AT(device_memory), 0, 0, 1e18, "SIZE", "auto",
     "memory of the GPU that may be used"},
    {"draft-memory", 0, KIND_SIZE, GROUP_MEMORY, SAMPLES | BIT(PLAN), AT(draft_memory), 0, 0, 1e18, "SIZE", "auto",
     "memory for the model of --draft, a part of --host-memory; auto: what it needs, up to a half"},
    {"reader-depth", 0, KIND_INT, GROUP_MEMORY, PIPELINE, AT(reader_depth), 0, 1, 65536, "N", "auto",
     "slots of the ring between disk and memory"},
    {"transfer-depth", 0, KIND_INT, GROUP_MEMORY, PIPELINE, AT(transfer_depth), 0, 1, 65536, "N", "auto",
     "slots of the ring between memory and device"},
    {"slot-mib", 0, KIND_MIB, GROUP_MEMORY, PIPELINE, AT(slot_bytes), 0, 1.0 / 256, 4095, "N", "auto",
     "size of a slot in MiB, fractions allowed"},
    {"context", 'c', KIND_INT, GROUP_MEMORY, PIPELINE, AT(context), 0, 1, 1e9, "N", "auto",
     "room for N tokens, prompt and answer together"},
    {"parallel", 0, KIND_INT, GROUP_MEMORY, BIT(SERVE) | BIT(BATCH), AT(parallel), 0, 1, 4096, "N", "auto",
     "answers that are worked on at once; auto: up to 64, as the memory allows"},
    {"parallel", 0, KIND_INT, GROUP_MEMORY, BIT(PLAN), AT(parallel), 0, 1, 4096, "N", "1",
     "answers at once, as run --prompts, serve and batch have them: what they take together"},
    {"parallel", 0, KIND_INT, GROUP_MEMORY, BIT(RUN), AT(parallel), 0, 1, 4096, "N", "auto",
     "with --prompts: answers that are worked on at once; auto: up to 64, as the memory allows"},
    {"chunk", 0, KIND_INT, GROUP_MEMORY, PIPELINE, AT(batch_tokens), 0, 1, 1e6, "N", "auto",
     "tokens of the prompt that go through the model together"},
    {"kv-type", 0, KIND_CHOICE, GROUP_MEMORY, PIPELINE, AT(kv_form), 0, FORM_F32, 0, "f32|bf16|f16", "f32",
     "how keys and values are kept"},

    {"backend", 'b', KIND_CHOICE, GROUP_COMPUTE, PIPELINE, AT(backend), 0, BACKEND_AUTO, 0, "auto|cpu|cuda", "auto",
     "what computes"},
    {"device", 'd', KIND_INT, GROUP_COMPUTE, PIPELINE, AT(device), 0, 0, 1023, "N", "0", "which GPU"},
    {"mps", 0, KIND_CHOICE, GROUP_COMPUTE, WORKS, AT(mps), 0, OPTION_MPS_AUTO, 0, "auto|on|off", "auto",
     "a private MPS daemon for this run, so that copies and kernels overlap on the GPU; auto: where weights are "
     "streamed "
     "to it and earlier runs with --mps on and off have shown a gain"},
    {"speculate", 0, KIND_INT, GROUP_COMPUTE, SAMPLES | BIT(PLAN), AT(speculate), 0, 0, 1024, "off|N", "auto",
     "guess up to N tokens that may follow and check them in the sweep that computes the next one; the text is the "
     "same"},
    {"draft", 0, KIND_FILE, GROUP_COMPUTE, SAMPLES | BIT(PLAN), AT(draft), 0, 0, 0, "MODEL", NULL,
     "a small model with the same tokens, a folder or a GGUF file, that guesses too; it stays in memory"},
    {"hosts", 0, KIND_TEXT, GROUP_COMPUTE, TALKS | BIT(SERVE) | BIT(BATCH) | BIT(LOGITS) | BIT(PLAN) | BIT(SHARE),
     AT(hosts), 0, 0, 0, "LIST", NULL,
     "deal the layers over these machines, this one first, as a,b,c, each like this one, or @FILE of lines \"NAME "
     "disk=2G "
     "memory=12G compute=34G model=/PATH\"; each needs sluice and the model's files in the same place; MPI starts it "
     "all"},
    {"node", 0, KIND_INT, GROUP_COMPUTE, BIT(SHARE), AT(node), 0, 0, 63, "N", NULL,
     "which of the machines of --hosts; the first is 0"},
    {"to", 0, KIND_FILE, GROUP_OUTPUT, BIT(SHARE), AT(out), 0, 0, 0, "DIR", NULL, "the folder to make"},
    {"to", 0, KIND_CHOICE, GROUP_COMPUTE, BIT(PACK), AT(pack_to), 0, PACK_LOSSLESS, 0,
     "lossless|q8|q6|q5|q4|bf16|f16|f32|auto", "lossless",
     "what to pack into: all bits in fewer bytes, or a GGUF file of types of so many bits (Q8_0, Q6_K, Q5_K_M, "
     "Q4_K_M); "
     "auto: the widest of these that reaches --speedup by what `sluice plan` expects"},
    {"speedup", 0, KIND_REAL, GROUP_COMPUTE, BIT(PACK), AT(speedup), 0, 1, 1000, "TIMES", "3",
     "with --to auto: how much faster a token is to be on this machine"},
    {"shard-size", 0, KIND_SIZE, GROUP_COMPUTE, BIT(PACK), AT(shard_bytes), 0, 1, 1e18, "SIZE", NULL,
     "make a set of GGUF files, each of this size at most"},
    {"threads", 'j', KIND_INT, GROUP_COMPUTE, PACKS, AT(threads), 0, 1, 4096, "N", "auto", "threads"},
    {"threads", 'j', KIND_INT, GROUP_COMPUTE, PIPELINE, AT(threads), 0, 1, 4096, "N", "auto",
     "compute threads of the cpu backend; where processors differ in speed, auto takes the fast ones"},

    {"io", 0, KIND_CHOICE, GROUP_READING, READS, AT(io), 0, PLAN_IO_AUTO, 0, "auto|direct|buffered", "auto",
     "read past the page cache, or through it"},
    {"io-depth", 0, KIND_INT, GROUP_READING, READS, AT(io_depth), 0, 1, 4096, "N", "auto", "reads in flight"},
    {"io-block", 0, KIND_SIZE, GROUP_READING, READS, AT(io_block), 0, PLAN_PAGE, GIB, "SIZE", "auto",
     "bytes of one read"},
    {"io-engine", 0, KIND_CHOICE, GROUP_READING, PIPELINE, AT(io_engine), 0, ENGINE_AUTO, 0, "auto|uring|threads|null",
     "auto", "how to read: io_uring, a pool of threads, or not at all (to measure what comes after)"},
#ifdef SLUICE_FAULTS
    {"fault", 0, KIND_TEXT, GROUP_READING, PIPELINE, AT(fault), 0, 0, 0, "WHAT", NULL,
     "faults that the reader is to meet"},
#endif

    {"out", 'o', KIND_FILE, GROUP_OUTPUT, BIT(LOGITS), AT(out), 0, 0, 0, "FILE", NULL, "write the numbers to FILE"},
    {"out", 'o', KIND_FILE, GROUP_OUTPUT, BIT(VERIFY), AT(out), 0, 0, 0, "FILE", NULL,
     "write a manifest of checksums to FILE"},
    {"out", 'o', KIND_FILE, GROUP_OUTPUT, BIT(BATCH), AT(out), 0, 0, 0, "FILE", NULL,
     "write the results to FILE, one a line, as they end"},
    {"resume", 0, KIND_FLAG, GROUP_OUTPUT, BIT(BATCH), AT(resume), 0, 0, 0, NULL, NULL,
     "go on with what --out holds already"},
    {"baseline", 0, KIND_FILE, GROUP_OUTPUT, BIT(VERIFY), AT(baseline), 0, 0, 0, "FILE", NULL,
     "compare with a manifest that --out has written"},
    {"trace", 0, KIND_FILE, GROUP_OUTPUT, WORKS & ~BIT(PROFILE), AT(trace), 0, 0, 0, "FILE", NULL,
     "write every transition of every slot to FILE, for Perfetto, Chrome or sluice trace"},
    {"svg", 0, KIND_FILE, GROUP_OUTPUT, BIT(TRACE), AT(svg), 0, 0, 0, "FILE", NULL, "write the drawing to FILE"},
    {"seconds", 0, KIND_REAL, GROUP_OUTPUT, BIT(PROFILE), AT(seconds), 0, 0.1, 3600, "X", "8",
     "measure for about X seconds"},
    {"json", 0, KIND_FLAG, GROUP_OUTPUT, BIT(RUN) | BIT(PLAN) | BIT(PROFILE) | BIT(VERIFY) | BIT(DOCTOR) | PACKS,
     AT(json), 0, 0, 0, NULL, NULL, "print the results as one JSON object; with --prompts, as one a line"},
    {"quiet", 'q', KIND_FLAG, GROUP_OUTPUT, EVERY, AT(quiet), 0, 0, 0, NULL, NULL,
     "no progress line, and no messages but errors"},
    {"verbose", 'v', KIND_COUNT, GROUP_OUTPUT, EVERY, AT(verbose), 0, 0, 0, NULL, NULL,
     "tell what is being done; twice: in detail"},
    {"help", 'h', KIND_FLAG, GROUP_OUTPUT, EVERY, AT(help), 0, 0, 0, NULL, NULL, "print this and end"},
    {"man-page", 0, KIND_FLAG, GROUP_OUTPUT, BIT(NONE), AT(man_page), 0, 0, 0, NULL, NULL,
     "print the man page and end"},
    {"version", 'V', KIND_FLAG, GROUP_OUTPUT, EVERY, AT(version), 0, 0, 0, NULL, NULL, "print the version and end"},
};
/* clang-format on */
const size_t option_flag_count = sizeof option_flags / sizeof *option_flags;

bool option_applies(const struct option_flag *f, enum option_command c)
{
    return c == COMMAND_NONE || (f->commands & COMMAND_BIT(c));
}

/* The command's own flag goes before another command's of the same name. */
static const struct option_flag *option_better(const struct option_flag *had, const struct option_flag *f,
                                               enum option_command c)
{
    return had && (option_applies(had, c) || !option_applies(f, c)) ? had : f;
}

const struct option_flag *option_by_name(enum option_command c, const char *name, size_t bytes)
{
    const struct option_flag *found = NULL;

    for (size_t i = 0; i < option_flag_count; i++) {
        const struct option_flag *f = &option_flags[i];
        if (strlen(f->name) == bytes && !memcmp(f->name, name, bytes)) found = option_better(found, f, c);
    }
    return found;
}

const struct option_flag *option_by_letter(enum option_command c, char letter)
{
    const struct option_flag *found = NULL;

    for (size_t i = 0; letter && i < option_flag_count; i++)
        if (option_flags[i].letter == letter) found = option_better(found, &option_flags[i], c);
    return found;
}

enum option_command option_command_by_name(const char *name)
{
    for (int c = COMMAND_NONE + 1; c < COMMANDS; c++)
        if (!strcmp(option_commands[c].name, name)) return (enum option_command)c;
    return COMMAND_NONE;
}
