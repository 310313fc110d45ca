"""The text of a config for a material, from the templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from string import Template
from textwrap import indent

import yaml
from ase.data import atomic_numbers

from ..errors import ConfigError
from ..generation import Bootstrap
from ..labelling.engines import ENGINES
from ..structures.labels import OWN_KEYS, PropertyKeys
from .material import LARGEST_A, ACESize, Material

LARGEST: Mapping[str | None, float] = {"tblite": 0.12}
"""Largest displacements (A) in crystals of engines that do not converge far from equilibrium."""
MOLECULES_ALONE = ("orca",)
"""Engines that refuse periodic structures, and so give no stress."""
EMT_METALS = frozenset({"Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt"})
"""For which ASE's effective medium theory is meant; it has numbers for H, C, N and O too."""
LAST_OF_XTB = 86
"""GFN2-xTB knows the elements up to radon."""
POTENTIAL_OF_MACE = """\
potential:
  kind: mace
  model: $model
  device: cpu                  # or cuda
  energy_shift: fitted         # to the reference of the labels: docs/how-to/potentials.md

refit:
  kind: mace                   # fine-tuning by mace_run_train on all labels
  max_epochs: 50
  time_limit_h: null
"""
NEITHER = """\
potential: null                # the linear model itself, fitted in each round
refit: null
"""


def template(name: str) -> str:
    """The text of a file among the templates."""
    return files("ase_bayesel").joinpath("templates", name).read_text()


def engine_names() -> tuple[str, ...]:
    """What ``--engine`` may be: the kinds of a config, and emt."""
    return tuple(_engine_texts())


def engine_text(name: str, elements: Sequence[str]) -> str:
    """What stands below ``labelling:`` for an engine.

    Raises
    ------
    ConfigError
        For an engine that is not known, or does not know one of the elements.
    """
    texts = _engine_texts()
    if name not in texts:
        raise ConfigError(f"--engine {name}: is none of {', '.join(texts)}")
    if name == "emt":
        from ase.calculators.emt import parameters as known

        unknown = [symbol for symbol in elements if symbol not in known]
        if unknown:
            raise ConfigError(
                f"--engine emt: does not know {', '.join(unknown)}, but {', '.join(known)}; take "
                "another engine"
            )
    values = {
        "pseudopotentials": _flow({symbol: f"{symbol}.upf" for symbol in elements}),
        "names": _flow({symbol: symbol for symbol in elements}),
        "species": _flow(list(elements)),
        "in_order": " ".join(elements),
    }
    return Template(texts[name]).substitute(values)


def recommended_engines(material: Material) -> str:
    """What to take for a trial and for labels to be used, by elements and periodicity, in words."""
    real = "espresso or another DFT program" if material.is_crystal else "a DFT program, as orca"
    if material.is_crystal and EMT_METALS.issuperset(material.elements):
        return f"emt for a trial (nothing to install), {real} for labels to be used"
    heaviest = max(atomic_numbers[symbol] for symbol in material.elements)
    trial = "tblite (xTB) for a trial, " if heaviest <= LAST_OF_XTB else ""
    return f"{trial}{real} for labels to be used"


def without_periodicity(engine: str) -> bool:
    """Whether an engine computes structures that are periodic in no direction."""
    return all(cls.without_periodicity for cls in ENGINES if cls.kind == engine)


def check_engine(engine: str, material: Material) -> None:
    """Refuse an engine that cannot compute the starts.

    Raises
    ------
    ConfigError
        Naming engine and start.
    """
    for k, atoms in enumerate(material.starts):
        if engine in MOLECULES_ALONE and atoms.pbc.any():
            raise ConfigError(f"--engine {engine}: computes molecules alone, start {k} is periodic")
        if not without_periodicity(engine) and not atoms.pbc.all():
            raise ConfigError(
                f"--engine {engine}: needs three periodic directions, which start {k} has not; put "
                "vacuum into its cell and make it periodic, or take another engine"
            )


@dataclass(frozen=True)
class Labelled:
    """Files of labelled structures as a config names them, their keys, and its ``e0s``."""

    train: str
    test: str | None = None
    keys: PropertyKeys = OWN_KEYS
    e0s: str = "isolated"

    def text(self) -> str:
        """What stands below ``data:`` of the files."""
        lines = [f"{f'train: {_flow(self.train)}':<28} # labelled structures"]
        if self.test is not None:
            lines.append(f"{f'test: {_flow(self.test)}':<28} # held out, to measure errors on")
        return "\n".join(lines)

    def e0s_text(self) -> str:
        """The value of ``e0s`` and why."""
        if self.e0s == "isolated":
            return "isolated                # energies of the isolated atoms"
        return "average                 # fitted to the labels: they hold no isolated atoms"


