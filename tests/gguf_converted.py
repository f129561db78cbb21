#!/usr/bin/env python3
"""Reference models as GGUF files of llama.cpp's own converter, held against their published logits.

    python tests/gguf_converted.py LLAMA_CPP [--type f32|bf16] [--keep DIR] [NAME...]

LLAMA_CPP is a folder of llama.cpp, such as vendor/llama.cpp in the source package of llama-cpp-python on PyPI. It needs torch,
transformers, numpy and safetensors for that converter, and build/sluice and build/bench/mkmodel (make all build/bench/mkmodel).
A line for each of tests/data/models: how far the logits are from those of transformers, and from those of the same folder as
safetensors; 0 means the same bytes. What the converter refuses, or what a file cannot say of a small model, is said. Exit status
1 where one that should is not within 2e-4.
"""
import json, logging, os, shutil, subprocess, sys, tempfile
from pathlib import Path

here = os.path.dirname(os.path.abspath(__file__))
build = os.path.join(os.path.dirname(here), "build")
args, kind, keep = sys.argv[1:], "bf16", None
for name in ("--type", "--keep"):
    if name in args:
        i = args.index(name)
        value = args[i + 1]
        del args[i:i + 2]
        kind, keep = (value, keep) if name == "--type" else (kind, value)
if not args:
    sys.exit(__doc__)
llama, *names = args
sys.path[:0] = [os.path.join(llama, "gguf-py"), llama]
logging.disable(logging.WARNING)
import numpy as np
import torch
import gguf
from conversion import ModelType, get_model_architecture, get_model_class
from conversion.base import ModelBase

ModelBase.no_mtp = True
TYPES = {"f32": gguf.LlamaFileType.ALL_F32, "bf16": gguf.LlamaFileType.MOSTLY_BF16}
TOLERANCE = 2e-4
# What config.json says of the small model and its file does not, because published sizes have it otherwise.
UNSAID = {"gemma2": "its scale of queries", "gemma3": "its scale of queries, and rows without a word", "gemma3-caps": "its caps",
          "glm": "the size of its heads", "gpt2-by-layer": "its scale by layer", "gpt-bigcode-heads": "keys for each head",
          "mpt-clip": "its scale of queries", "nemotron": "the size of its heads", "minicpm3": "its scales", "bamba": "that half of a head rotates", "llama4": "its chunks", "llama4-plain": "its chunks", "mistral-window": "its window",
          "qwen2-moe-window": "its window", "qwen3-window": "its window", "qwen3-moe-window": "its window",
          "smollm3-window": "its window", "starcoder2-window": "its window", "qwen3.5-gelu": "its activation",
          "dots1-window": "its windows", "ernie4.5-moe-bias": "the least sum of its experts' weights",
          "phimoe": "what its rotation is multiplied by", "minimax-m3": "the limit of its unit"}
# Whose numbers bfloat16 rounds: what the folder's bits stand for, or what the converter multiplies into the weights.
ROUNDED = {"falcon-h1", "kimi-k2.5-int4", "llama-ct-fp8-block", "llama-ct-fp8-channel", "llama-ct-int4", "llama-ct-int4-asym",
           "llama-ct-int8", "llama-fbgemm-fp8", "qwen3-fp8", "qwen3-gptq", "qwen3-gptq-act", "qwen3-gptq-int8", "qwen3-gptq-v2",
           "qwen3-modelopt-fp8", "deepseek-v3-fp8"}
if kind == "bf16":
    UNSAID |= {name: "its numbers: bfloat16 rounds them" for name in ROUNDED}


usual_hparams = ModelBase.load_hparams


def whole_hparams(folder, *args, **named):
    """config.json's own fields, where the class that reads them for the converter has let some go."""
    raw = json.load(open(f"{folder}/config.json"))
    raw |= raw.get("text_config") or {}
    usual = usual_hparams(folder, *args, **named)
    return raw | {k: v for k, v in usual.items() if v is not None}


ModelBase.load_hparams = staticmethod(whole_hparams)


def patch(folder, name):
    """Fields that the converter wants and the published class does without."""
    path = f"{folder}/config.json"
    c = json.load(open(path))
    if name == "cohere2":
        c["rotary_pct"] = 1.0
    if name.startswith("gpt2"):
        c["n_ctx"] = c["n_positions"]
    if name.startswith("phimoe"):
        c["architectures"] = ["PhiMoEForCausalLM"]
    if name.startswith("mpt"):
        c["architectures"] = ["MPTForCausalLM"]
    if name == "lfm2":
        c["layer_types"] = ["full_attention" if i in c["full_attn_idxs"] else "conv" for i in range(c["num_hidden_layers"])]
    if name == "solar-open":
        c["partial_rotary_factor"] = 1.0  # the converter takes half for granted, the class all
    if name.startswith("minimax-m2"):
        c.setdefault("rotary_dim", int(c["head_dim"] * c.get("partial_rotary_factor", 1)))
    json.dump(c, open(path, "w"))


