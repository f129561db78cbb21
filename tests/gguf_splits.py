#!/usr/bin/env python3
"""The rules that GGUF files name (tokenizer.ggml.pre) beside Hugging Face tokenizers: one vocabulary under each of them, ids of
1500 mixed texts. The patterns are those of the published tokenizer.json, as Oniguruma reads them.

    python3 tests/gguf_splits.py BUILD [--data DIR]     (tokenizers, gguf)

DIR is where tests/fetch_models.sh puts its files. Without the packages or the files nothing is compared and the reason is
said. The last line: "N passed, N failed"."""
import argparse, importlib.util, os, sys
from gguf_real import run, skip, texts

ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s")
LLAMA3 = ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES
QWEN2 = ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES
QWEN35 = ENDINGS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + SPACES
GPT4O = CASED % (ENDINGS + "?", ENDINGS + "?") + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES
TEKKEN = CASED % ("", "") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        + ENDINGS + r"?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        + ENDINGS + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES)
ASIAN = "[一-龥\u0800-一가-\ud7ff]+"
DEEPSEEK3 = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
             + SPACES)
SEED = ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + SPACES
EXAONE = (ENDINGS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"
          r"|\s*[\r\n]|\s+(?!\S)|\s+")
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
JAIS = (ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+" +
        "".join(r"|\s{%d}(?!\S)" % n for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}")
RULES = {  # name: (what splits, in order; "gpt2" and "digits" are steps of their own), normal form C, whole words first
    "llama-bpe": ([LLAMA3], False, True),
    "dbrx": ([LLAMA3], False, False),
    "glm4": ([LLAMA3], False, True),
    "qwen2": ([QWEN2], True, False),
    "deepseek-r1-qwen": ([QWEN2], False, False),
    "qwen35": ([QWEN35], False, False),
    "gpt-2": (["gpt2"], False, False),
    "olmo": (["gpt2"], True, False),
    "smollm": (["digits", "gpt2"], False, False),
    "command-r": (["digits", "gpt2"], True, False),
    "falcon": (["punctuation", "gpt2", "[0-9][0-9][0-9]"], False, False),
    "gpt-4o": ([GPT4O], False, False),
    "tekken": ([TEKKEN], False, True),
    "deepseek-coder": (["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", ASIAN, "digits"], False, False),
    "deepseek-v3": ([r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK3], False, False),
    "kimi-k2": ([KIMI], False, False),
    "seed-coder": ([SEED], False, False),
    "exaone-moe": ([EXAONE], False, False),
    "bailingmoe": ([BAILING], False, False),
    "superbpe": ([r"\p{N}+", r"(?=(\d{3})+(?!\d))"], False, False),
    "bloom": ([BLOOM], False, False),
    "viking": ([BLOOM, "digits"], False, False),
    "jais-2": ([JAIS], False, False),
    "laguna": (["[^\\n]+|[\\n]+", QWEN2], False, False),
    "tiny_aya": ([r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O], True, False),
}


def tables(path):
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    read = lambda key: [bytes(fields[key].parts[i]).decode() for i in fields[key].data]
    tokens = read("tokenizer.ggml.tokens")
    return {t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in read("tokenizer.ggml.merges")]


def theirs_of(vocab, merges, steps, nfc, whole):
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers as pre
    t = Tokenizer(models.BPE(vocab, merges, ignore_merges=whole))
    known = {"gpt2": lambda: pre.ByteLevel(add_prefix_space=False), "digits": lambda: pre.Digits(individual_digits=True),
             "punctuation": lambda: pre.Punctuation("contiguous")}
    list_ = [known[s]() if s in known else pre.Split(Regex(s), "isolated") for s in steps]
    if "gpt2" not in steps:
        list_.append(pre.ByteLevel(add_prefix_space=False, use_regex=False))
    t.pre_tokenizer = pre.Sequence(list_)
    if nfc:
        t.normalizer = normalizers.NFC()
    return t


def main():
    a = argparse.ArgumentParser()
    a.add_argument("build")
    a.add_argument("--data", default=os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sluice-tests"))
    o = a.parse_args()
    for package in ("gguf", "tokenizers"):
        if not importlib.util.find_spec(package):
            skip(f"the Python package {package} is missing")
    path = os.path.join(o.data, "vocab/ggml-vocab-llama-bpe.gguf")
    if not os.path.exists(path):
        skip(f"{path} is missing: tests/fetch_models.sh fetches it")
    vocab, merges = tables(path)
    separator, passed, failed = "<|end_of_text|>", 0, 0
    wanted = texts(1500, separator)
    for name, rule in RULES.items():
        theirs, ours = theirs_of(vocab, merges, *rule), [[]]
        out = run(os.path.join(o.build, "sluice"), "tokenize", path, "--no-special", "--pre", name,
                  input=separator.join(wanted).encode())
        for i in map(int, out.split()):
            if i == vocab[separator]:
                ours.append([])
            else:
                ours[-1].append(i)
        differ = [t for t, got in zip(wanted, ours) if got != theirs.encode(t, add_special_tokens=False).ids]
        good = len(ours) == len(wanted) and not differ
        if not good:
            print(f"FAILED {name}: {len(differ)} of {len(wanted)} texts differ, {min(differ, key=len)!r} for one")
        passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
