"""The examples in docs/engines.md."""

import re
from pathlib import Path

import pytest
import yaml
from helpers.campaigns import campaign_settings

from ase_bayesel.campaign.config.loading import validate_config

DOCS = Path(__file__).parents[2] / "docs" / "engines.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
EXAMPLES = [block for block in BLOCKS if block.startswith("labelling:")]


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split()[2])
def test_example_is_a_valid_config(text):
    config = validate_config(campaign_settings(yaml.safe_load(text)), "docs")
    engine = config.engine
    section = yaml.safe_load(text)["labelling"]
    assert engine.kind == section["kind"]
    assert engine.n_attempts == 1 + len(section.get("fallbacks", []))


def test_there_are_examples():
    assert {"espresso", "abinit", "cp2k"} <= {text.split()[2] for text in EXAMPLES}
