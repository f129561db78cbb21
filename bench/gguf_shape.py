#!/usr/bin/env python3
"""A split GGUF of DeepSeek-V3's shape (671 billion weights) with holes for data: its size costs nothing.

    bench/gguf_shape.py OUT [--type Q4_K_M|BF16] [--layers N] [--files N]

Types are those that llama-quantize gives a Q4_K_M. All numbers read as zeros; the vocabulary is of bytes, and of words that no text
has.
"""
import os
import struct
import sys

ARRAY, STRING, U16, U32, I32, F32, BOOL = 9, 8, 2, 4, 5, 6, 7
TYPES = {"F32": (0, 1, 4), "BF16": (30, 1, 2), "Q5_0": (6, 32, 22), "Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210)}


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def value(key, kind, x):
    pack = {U16: "<H", U32: "<I", F32: "<f", BOOL: "<?"}
    return text(key) + struct.pack("<I", kind) + (text(x) if kind == STRING else struct.pack(pack[kind], x))


def tensors(layers, quantized):
    """name, dimensions, type"""
    def kind(columns, name="Q4_K"):
        return "BF16" if not quantized else name if columns % 256 == 0 else "Q5_0"

    def more(i):  # layers that Q4_K_M gives more bits
        return i < layers // 8 or i >= 7 * layers // 8 or (i - layers // 8) % 3 == 2

    yield "token_embd.weight", [7168, 129280], kind(7168)
    yield "output_norm.weight", [7168], "F32"
    yield "output.weight", [7168, 129280], kind(7168, "Q6_K")
    for i in range(layers):
        down = "Q6_K" if more(i) else "Q4_K"
        rows = [("attn_norm", [7168], "F32"), ("ffn_norm", [7168], "F32"), ("attn_q_a", [7168, 1536], kind(7168)),
                ("attn_q_a_norm", [1536], "F32"), ("attn_q_b", [1536, 24576], kind(1536)),
                ("attn_kv_a_mqa", [7168, 576], kind(7168)), ("attn_kv_a_norm", [512], "F32"),
                ("attn_k_b", [128, 512, 128], kind(128)), ("attn_v_b", [512, 128, 128], kind(512)),
                ("attn_output", [16384, 7168], kind(16384))]
        if i < 3:
            rows += [("ffn_gate", [7168, 18432], kind(7168)), ("ffn_up", [7168, 18432], kind(7168)),
                     ("ffn_down", [18432, 7168], kind(18432, down))]
        else:
            rows += [("ffn_gate_inp", [7168, 256], "F32"), ("ffn_gate_exps", [7168, 2048, 256], kind(7168)),
                     ("ffn_up_exps", [7168, 2048, 256], kind(7168)), ("ffn_down_exps", [2048, 7168, 256], kind(2048, down)),
                     ("ffn_gate_shexp", [7168, 2048], kind(7168)), ("ffn_up_shexp", [7168, 2048], kind(7168)),
                     ("ffn_down_shexp", [2048, 7168], kind(2048, down))]
            yield f"blk.{i}.exp_probs_b.bias", [256], "F32"
        for name, dims, t in rows:
            yield f"blk.{i}.{name}.weight", dims, t


def values(layers):
    numbers = {"block_count": layers, "context_length": 163840, "embedding_length": 7168, "feed_forward_length": 18432,
               "attention.head_count": 128, "attention.head_count_kv": 1, "expert_count": 256, "expert_used_count": 8,
               "expert_group_count": 8, "expert_group_used_count": 4, "expert_shared_count": 1, "expert_gating_func": 2,
               "expert_feed_forward_length": 2048, "leading_dense_block_count": 3, "attention.q_lora_rank": 1536,
               "attention.kv_lora_rank": 512, "attention.key_length": 576, "attention.value_length": 512,
               "attention.key_length_mla": 192, "attention.value_length_mla": 128, "rope.dimension_count": 64,
               "rope.scaling.original_context_length": 4096}
    reals = {"attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10000, "expert_weights_scale": 2.5,
             "rope.scaling.factor": 40, "rope.scaling.yarn_log_multiplier": 0.1}
    out = [value("general.architecture", STRING, "deepseek2"), value("deepseek2.rope.scaling.type", STRING, "yarn"),
           value("deepseek2.expert_weights_norm", BOOL, True)]
    out += [value("deepseek2." + k, U32, x) for k, x in numbers.items()]
    out += [value("deepseek2." + k, F32, x) for k, x in reals.items()]
    return out


def array(key, kind, body, count):
    return text(key) + struct.pack("<IIQ", ARRAY, kind, count) + body


def vocabulary(size):
    """Byte-level tokens, in the stand-ins that byte-level vocabularies use, and fillers."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    words = [chr(b if b in printable else 256 + others.index(b)) for b in range(256)]
    words += [f"[PAD{i}]" for i in range(256, size)]
    kinds = [1] * 256 + [5] * (size - 256)
    packed = b"".join(struct.pack("<Q", len(w.encode())) + w.encode() for w in words)
    return [value("tokenizer.ggml.model", STRING, "gpt2"), value("tokenizer.ggml.pre", STRING, "deepseek-v3"),
            array("tokenizer.ggml.tokens", STRING, packed, size),
            array("tokenizer.ggml.token_type", I32, struct.pack(f"<{size}i", *kinds), size),
            array("tokenizer.ggml.merges", STRING, b"", 0), value("tokenizer.ggml.add_bos_token", BOOL, False)]


def write(path, kvs, infos):
    at, body = 0, b""
    for name, dims, t in infos:
        number, elements, size = TYPES[t]
        count = 1
        for d in dims:
            count *= d
        body += text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        body += struct.pack("<IQ", number, at)
        at += (count // elements * size + 31) // 32 * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(kvs)) + b"".join(kvs) + body
    head += b"\0" * (-len(head) % 32)
    with open(path, "wb") as f:
        f.write(head)
        f.truncate(len(head) + at)


args = sys.argv[1:]
options = {"--type": "Q4_K_M", "--layers": "61", "--files": "9"}
for name in options:
    if name in args:
        i = args.index(name)
        options[name] = args[i + 1]
        del args[i:i + 2]
if len(args) != 1:
    sys.exit(__doc__)
layers, files = int(options["--layers"]), int(options["--files"])
everything = list(tensors(layers, options["--type"] != "BF16"))
os.makedirs(args[0], exist_ok=True)
share = -(-len(everything) // files)
for i in range(files):
    kvs = (values(layers) + vocabulary(129280) if i == 0 else []) + [value("split.no", U16, i), value("split.count", U16, files),
                                                value("split.tensors.count", U32, len(everything))]
    write(f"{args[0]}/deepseek-v3-{i + 1:05}-of-{files:05}.gguf", kvs, everything[i * share:(i + 1) * share])
