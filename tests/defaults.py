#!/usr/bin/env python3
"""Writes tests/data/defaults.tsv: what the class of each architecture has where a config.json is silent.

    python3 tests/defaults.py > tests/data/defaults.tsv          (transformers 5.24, torch)

A line is model type, class, key, default as JSON. Model types are those of the tables in coordinator/arch/family.c. Fields
of every config (token ids, dropout and what else no forward pass needs) are left out; what a class reads from further
arguments (rope_theta, partial_rotary_factor, sliding_window_pattern) is there under the name that config.json gives it.
Classes that transformers does not have are those published with their weights: they stand below, written down once.
tests/test_defaults.c holds what sluice takes against this table."""
import dataclasses, inspect, json, re, sys
import transformers
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

FAMILIES = "coordinator/arch/family.c"
UNUSED = re.compile(r"token_id$|dropout|^initializer_range$|^use_cache$|pdrop$|_loss_coef$|^output_router_logits$|^router_jitter_noise$"
                    r"|^time_step_limit$"  # a bound that is Infinity, which JSON does not have
                    r"|^pretraining_tp$|^num_mtp_layers$|^num_nextn_predict_layers$|^rope_parameters$|^layer_types$")

# configuration_*.py beside the weights: 01-ai/Yi-6B of November 2023, internlm/internlm2-7b, baichuan-inc/Baichuan2-7B-Base
# (of 7B and 13B only what they have in common), Qwen/Qwen-7B, THUDM/chatglm3-6b, openbmb/MiniCPM-2B-sft-bf16
PUBLISHED = {
    "Yi": ("YiConfig", dict(vocab_size=64000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                            num_attention_heads=32, num_key_value_heads=4, hidden_act="silu", max_position_embeddings=4096,
                            rms_norm_eps=1e-5, tie_word_embeddings=False, rope_theta=5000000.0)),
    "internlm2": ("InternLM2Config", dict(vocab_size=103168, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                                          num_attention_heads=32, num_key_value_heads=None, hidden_act="silu",
                                          max_position_embeddings=2048, rms_norm_eps=1e-6, tie_word_embeddings=False, bias=True,
                                          rope_theta=10000, rope_scaling=None)),
    "baichuan": ("BaichuanConfig", dict(hidden_act="silu", rms_norm_eps=1e-6, tie_word_embeddings=False)),
    "qwen": ("QWenConfig", dict(vocab_size=151936, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
                                layer_norm_epsilon=1e-6, max_position_embeddings=8192, kv_channels=128, rotary_pct=1.0,
                                rotary_emb_base=10000, intermediate_size=22016, no_bias=True, tie_word_embeddings=False)),
    "minicpm": ("MiniCPMConfig", dict(vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                                      num_attention_heads=32, num_key_value_heads=None, hidden_act="silu",
                                      max_position_embeddings=2048, rms_norm_eps=1e-6, tie_word_embeddings=True,
                                      rope_theta=10000.0, rope_scaling=None, attention_bias=False, scale_emb=1,
                                      dim_model_base=1, scale_depth=1)),
    "chatglm": ("ChatGLMConfig", dict(num_layers=28, padded_vocab_size=65024, hidden_size=4096, ffn_hidden_size=13696,
                                      kv_channels=128, num_attention_heads=32, seq_length=2048, layernorm_epsilon=1e-5,
                                      rmsnorm=True, apply_residual_connection_post_layernorm=False, post_layer_norm=True,
                                      add_bias_linear=False, add_qkv_bias=False, multi_query_attention=False,
                                      multi_query_group_num=1, rope_ratio=1, pre_seq_len=None, tie_word_embeddings=False)),
}


def rotary(config):
    """What the class makes of no rules at all, under the names of an older config.json."""
    rules = getattr(config, "rope_parameters", None)
    theta, share = ("rotary_emb_base", "rotary_pct") if '"rotary_pct"' in inspect.getsource(type(config)) else ("rope_theta", "partial_rotary_factor")
    if not rules:  # it does not rotate
        return
    if "full_attention" in rules:
        yield "rope_theta", rules["full_attention"]["rope_theta"]
        if "rope_local_base_freq" in inspect.getsource(type(config)):
            yield "rope_local_base_freq", rules["sliding_attention"]["rope_theta"]
        return
    if "main" in rules:  # DeepSeek V4: the others rotate by compress_rope_theta
        yield "rope_theta", rules["main"]["rope_theta"]
        return
    yield theta, rules["rope_theta"]
    if "partial_rotary_factor" in rules:
        yield share, rules["partial_rotary_factor"]
    if rules["rope_type"] != "default":
        yield "rope_parameters", {k: v for k, v in rules.items() if k not in ("rope_theta", "partial_rotary_factor")}


def defaults(kind):
    """(class, {key: default}) of a model type."""
    cls = CONFIG_MAPPING[kind]
    common = {f.name for f in dataclasses.fields(PreTrainedConfig)}
    out = {f.name: f.default for f in dataclasses.fields(cls) if f.name not in common and not UNUSED.search(f.name)}
    for key, value in re.findall(r'kwargs\.(?:get|pop|setdefault)\(\s*"(\w+)",\s*([\d.e-]+)\)', inspect.getsource(cls)):
        out.setdefault(key, json.loads(value))
    if kind.endswith("_text"):  # a part: its head is the whole model's
        out["tie_word_embeddings"] = CONFIG_MAPPING[kind.removesuffix("_text")]().tie_word_embeddings
    out.update(rotary(cls()))
    return cls.__name__, out


def main():
    kinds = dict.fromkeys(re.findall(r'\{"\w+", "(\w+)", \w+\}', open(FAMILIES).read()))
    print(f"# model type, class, key, default: transformers {transformers.__version__}, made by tests/defaults.py")
    for kind in sorted(kinds):
        name, table = PUBLISHED[kind] if kind in PUBLISHED else defaults(kind)
        for key in sorted(table):
            print(kind, name, key, json.dumps(table[key]), sep="\t")


if __name__ == "__main__":
    main()
