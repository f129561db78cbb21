#!/usr/bin/env python3
"""AirLLM on the processor: seconds of its preparation and of each sweep (one token a sweep), as JSON.

    airllm_sweeps.py MODEL SHARDS TOKENS

SHARDS is the folder into which AirLLM splits the model, layer by layer, before it can run; what is there already is
used again. It prints progress of its own, so the JSON is the last line."""
import json
import sys
import time

import torch
from airllm import AutoModel
from transformers import StoppingCriteria, StoppingCriteriaList


class Clock(StoppingCriteria):
    """Called once after each token."""

    def __init__(self):
        self.times = [time.monotonic()]

    def __call__(self, input_ids, scores, **kwargs):
        self.times.append(time.monotonic())
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def main():
    model_path, shards, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
    start = time.monotonic()
    model = AutoModel.from_pretrained(model_path, device="cpu", layer_shards_saving_path=shards)
    prepared = time.monotonic() - start
    ids = torch.tensor([[1, 306, 4658, 278]])
    clock = Clock()
    model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False,
                   use_cache=True, pad_token_id=2, stopping_criteria=StoppingCriteriaList([clock]))
    sweeps = [b - a for a, b in zip(clock.times, clock.times[1:])]
    print(json.dumps({"preparation_seconds": prepared, "sweeps": sweeps}))


main()
