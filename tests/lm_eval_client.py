"""lm-eval's local-completions against a server of the demo model, beside `sluice logits`: python3 tests/lm_eval_client.py PORT
SLUICE. Says "ok" at its end. A score is a sum of logarithms that the server said; here it is computed from the logits."""
import subprocess
import sys
import tempfile

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

PORT, SLUICE = sys.argv[1:3]
MODEL = "tests/data/demo-model"
PAIRS = [
    ("Once upon a time", " there was a fox named Karl."),
    ("Once upon a time", " there was a stone that sang."),
    ("Karl was a fox. He", " lived in the forest."),
    ("Karl was a fox. He", "\n\nxylophone 17 %"),
    ("The bell", " rang"),
    ("Tell me: who are you?", " I am a story."),
]


def logits(ids):
    with tempfile.NamedTemporaryFile() as f:
        subprocess.run(
            [SLUICE, "logits", MODEL, "--tokens", " ".join(map(str, ids)), "--out", f.name, "--threads", "2"],
            check=True, capture_output=True,
        )
        return np.fromfile(f.name, "<f4").reshape(len(ids), -1).astype(np.float64)


def score(context, continuation):
    """What lm-eval asks for, from our own logits."""
    ids = context + continuation
    x = logits(ids)
    x = x - x.max(axis=1, keepdims=True)
    logarithms = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    at = range(len(context), len(ids))
    return sum(logarithms[i - 1, ids[i]] for i in at), all(x[i - 1].argmax() == ids[i] for i in at)


api = LocalCompletionsAPI(
    base_url=f"http://127.0.0.1:{PORT}/v1/completions", model="demo-model", tokenizer_backend="huggingface",
    tokenizer=MODEL, batch_size=3, max_retries=1, max_length=256,
)
asked = [Instance("loglikelihood", {}, p, i) for i, p in enumerate(PAIRS)]
greedy = 0
for (context, continuation), (sum_said, greedy_said) in zip(PAIRS, api.loglikelihood(asked, disable_tqdm=True)):
    ids, more = api._encode_pair(context, continuation)
    ours, is_greedy = score(ids, more)
    assert abs(ours - sum_said) <= 1e-4 * max(1, abs(ours)), (context, continuation, ours, sum_said)
    assert is_greedy == greedy_said, (context, continuation)
    greedy += is_greedy

# and what the model itself says is the likeliest everywhere
said = api.generate_until([Instance("generate_until", {}, ("Once upon a time", {"max_gen_toks": 12, "until": ["\n\n\n"]}), 0)], disable_tqdm=True)
told = [Instance("loglikelihood", {}, ("Once upon a time", said[0]), 0)]
assert said[0].strip() and api.loglikelihood(told, disable_tqdm=True)[0][1], said
print("ok")
