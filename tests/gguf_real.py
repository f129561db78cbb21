#!/usr/bin/env python3
"""Published GGUF files beside transformers: ids of 1000 mixed texts, logits, also of the same weights as
a folder in float32 (to the bit), the likeliest continuation, a conversation.

    python3 tests/gguf_real.py BUILD [--data DIR] [--texts N]     (transformers 5.24 or newer, torch, accelerate, gguf)

DIR is where tests/fetch_models.sh puts its files. Without the packages or the files nothing is compared and the reason is
said. The last line: "N passed, N failed"."""
import argparse, importlib.util, os, random, subprocess, sys, tempfile

MODELS = {  # file: (what stands between two texts, its text, a prompt)
    "SmolLM2-135M-Instruct.Q4_1.gguf": ("<|endoftext|>", "The quick brown fox jumps over 12 lazy dogs, and then"),
    "gemma-3-270m-q4_k_m.gguf": ("<eos>", "The quick brown fox jumps over 12 lazy dogs, and then"),
}
TOLERANCE = 2e-4
GREEDY = 32

PIECES = ["the", "The", " house", "HTTPServer", "don't", "I'LL", "it's", "naïve", "résumé", "Straße", "Cửa Việt", "e\u0301",
          "привет", "Мир", "здравствуйте", "你好世界", "東京都", "カタカナ", "ひらがな", "안녕하세요", "สวัสดี", "नमस्ते", "مرحبا",
          "שלום", "ქართული", "Ελληνικά", "0", "7", "42", "1234567", "3.14159", "1,000,000", "½", "²", "٣٤٥", "😀", "👩‍👩‍👧‍👦", "🇩🇪",
          "✅", " ", "  ", "   ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\u00a0", "\u3000", "\u200b", ".", ",", "!", "?", "...", "—", "«»",
          "(", ")", "[]", "{}", "<", ">", "</s>", "<b>", "<table>", "&amp;", "==", "!=", "->", "::", "//", "/* */", "#include <a.h>",
          "def f(x):", "    return x", "for (int i = 0; i < n; i++)", "https://example.org/a?b=c&d=1", "user@example.org", "C:\\x",
          "$E=mc^2$", "▁", "Ġ", "\ufeff", "\x01", "\x7f", "aaaaaaaaaaaaaaaa", "ZZZ", "_", "__init__", "-", "--", "'", '"', "`", "~",
          " " * 5, " " * 31, " " * 40, "▁▁", "▁" * 32, "\n" * 3, "\n" * 31, "\n" * 33]


def skip(why):
    print(f"skipped: {why}")
    sys.exit(0)


def texts(n, separator):
    """Different ones, none of them empty; every piece also by itself."""
    r = random.Random(1)
    all_ = list(PIECES)
    while len(all_) < n:
        parts = [r.choice(PIECES) for _ in range(r.randint(2, 24))]
        glue = r.choice(["", " ", " ", "\n"])
        all_.append(glue.join(parts))
    return [t for t in all_ if separator not in t][:n]


def run(*command, **kw):
    p = subprocess.run(command, capture_output=True, **kw)
    if p.returncode:
        sys.exit(f"{' '.join(command)}: {p.stderr.decode()}")
    return p.stdout


def their_tokenizer(folder, file):
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer
    t = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    if file.startswith("SmolLM2"):  # its tokenizer.json splits digits first; transformers takes GPT-2's way for this rule
        t.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return t


def compare_ids(sluice, path, tokenizer, separator, n):
    between = tokenizer.convert_tokens_to_ids(separator)
    wanted = texts(n, separator)
    out = run(sluice, "tokenize", path, "--no-special", input=separator.join(wanted).encode())
    ours, now = [], []
    for i in map(int, out.split()):
        if i == between:
            ours.append(now)
            now = []
        else:
            now.append(i)
    ours.append(now)
    if len(ours) != len(wanted):
        print(f"{len(ours)} texts came back of {len(wanted)}")
        return False
    bad = 0
    for text, got in zip(wanted, ours):
        theirs = tokenizer.encode(text, add_special_tokens=False)
        if got != theirs:
            bad += 1
            if bad < 4:
                print(f"  {text!r}\n    sluice       {got}\n    transformers {theirs}")
    print(f"{os.path.basename(path)}: ids of {len(wanted)} texts, {bad} differ")
    return not bad


