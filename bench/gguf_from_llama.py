#!/usr/bin/env python3
"""Writes the BF16 GGUF of a Llama folder that mkmodel made, for llama.cpp: the same bytes under its names.

    PYTHONPATH=.../gguf-py gguf_from_llama.py FOLDER OUT.gguf

llama.cpp's own converter wants a published tokenizer; a bench needs none but byte tokens. Rows of q and k are put in the order in which
llama.cpp rotates them."""
import json
import mmap
import os
import struct
import sys

import gguf
import numpy as np

NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def name_of(name):
    base = name.removesuffix(".weight")
    if base in OUTER:
        return OUTER[base] + ".weight"
    _, _, layer, rest = base.split(".", 3)
    return f"blk.{layer}.{NAMES[rest]}.weight"


def tensors(folder):
    """(name, shape, bytes) of all safetensors files; the bytes are a view of the file."""
    for file in sorted(f for f in os.listdir(folder) if f.endswith(".safetensors")):
        with open(os.path.join(folder, file), "rb") as f:
            data = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        n = struct.unpack("<Q", data[:8])[0]
        for name, t in json.loads(data[8:8 + n]).items():
            if name != "__metadata__":
                assert t["dtype"] == "BF16", f"{name} is {t['dtype']}: only BF16 is converted"
                begin, end = t["data_offsets"]
                yield name, t["shape"], np.frombuffer(data, np.uint16, (end - begin) // 2, 8 + n + begin)


def rotated_order(x, heads):
    rows, cols = x.shape
    return x.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def vocabulary(w, n):
    """Bytes, and as many tokens more as the model has rows."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    kinds = [gguf.TokenType.UNKNOWN] + 2 * [gguf.TokenType.CONTROL] + 256 * [gguf.TokenType.BYTE]
    w.add_tokenizer_model("llama")
    w.add_token_list(tokens + [f"\u2581w{i}" for i in range(n - len(tokens))])
    w.add_token_scores([-float(i) for i in range(n)])
    w.add_token_types(kinds + (n - len(kinds)) * [gguf.TokenType.NORMAL])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)


def main():
    folder, out = sys.argv[1:]
    with open(os.path.join(folder, "config.json")) as f:
        c = json.load(f)
    w = gguf.GGUFWriter(out, "llama")
    w.add_name("bench")
    w.add_vocab_size(c["vocab_size"])
    vocabulary(w, c["vocab_size"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_rope_dimension_count(c["head_dim"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for name, shape, x in tensors(folder):
        if len(shape) == 1:  # llama.cpp wants norms in float32
            w.add_tensor(name_of(name), (x.astype(np.uint32) << 16).view(np.float32))
            continue
        x = x.reshape(shape)
        if "q_proj" in name or "k_proj" in name:
            x = rotated_order(x, c["num_attention_heads" if "q_proj" in name else "num_key_value_heads"])
        w.add_tensor(name_of(name), x.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


main()
