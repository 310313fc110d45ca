"""The refit of examples/adapter/config.yaml: train.py TRAIN MODEL OUTPUT SEED."""

from __future__ import annotations

import sys

import pairnet
from ase.io import read

if __name__ == "__main__":
    train, model, output, seed = sys.argv[1:]
    net = pairnet.load(model)
    pairnet.train(net, read(train, ":"), "REF_energy", "REF_forces", 50, int(seed) % 2**32)
    pairnet.save(net, output)
