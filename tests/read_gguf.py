#!/usr/bin/env python3
"""Reads a GGUF file that `sluice pack` made of a folder of Llama's architecture with the gguf package of llama.cpp, and holds
names, shapes, values and dequantized numbers against the folder. Prints how many tensors it compared."""
import json
import struct
import sys

import gguf
import numpy as np

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down"}
MOST = {"F32": 0, "F16": 1e-3, "BF16": 0, "Q8_0": 0.008, "Q6_K": 0.02, "Q5_K": 0.037, "Q4_K": 0.073, "Q5_0": 0.045,
        "Q5_1": 0.04}


def folder_tensors(folder):
    with open(f"{folder}/model.safetensors", "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    for name, t in json.loads(data[8:8 + n]).items():
        if name == "__metadata__":
            continue
        assert t["dtype"] == "BF16", t
        a, b = t["data_offsets"]
        bits = np.frombuffer(data, "<u2", (b - a) // 2, 8 + n + a).astype(np.uint32) << 16
        yield name, bits.view(np.float32).reshape(t["shape"])


def stored_name(name):
    stem = name[:-len(".weight")]
    if stem.startswith("model.layers."):
        layer, rest = stem[len("model.layers."):].split(".", 1)
        return f"blk.{layer}.{NAMES[rest]}.weight"
    return NAMES[stem] + ".weight"


def permuted(x, heads):
    return x.reshape(heads, 2, x.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(x.shape)


def main(folder, path):
    config = json.load(open(f"{folder}/config.json"))
    g = gguf.GGUFReader(path)
    value = {k: f.contents() for k, f in g.fields.items()}
    assert value["general.architecture"] == "llama", value
    assert value["general.alignment"] % 32 == 0
    for key, field in (("block_count", "num_hidden_layers"), ("embedding_length", "hidden_size"),
                       ("feed_forward_length", "intermediate_size"), ("attention.head_count", "num_attention_heads"),
                       ("attention.head_count_kv", "num_key_value_heads"), ("vocab_size", "vocab_size")):
        assert value["llama." + key] == config[field], key
    if "tokenizer.ggml.tokens" in value:
        assert len(value["tokenizer.ggml.tokens"]) == config["vocab_size"]
        assert len(value["tokenizer.ggml.token_type"]) == config["vocab_size"]
    have = {t.name: t for t in g.tensors}
    assert len(have) == len(g.tensors)
    compared = 0
    for name, want in folder_tensors(folder):
        t = have.pop(stored_name(name))
        heads = {"attn_q.": "num_attention_heads", "attn_k.": "num_key_value_heads"}
        for part, field in heads.items():
            if part in t.name:
                want = permuted(want, config[field])
        got = gguf.dequantize(t.data, t.tensor_type).reshape(want.shape)
        error = np.sqrt(((got - want).astype(np.float64)**2).sum() / (want.astype(np.float64)**2).sum())
        assert error <= MOST[t.tensor_type.name], (t.name, t.tensor_type.name, error)
        compared += 1
    assert not have, have.keys()
    print(compared)


main(*sys.argv[1:])
