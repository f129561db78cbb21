#!/usr/bin/env python3
"""Makes further tokenizers, small ones of rarer kinds, with vectors from other people's implementations.

    python make_more.py        needs tokenizers, sentencepiece and tiktoken; writes into the folder it lies in

Texts come from ../tokenizers/llama3/vectors.jsonl. Each folder holds the tokenizer and vectors.jsonl, one case a line: text,
ids (special tokens added), plain (without), decoded (of plain, special tokens kept).
"""
import base64, json, os
import sentencepiece, tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = [json.loads(line)["text"] for line in open(os.path.join(HERE, "../tokenizers/llama3/vectors.jsonl"))]
CASES = TEXTS[:76] + TEXTS[76::4]
CORPUS = [t for t in TEXTS if len(t) > 25] * 6
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
KIMI = "|".join([r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


def write(name, file, data, cases):
    os.makedirs(os.path.join(HERE, name), exist_ok=True)
    with open(os.path.join(HERE, name, file), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    if cases is not None:
        with open(os.path.join(HERE, name, "vectors.jsonl"), "w") as f:
            for text, ids, plain, decoded in cases:
                f.write(json.dumps(dict(text=text, ids=ids, plain=plain, decoded=decoded)) + "\n")


def hugging_face(name, t):
    text = t.to_str()
    t = Tokenizer.from_str(text)
    cases = []
    for s in CASES:
        plain = t.encode(s, add_special_tokens=False).ids
        cases.append((s, t.encode(s).ids, plain, t.decode(plain, skip_special_tokens=False)))
    write(name, "tokenizer.json", text, cases)


def unigram(byte_fallback):
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=420, show_progress=False, unk_token="<unk>", special_tokens=["<unk>", "</s>"]))
    j = json.loads(t.to_str())
    if byte_fallback:
        j["model"]["byte_fallback"] = True
        j["model"]["vocab"] += [[f"<0x{i:02X}>", -12.5] for i in range(256)]
    t = Tokenizer.from_str(json.dumps(j))
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]) if byte_fallback else decoders.Metaspace()
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return t


def bert():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=420, show_progress=False, special_tokens=["[UNK]", "[CLS]", "[SEP]"]))
    t.decoder = decoders.WordPiece()
    t.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return t


def wordlevel():
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    t.train_from_iterator(CORPUS, trainers.WordLevelTrainer(vocab_size=300, show_progress=False, special_tokens=["<unk>"]))
    return t


def clip():
    """End-of-word suffixes behind byte-level characters, as CLIP's."""
    t = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"'s|'t|'re|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=760, show_progress=False, end_of_word_suffix="</w>",
                          special_tokens=["<|startoftext|>", "<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.decoder = decoders.BPEDecoder()
    t.post_processor = processors.RobertaProcessing(("<|endoftext|>", 1), ("<|startoftext|>", 0))
    return t


def splits():
    """Every split behaviour, each on another kind of delimiter, in front of a byte-level model that adds a space."""
    t = Tokenizer(models.BPE(continuing_subword_prefix="##", unk_token="<unk>", fuse_unk=True))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=420, show_progress=False, continuing_subword_prefix="##", special_tokens=["<unk>"]))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("\n", "merged_with_previous"), pre_tokenizers.Punctuation("contiguous"),
        pre_tokenizers.Split(Regex(r"\p{Lu}"), "merged_with_next"), pre_tokenizers.Split(Regex(r"\p{N}{1,3}+"), "isolated"),
        pre_tokenizers.CharDelimiterSplit("_"), pre_tokenizers.Split(Regex(r"[\p{L}&&[^\p{Latin}]]+"), "isolated"), pre_tokenizers.WhitespaceSplit()])
    t.decoder = decoders.WordPiece(cleanup=True)
    return t


def flags():
    """Added tokens that are normalized, single words, or swallow the spaces around them, and a fussy decoder."""
    j = json.load(open(os.path.join(HERE, "../tokenizers/llama2/tokenizer.json")))
    t = Tokenizer.from_str(json.dumps(j))
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    t.add_tokens([AddedToken("THE", single_word=True), AddedToken("a", single_word=True, normalized=False, rstrip=True), AddedToken("\n\n", lstrip=True, rstrip=True),
                  AddedToken("<|en", normalized=False), AddedToken("é", normalized=False), AddedToken("said", single_word=True, lstrip=True)])
    t.add_special_tokens([AddedToken("<|end|>", normalized=True), AddedToken("<mask>", lstrip=True, normalized=False)])
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("▁", " "), decoders.Replace("aa", "b"), decoders.Strip(" ", 2, 0)])
    return t


