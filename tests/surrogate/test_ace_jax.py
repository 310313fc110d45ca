"""scripts/record_ace_jax.py with ace-jax at hand: the recorded values are still its own."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.ace_models import RECORDED

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

pytestmark = [pytest.mark.optional("ace_jax"), pytest.mark.slow]


def test_recorded_values():
    import record_ace_jax

    recorded, found = json.loads(RECORDED.read_text())["cases"], record_ace_jax.record()["cases"]
    for name, case in recorded.items():
        assert found[name]["functions"] == case["functions"]
        np.testing.assert_allclose(found[name]["values"], case["values"], rtol=1e-9, atol=1e-9)
        for suffix, results in case["models"].items():
            for one, other in zip(found[name]["models"][suffix], results, strict=True):
                assert abs(one["energy"] - other["energy"]) < 1e-9
                np.testing.assert_allclose(one["forces"], other["forces"], atol=1e-8)
