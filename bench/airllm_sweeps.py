#!/usr/bin/env python3
"""AirLLM on the processor: seconds of its preparation and of each sweep (one token a sweep), as JSON.

    airllm_sweeps.py MODEL SHARDS TOKENS [4bit|8bit]

SHARDS is the folder into which AirLLM splits the model, layer by layer, before it can run; what is there already is
used again. It prints progress of its own, so the JSON is the last line. With 4bit or 8bit the weights are stored and read in
its compression= of that name, see on_processor()."""
import json
import sys
import time

import torch
from airllm import AutoModel
from transformers import StoppingCriteria, StoppingCriteriaList


def on_processor():
    """AirLLM 4.0.0 moves every tensor that it compresses or expands to a CUDA device, whatever device it was given, and ends
    where there is none. bitsandbytes has kernels for the processor: here a tensor stays where it is, and so they are called.
    Its look at the free space divides where it should multiply (four times the model for a quarter of it) and is left out."""
    import airllm.utils
    from bitsandbytes.functional import QuantState

    from_dict = QuantState.from_dict.__func__
    torch.Tensor.cuda = lambda self, *args, **names: self
    QuantState.from_dict = classmethod(lambda cls, qs_dict, device: from_dict(cls, qs_dict, torch.device("cpu")))
    airllm.utils.check_space = lambda *args, **names: None


class Clock(StoppingCriteria):
    """Called once after each token."""

    def __init__(self):
        self.times = [time.monotonic()]

    def __call__(self, input_ids, scores, **kwargs):
        self.times.append(time.monotonic())
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def main():
    model_path, shards, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
    compression = sys.argv[4] if len(sys.argv) > 4 else None
    if compression:
        on_processor()
    start = time.monotonic()
    model = AutoModel.from_pretrained(model_path, device="cpu", layer_shards_saving_path=shards, compression=compression)
    prepared = time.monotonic() - start
    ids = torch.tensor([[1, 306, 4658, 278]])
    clock = Clock()
    model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False,
                   use_cache=True, pad_token_id=2, stopping_criteria=StoppingCriteriaList([clock]))
    sweeps = [b - a for a, b in zip(clock.times, clock.times[1:])]
    print(json.dumps({"preparation_seconds": prepared, "sweeps": sweeps}))


main()