def compare_logits(sluice, path, model, tokenizer, prompt):
    import numpy, torch
    ids = tokenizer.encode(prompt)
    with tempfile.NamedTemporaryFile() as f:
        run(sluice, "logits", path, "--tokens", " ".join(map(str, ids)), "--out", f.name)
        ours = numpy.fromfile(f.name, dtype="<f4").reshape(len(ids), -1)
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0].float().numpy()
    worst = float(numpy.abs(ours - theirs).max())
    print(f"{os.path.basename(path)}: logits of {len(ids)} positions, largest difference {worst:.2g}, largest {abs(theirs).max():.3g}")
    return ours.shape == theirs.shape and worst <= TOLERANCE


def save(model, folder):
    import json
    from safetensors.torch import save_file
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config["dtype"] = "float32"
    json.dump(config, open(os.path.join(folder, "config.json"), "w"))
    weights = {name: w.contiguous() for name, w in model.state_dict().items()
               if not (name == "lm_head.weight" and config["tie_word_embeddings"])}
    save_file(weights, os.path.join(folder, "model.safetensors"))


def compare_folder(sluice, path, model, tokenizer, prompt):
    """The same weights as a folder in float32: the bits of the file."""
    ids = " ".join(map(str, tokenizer.encode(prompt)))
    with tempfile.TemporaryDirectory() as d:
        save(model, d)
        for model_, out in ((path, d + "/file"), (d, d + "/folder")):
            run(sluice, "logits", model_, "--tokens", ids, "--out", out)
        same = open(d + "/file", "rb").read() == open(d + "/folder", "rb").read()
    print(f"{os.path.basename(path)}: logits of the file and of its weights in float32 {'are the same' if same else 'differ'}")
    return same


def compare_greedy(sluice, path, model, tokenizer, prompt):
    import torch
    ids = tokenizer.encode(prompt)
    with torch.no_grad():
        out = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=GREEDY, min_new_tokens=GREEDY, num_beams=1,
                             repetition_penalty=1.0, eos_token_id=None, pad_token_id=0)
    theirs = tokenizer.decode(out[0][len(ids):], skip_special_tokens=True)
    ours = run(sluice, "run", path, "--prompt", prompt, "--temperature", "0", "--ignore-eos", "-n", str(GREEDY)).decode()
    same = ours.rstrip("\n") == theirs.rstrip("\n")
    print(f"{os.path.basename(path)}: {GREEDY} likeliest tokens {'are the same' if same else 'differ'}")
    if not same:
        print(f"  sluice       {ours!r}\n  transformers {theirs!r}")
    return same


MESSAGES = [{"role": "user", "content": "My name is Bob. What is 2 + 2?"}, {"role": "assistant", "content": "4"},
            {"role": "user", "content": "And what is my name?"}]


def compare_chat(sluice, path, tokenizer):
    """A conversation as the model is given it."""
    import json
    text = run(sluice, "template", path, input=json.dumps(MESSAGES).encode())
    ours = list(map(int, run(sluice, "tokenize", path, "--no-special", input=text).split()))
    theirs = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_dict=False)
    same = ours == theirs
    print(f"{os.path.basename(path)}: ids of a conversation {'are the same' if same else 'differ'}: {len(theirs)}")
    return same


def main():
    a = argparse.ArgumentParser()
    a.add_argument("build")
    a.add_argument("--data", default=os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sluice-tests"))
    a.add_argument("--texts", type=int, default=1000)
    o = a.parse_args()
    for package in ("transformers", "torch", "accelerate", "gguf", "numpy", "tokenizers"):
        if not importlib.util.find_spec(package):
            skip(f"the Python package {package} is missing")
    sluice, passed, failed = os.path.join(o.build, "sluice"), 0, 0
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    for file, (separator, prompt) in MODELS.items():
        path = os.path.join(o.data, file)
        if not os.path.exists(path):
            skip(f"{path} is missing: tests/fetch_models.sh fetches it")
        import torch
        from transformers import AutoModelForCausalLM
        tokenizer = their_tokenizer(o.data, file)
        model = AutoModelForCausalLM.from_pretrained(o.data, gguf_file=file, dtype=torch.float32)
        model.eval()
        for good in (compare_ids(sluice, path, tokenizer, separator, o.texts),
                     compare_logits(sluice, path, model, tokenizer, prompt),
                     compare_folder(sluice, path, model, tokenizer, prompt),
                     compare_greedy(sluice, path, model, tokenizer, prompt)):
            passed, failed = passed + good, failed + (not good)
        if tokenizer.chat_template:
            good = compare_chat(sluice, path, tokenizer)
            passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
