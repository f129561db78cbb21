#!/usr/bin/env python3
"""Writes cases.json: files that stand beside a tokenizer.json (tokenizer_config.json, special_tokens_map.json, added_tokens.json), and what AutoTokenizer
of transformers makes of them: ids of texts, the added tokens with their flags, the end of text.

    pip install transformers==5.24.0 && python make_special.py

Written by hand first, then at random, the same at each run. Folders that transformers refuses are left out.
"""
import json, os, random, shutil, tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
from transformers import AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = "tests/data/tokenizers/qwen2/tokenizer.json"
base = json.load(open(os.path.join(HERE, "../../..", BASE), encoding="utf8"))
OWN = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in base["added_tokens"]}
NAMES = [t["content"] for t in base["added_tokens"]]
NEXT = max([*base["model"]["vocab"].values(), *(t["id"] for t in base["added_tokens"])]) + 1
NEW = ["<|tool|>", "<|act|>", "[x]", "<|ünï|>", "a b", "Hello"]
TEXTS = ["Hi <|tool|> x <|act|>  [x]y" + NAMES[0] + " a b<|ünï|> Hello " + NAMES[-1] + " end", "  <|act|>\n[x] [x]", "the[x]is<|tool|>", " ".join(NEW + NAMES), "HELLO hello a  b A B"]
FAST = "PreTrainedTokenizerFast"


def token(content, **flags):
    return dict(content=content, special=True, lstrip=False, rstrip=False, single_word=False, normalized=False) | flags


def typed(content, **flags):
    return token(content, **flags) | {"__type": "AddedToken"}


cases = []


def case(config=None, map=None, added=None):
    files = {k: v for k, v in {"tokenizer_config.json": config, "special_tokens_map.json": map, "added_tokens.json": added}.items() if v is not None}
    with tempfile.TemporaryDirectory() as d:
        shutil.copy(os.path.join(HERE, "../../..", BASE), d)
        json.dump({"architectures": ["LlamaForCausalLM"]}, open(d + "/config.json", "w"))
        for name, value in files.items():
            json.dump(value, open(os.path.join(d, name), "w"))
        try:
            t = AutoTokenizer.from_pretrained(d)
        except Exception as e:
            print("left out:", str(e)[:90])
            return
        assert type(t).__name__ == "TokenizersBackend"
        texts = []
        for x in TEXTS:
            ids = t(x, add_special_tokens=False)["input_ids"]
            texts.append({"text": x, "ids": ids, "decoded": t.decode(ids, skip_special_tokens=True)})
        tokens = [[i, a.content, a.special] for i, a in sorted(t.added_tokens_decoder.items())]
        cases.append({"files": files, "texts": texts, "tokens": tokens, "eos": t.eos_token_id if t.eos_token is not None else None})