def amend(m, name):
    """What the converter expects of the config and its reader leaves out, or sets to what no published model has."""
    h = m.hparams
    if name.startswith("gpt-neox"):
        h.setdefault("rotary_pct", h["rope_parameters"]["partial_rotary_factor"])
    if name.startswith("deepseek-v4"):
        m.tensor_force_quant = lambda *_: False  # Q8_0 where the folder has FP8
    if name.startswith("mimo"):
        m.rope_parameters.setdefault("partial_rotary_factor", h["partial_rotary_factor"])
    if name == "falcon-7b":
        h["num_kv_heads"] = 1
    if name.startswith("nemotron-h"):
        h["mamba_d_head"] = h["mamba_head_dim"]
    if name == "phi2":
        add = m.gguf_writer.add_feed_forward_length
        m.gguf_writer.add_feed_forward_length = lambda _: add(h["intermediate_size"])
    if name.startswith("gpt2"):
        m.model_tensors = {k: v for k, v in m.model_tensors.items() if not k.endswith(".attn.bias")}


def vocabulary(m, n):
    w = m.gguf_writer
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list([f"w{i}" for i in range(n)])
    w.add_token_types([1] * n)
    w.add_token_merges(["a b"])


def convert(folder, name, out):
    patch(folder, name)
    hparams = ModelBase.load_hparams(Path(folder), False)
    n = hparams.get("vocab_size") or hparams["text_config"]["vocab_size"]
    vocab = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {f"w{i}": i for i in range(n)}, "merges": []}}
    json.dump(vocab, open(f"{folder}/tokenizer.json", "w"))
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast"}, open(f"{folder}/tokenizer_config.json", "w"))
    with torch.inference_mode():
        cls = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
        m = cls(Path(folder), TYPES[kind], Path(out), model_name=name, eager=True)
        of = getattr(m, "impl", m)
        m.set_vocab = of.set_vocab = lambda: vocabulary(of, n)
        amend(m, name)
        m.write()


def logits(model, golden, work):
    command = [f"{build}/sluice", "logits", model, "--tokens", " ".join(map(str, golden["prompt"])), "--positions",
               " ".join(map(str, golden["positions"])), "--out", f"{work}/logits"]
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError(p.stderr.strip().splitlines()[-1])
    return np.fromfile(f"{work}/logits", "<f4")


def check(name, work):
    source, folder = f"{here}/data/models/{name}", f"{work}/{name}"
    out = f"{keep or work}/{name}.gguf"
    golden = json.load(open(f"{source}/golden.json"))
    os.makedirs(folder)
    subprocess.run([f"{build}/bench/mkmodel", f"{source}/tensors.tsv", folder], check=True, capture_output=True)
    shutil.copy(f"{source}/config.json", folder)
    want = logits(folder, golden, work)
    try:
        convert(folder, name, out)
    except (Exception, SystemExit) as e:
        return f"not made: {type(e).__name__}: {str(e).splitlines()[0][:90] if str(e) else ''}", True
    got = logits(out, golden, work)
    if got.shape != want.shape:
        return f"{got.size} logits for {want.size}: {UNSAID.get(name, '')}", name in UNSAID
    off = float(np.abs(got - np.fromfile(f"{source}/logits.f32", "<f4")).max())
    said = "" if off <= TOLERANCE else f"   the file does not say {UNSAID[name]}" if name in UNSAID else "   WRONG"
    return f"{off:.1e} from transformers, {float(np.abs(got - want).max()):.1e} from the folder{said}", off <= TOLERANCE or name in UNSAID


if keep:
    os.makedirs(keep, exist_ok=True)
wrong = 0
with tempfile.TemporaryDirectory() as work:
    for name in names or sorted(n for n in os.listdir(f"{here}/data/models") if os.path.isdir(f"{here}/data/models/{n}")):
        try:
            text, fine = check(name, work)
        except RuntimeError as e:
            text, fine = (f"refused, the file does not say {UNSAID[name]}", True) if name in UNSAID else (f"WRONG: {e}", False)
        wrong += not fine
        print(f"{name:24} {text}", flush=True)
sys.exit(wrong > 0)