def campaign_text(
    name: str,
    starts: str,
    material: Material,
    engine: str | None,
    labelled: Labelled | None = None,
    model: str | None = None,
) -> str:
    """The config of a campaign.

    Parameters
    ----------
    name, starts
        Of the file, and of that of the starts.
    material
        The starts and their defaults.
    engine
        As of `engine_text`; None for labels by hand.
    labelled
        The training structures; None for those that a recipe makes.
    model
        A MACE model that is biased and fine-tuned; None for a linear ACE.
    """
    isolated = engine is None or without_periodicity(engine)
    if labelled is None:
        recipe = material.bootstrap(isolated, largest_A=LARGEST.get(engine, LARGEST_A))
        data = f"train:\n{indent(_bootstrap_text(recipe), '  ')}"
        keys, has_virial = OWN_KEYS, material.is_crystal and engine not in MOLECULES_ALONE
    else:
        data, keys = labelled.text(), labelled.keys
        has_virial = keys.virial is not None
    potential = NEITHER if model is None else Template(POTENTIAL_OF_MACE).substitute(model=model)
    what = "A linear ACE" if model is None else f"The MACE model {model}"
    by = "by hand" if engine is None else f"by {engine}"
    values = {
        "title": f"{what} for {', '.join(material.elements)}, with labels {by}",
        "name": name,
        "potential": potential,
        "descriptor": indent(_descriptor_text(material, model), "  ").rstrip(),
        "data": indent(data, "  ").rstrip(),
        "energy_key": keys.energy,
        "forces_key": keys.forces or "null      ",
        "virial_key": "REF_virial       # eV" if has_virial else "null             # 3x3, eV",
        "e0s": _e0s_text(engine, isolated) if labelled is None else labelled.e0s_text(),
        "starts": starts,
        "temperature": material.temperature_K,
        "timestep": material.timestep_fs,
        "lightest": material.lightest,
        "explore": indent(_explore_text(material), "  ").rstrip(),
        "labelling": _labelling_text(engine, material.elements),
    }
    return Template(template("material.yaml")).substitute(values)


def pool_text(name: str, starts: str, material: Material) -> str:
    """The config of a pool; parameters as of `campaign_text`."""
    recipe = material.bootstrap()
    lines = [f"- {{kind: rattle, amplitudes_A: {list(recipe.amplitudes_A)}, copies: 20}}"]
    if recipe.moved:
        lines.append(f"- {{kind: molecules, shifts_A: {list(recipe.shifts_A)}, copies: 20}}")
    if material.is_periodic:
        lines.append(f"- {{kind: strain, limit: {recipe.max_strain}, copies: 20}}")
        lines.append("- {kind: volume_scan, smallest: 0.85, largest: 1.15, points: 7}")
    if material.is_crystal:
        lines.append("- {kind: vacancies, counts: [1], copies: 5}")
    if material.swaps:
        lines.append("- {kind: swaps, counts: [1, 2], copies: 5}")
    values = {
        "title": f"Candidate structures of {', '.join(material.elements)}",
        "name": name,
        "starts": starts,
        "descriptor": indent(_descriptor_text(material, None), "  ").rstrip(),
        "recipes": indent("\n".join(lines), "  "),
    }
    return Template(template("material_pool.yaml")).substitute(values)


def _engine_texts() -> dict[str, str]:
    texts: dict[str, str] = yaml.safe_load(template("engines.yaml"))
    return texts


def _flow(value: object) -> str:
    """YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return text.strip().removesuffix("\n...")


def _bootstrap_text(recipe: Bootstrap) -> str:
    told = {
        "isolated": "an isolated atom of each element",
        "strained": "starts under random strains",
        "rattled": "starts whose atoms are displaced",
        "moved": "starts whose molecules are shifted and turned as wholes",
        "dimers": "distances of each pair of elements",
        "test": "held out, to measure errors on",
    }
    lines = ["bootstrap:                   # made of the starts, labelled as round 0: docs/data.md"]
    left_out = ["shortest", "longest", *([] if recipe.moved else ["moved", "shifts_A"])]
    for field in fields(recipe):
        if field.name in left_out:
            continue
        value = getattr(recipe, field.name)
        entry = f"  {field.name}: {_flow(list(value) if isinstance(value, tuple) else value)}"
        note = told.get(field.name)
        lines.append(f"{entry:<28} # {note}" if note else entry)
    return "\n".join(lines)


def _descriptor_text(material: Material, model: str | None) -> str:
    if model is not None:
        return "kind: mace                   # node features of the potential itself"
    size: ACESize = material.ace
    lines = [
        "kind: ace",
        f"elements: {_flow(material.elements)}",
        f"{f'order: {size.order}':<28} # correlation order",
        f"{f'totaldegree: {size.totaldegree}':<28} # {size.n_features} features; more with more "
        "labels",
        f"{f'cutoff: {size.cutoff}':<28} # A",
    ]
    if size.embedding is not None:
        entry = f"embedding: {size.embedding.channels}"
        lines.append(f"{entry:<28} # channels for many elements: docs/how-to/many_elements.md")
    return "\n".join(lines)


def _e0s_text(engine: str | None, isolated: bool) -> str:
    if isolated:
        return "isolated                # energies of the isolated atoms"
    return (
        f"average                 # {engine} computes nothing without periodicity, and so no "
        "isolated atoms"
    )


def _explore_text(material: Material) -> str:
    lines = []
    if not material.is_crystal:
        lines += [
            "guards:",
            "  lost_atoms: 2.0            # no molecule may break; in sums of covalent radii",
        ]
    if material.moves_cell:
        lines += [
            "pressure_GPa: 0.0",
            "moves:                       # Monte Carlo, between MD steps",
            "  - {kind: cell, shape: full, interval: 10}",
        ]
    if material.swaps:
        lines.append("  - {kind: swap, interval: 10}")
    return "\n".join(lines)


def _labelling_text(engine: str | None, elements: Sequence[str]) -> str:
    if engine is None:
        return " none                # you label: bayesel run says when, and where to"
    return "\n" + indent(engine_text(engine, elements), "  ").rstrip()