def piece_model(name, **how):
    model = os.path.join(HERE, name, "tokenizer")
    os.makedirs(os.path.join(HERE, name), exist_ok=True)
    corpus = os.path.join(HERE, name, "corpus.txt")
    with open(corpus, "w") as f:
        f.writelines(t.replace("\n", " ").replace("\0", "") + "\n" for t in CORPUS)
    sentencepiece.SentencePieceTrainer.train(input=corpus, model_prefix=model, character_coverage=0.995, normalization_rule_name="identity",
                                             minloglevel=2, **how)
    os.remove(corpus)
    os.remove(model + ".vocab")
    m = sentencepiece.SentencePieceProcessor(model_file=model + ".model")
    # left out: special tokens, which the library does not look for, and a text with two cuts of one score, where its versions differ
    out = ("<s>", "</s>", "<unk>", "--- *** ###")
    cases = [(s, [m.bos_id()] + m.encode(s), m.encode(s), m.decode(m.encode(s))) for s in CASES if not any(x in s for x in out)]
    write(name, "tokenizer.model", open(model + ".model", "rb").read(), cases)


def tiktoken_file(name, file, pattern, config, specials, nfc=False, prefix=()):
    """The ranks of the llama3 tokenizer beside this folder; specials: name to id."""
    import unicodedata
    j = json.load(open(os.path.join(HERE, "../tokenizers/llama3/tokenizer.json")))
    visible = pre_tokenizers.ByteLevel.alphabet()
    table = {}
    n = 0
    for b in range(256):
        c = chr(b) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255 else chr(256 + n)
        n += ord(c) > 255
        table[c] = b
    assert set(table) == set(visible)
    ranks = {bytes(table[c] for c in token): i for token, i in j["model"]["vocab"].items()}
    e = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials)
    cases = []
    for s in CASES:
        t = unicodedata.normalize("NFC", s) if nfc else s
        plain = e.encode(t, allowed_special="all")
        cases.append((s, [specials[p] for p in prefix] + plain, plain, e.decode(plain)))
    write(name, file, b"".join(base64.b64encode(t) + b" %d\n" % i for t, i in sorted(ranks.items(), key=lambda x: x[1])), cases)
    write(name, "tokenizer_config.json", json.dumps(config), None)


if __name__ == "__main__":
    for name, make in dict(unigram=lambda: unigram(False), unigram_bytes=lambda: unigram(True), bert=bert, wordlevel=wordlevel, clip=clip,
                           splits=splits, flags=flags).items():
        hugging_face(name.replace("_", "-"), make())
    piece_model("spm-bpe", model_type="bpe", vocab_size=700, byte_fallback=True, remove_extra_whitespaces=False, split_digits=True)
    piece_model("spm-unigram", model_type="unigram", vocab_size=430)
    piece_model("spm-unigram-bytes", model_type="unigram", vocab_size=690, byte_fallback=True, add_dummy_prefix=False)
    qwen = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]
    tiktoken_file("tiktoken-qwen", "qwen.tiktoken", CL100K % "", dict(tokenizer_class="QWenTokenizer"), {s: 900 + i for i, s in enumerate(qwen)}, nfc=True)
    named = {900: "<|begin_of_text|>", 903: "<|end|>"}
    tiktoken_file("tiktoken-kimi", "tiktoken.model", KIMI,
                  dict(tokenizer_class="TikTokenTokenizer", added_tokens_decoder={str(i): dict(content=s, special=True) for i, s in named.items()}),
                  {named.get(i, f"<|reserved_token_{i}|>"): i for i in range(900, 1156)})
    glm = {s: 900 + i for i, s in enumerate(["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|user|>"])}
    tiktoken_file("tiktoken-glm4", "tokenizer.model", CL100K % "{1,3}",
                  dict(tokenizer_class="ChatGLM4Tokenizer", added_tokens_decoder={str(i): dict(content=s, special=True) for s, i in glm.items()}),
                  glm, prefix=("[gMASK]", "<sop>"))
