"""Which experts a run chose, from its trace: how even the choices were, and what a cache could have made of them.

    expert_choices.py TRACE EXPERTS LAYERS FIRST_TILE [SKIP]

TRACE: of `sluice run --trace`, experts of one tile each, the first of them being tile FIRST_TILE. SKIP: tokens left out at the
start [16]. Printed: the share of a token's choices that the token before had made too, by layer; and for caches of some shares of
all experts, the hits of the best fixed set (the most frequent ones of this very run, which no cache knows beforehand)."""
import collections
import json
import sys

trace, (experts, layers, first) = sys.argv[1], (int(x) for x in sys.argv[2:5])
skip = int(sys.argv[5]) if len(sys.argv) > 5 else 16
sweeps = []
for event in json.load(open(trace)):
    if event.get("pid") != 4 or event.get("tid") != 1000000 or "tile" not in event.get("args", {}):
        continue
    tile = event["args"]["tile"]
    if tile < 0:  # a sweep begins with rows of the embedding
        sweeps.append(set())
    elif tile >= first:
        sweeps[-1].add(tile - first)
sweeps = sweeps[1 + skip:]
count = collections.Counter(e for s in sweeps for e in s)
asked = sum(count.values())
top = asked / len(sweeps) / layers
print("%d tokens, %.2f experts of each layer; %d of %d ever chosen" % (len(sweeps), top, len(count), experts * layers))
pairs = list(zip(sweeps, sweeps[1:]))
for layer in range(layers):
    mine = lambda s: {e for e in s if e // experts == layer}
    kept = sum(len(mine(a) & mine(b)) for a, b in pairs) / sum(len(mine(b)) for _, b in pairs)
    print("layer %d: %.1f %% chosen by the token before too; even choices %.1f %%" % (layer, 100 * kept, 100 * top / experts))
by = [n for _, n in count.most_common()]
for share in 1 / 16, 1 / 8, 1 / 4, 1 / 2:
    places = int(experts * layers * share)
    print("cache of %.1f %% of all: best fixed set %.1f %% hits" % (100 * share, 100 * sum(by[:places]) / asked))