def by_hand():
    more = {str(NEXT): token("<|tool|>"), str(NEXT + 1): token("<|act|>", lstrip=True)}
    case()
    case({})
    case({"tokenizer_class": FAST, "added_tokens_decoder": OWN | more})
    case({"tokenizer_class": FAST, "added_tokens_decoder": OWN | {str(NEXT + 1): token("<|act|>", rstrip=True, special=False), str(NEXT): token("<|tool|>", normalized=True)}})
    case({"added_tokens_decoder": {str(NEXT): {"content": "<|tool|>"}, str(NEXT + 1): {"content": "[x]", "special": True}}})
    for flag in ("lstrip", "rstrip", "single_word", "normalized"): # other flags than tokenizer.json says
        case({"added_tokens_decoder": OWN | {min(OWN): token(OWN[min(OWN)]["content"], **{flag: True})}})
    case({"added_tokens_decoder": OWN | {min(OWN): token(OWN[min(OWN)]["content"], special=False, normalized=True)}})
    case({"eos_token": OWN[min(OWN)]["content"], "added_tokens_decoder": OWN | {min(OWN): token(OWN[min(OWN)]["content"], special=False, rstrip=True)}})
    case({"added_tokens_decoder": {"5": token("<|tool|>"), "7": token("Hello")}})
    case({"added_tokens_decoder": {str(NEXT): token("Hello", single_word=True, special=False, normalized=True)}})
    case({"additional_special_tokens": ["<|act|>", "<|tool|>"]})
    case({"extra_special_tokens": ["<|act|>", "<|tool|>"]})
    case({"additional_special_tokens": ["<|act|>"], "extra_special_tokens": ["<|tool|>"]})
    case({"additional_special_tokens": ["<|act|>"], "extra_special_tokens": []})
    case({"additional_special_tokens": ["<|act|>"], "extra_special_tokens": {}})
    case({"additional_special_tokens": ["<|act|>"], "extra_special_tokens": None})
    case({"additional_special_tokens": ["<|act|>"], "extra_special_tokens": {"image_token": "<|tool|>", "other": "[x]"}})
    case({"additional_special_tokens": None, "eos_token": None})
    case({"additional_special_tokens": [typed("<|act|>", lstrip=True, special=False), "<|tool|>"]})
    case({"extra_special_tokens": {"tool_token": "<|tool|>", "act": "<|act|>"}})
    case({"eos_token": "<|tool|>", "my_token": "<|act|>"})
    case({"eos_token": typed("<|tool|>", lstrip=True, special=False), "my_token": typed("<|act|>", rstrip=True)})
    case({"pad_token": "<|act|>", "my_token": "[x]", "eos_token": "<|tool|>", "extra_special_tokens": ["<|ünï|>"], "bos_token": "a b"})
    case({"eos_token": "<|tool|>", "pad_token": "<|tool|>", "unk_token": "<|tool|>", "extra_special_tokens": ["<|tool|>", "<|act|>"]})
    case({"added_tokens_decoder": {str(NEXT): token("[x]")}, "eos_token": "<|tool|>", "extra_special_tokens": ["<|act|>", "[x]"]})
    case({"eos_token": NAMES[-1], "bos_token": NAMES[0]})
    case({"eos_token": "", "added_tokens_decoder": {str(NEXT): token(""), str(NEXT + 1): token("<|tool|>")}})
    case({"eos_token": "Hello", "extra_special_tokens": ["H"]})
    case({"eos_token": NAMES[0]}, {"eos_token": token("<|tool|>", rstrip=True), "additional_special_tokens": ["<|act|>"]})
    case({"eos_token": NAMES[0], "added_tokens_decoder": OWN}, {"eos_token": token("<|tool|>"), "additional_special_tokens": ["<|act|>"]})
    case({"eos_token": NAMES[0], "additional_special_tokens": ["<|act|>"]}, {"eos_token": "<|tool|>", "additional_special_tokens": ["[x]"]})
    case({"extra_special_tokens": ["<|act|>"]}, {"extra_special_tokens": ["[x]", "<|tool|>"]})
    case({"my_token": "a b"}, {"extra_special_tokens": {"a_token": "<|act|>"}, "b_token": "<|tool|>"})
    case(None, {"eos_token": token("<|tool|>", rstrip=True), "additional_special_tokens": ["<|act|>"]})
    case(None, {"eos_token": None, "pad_token": "<|act|>"})
    case({}, None, {"<|tool|>": NEXT, "<|act|>": NEXT + 1})
    case({"eos_token": "<|tool|>", "additional_special_tokens": ["[x]"]}, None, {"<|act|>": NEXT, "<|tool|>": NEXT + 1, "[x]": NEXT + 2})
    case({"added_tokens_decoder": OWN}, None, {"<|tool|>": NEXT})
    case(None, {"additional_special_tokens": ["<|act|>"]}, {"<|tool|>": NEXT})
    case({}, None, {"<|tool|>": NEXT - 1, "<|act|>": NEXT + 1, NAMES[-1]: NEXT + 2})
    case({"added_tokens_decoder": OWN | {str(NEXT + 40): token("<|tool|>"), str(NEXT + 20): token("<|act|>")}}) # ids with gaps: numbered on


def at_random(n):
    r = random.Random(12)

    def flags():
        return {k: r.random() < 0.25 for k in ("lstrip", "rstrip", "single_word", "normalized")} | {"special": r.random() < 0.7}

    def value(content):
        return content if r.random() < 0.6 else typed(content, **flags())

    def members(p):
        o = {}
        for key in ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "image_token", "tool_token"):
            if r.random() < p:
                o[key] = value(r.choice(NEW + NAMES))
        for key in ("additional_special_tokens", "extra_special_tokens"):
            if r.random() < p:
                o[key] = [value(x) for x in r.sample(NEW + NAMES, r.randint(0, 3))]
        if r.random() < p / 3:
            o["extra_special_tokens"] = {f"n{i}_token": x for i, x in enumerate(r.sample(NEW, 2))}
        keys = list(o)
        r.shuffle(keys)
        return {k: o[k] for k in keys}

    for _ in range(n):
        config = members(0.4)
        if r.random() < 0.5:
            some = r.sample(NEW, r.randint(0, 4))
            config["added_tokens_decoder"] = (OWN if r.random() < 0.7 else {}) | {str(NEXT + i): token(x, **flags()) for i, x in enumerate(some)}
        map = {k: ({f: y for f, y in v.items() if f not in ("__type", "special")} if isinstance(v, dict) and k.endswith("_token") else v) for k, v in members(0.3).items()} if r.random() < 0.4 else None
        added = {x: NEXT + i for i, x in enumerate(r.sample(NEW, r.randint(1, 4)))} if r.random() < 0.4 else None
        case(config, map, added)


def split():
    """Special tokens that a text spells are text; added ones that are not special stay one."""
    more = {str(NEXT): token("<|tool|>", lstrip=True), str(NEXT + 1): token("<|act|>", special=False), str(NEXT + 2): token("[x]", special=False, normalized=True)}
    case({"split_special_tokens": True})
    case({"split_special_tokens": False, "eos_token": NAMES[-1]})
    case({"split_special_tokens": True, "eos_token": NAMES[-1], "added_tokens_decoder": OWN | more})
    case({"split_special_tokens": True, "eos_token": "Hello", "additional_special_tokens": ["<|act|>", "a b"]})
    case({"split_special_tokens": True, "added_tokens_decoder": {str(NEXT): token("Hello", special=False), str(NEXT + 1): token("Hello <|im")}})


by_hand()
at_random(120)
split()
with open(os.path.join(HERE, "cases.json"), "w", encoding="utf8") as f:
    f.write('{"base": ' + json.dumps(BASE) + ',\n"cases": [\n' + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]}\n")
print(len(cases), "cases")
