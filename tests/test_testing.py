from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from helpers.calculators import Opaque
from helpers.structures import cluster, copper, with_pbc

from ase_bayesel import BiasedCalculator
from ase_bayesel.descriptors.base import Gradient
from ase_bayesel.errors import DescriptorError
from ase_bayesel.testing import ConformanceError, check_calculator, check_descriptor

FRAMES = [
    copper(1, 0.15),
    cluster("Cu5", 2),
    Atoms("Cu2", [[0.0, 0.0, 0.0], [0.3, 0.2, 2.4]]),
    with_pbc(copper(3, 0.15), (True, True, False)),
]


class Twisted:
    """A descriptor with one promise broken."""

    def __init__(self, inner, **changes):
        self.inner = inner
        self.__dict__.update(changes)

    def __getattr__(self, name):
        return getattr(self.inner, name)


def with_features(inner, change):
    """Every computed `Features` goes through ``change(features, atoms)``."""

    def compute(frames, derivatives=False):
        found = inner.compute(frames, derivatives)
        return [change(features, atoms) for features, atoms in zip(found, frames, strict=True)]

    return Twisted(inner, compute=compute)


def scaled_jacobian(features, atoms):
    if features.jacobian is None:
        return features
    return replace(features, jacobian=1.001 * features.jacobian)


def oriented(features, atoms):
    values = features.values.copy()
    values[:, 0] += (atoms.positions[:, 2] - atoms.positions[:, 2].mean()) ** 2
    return replace(features, values=values)


def rattling(inner):
    def compute(frames, derivatives=False):
        for atoms in frames:
            atoms.positions += 1e-12
        return inner.compute(frames, derivatives)

    return Twisted(inner, compute=compute)


def forgetful(inner):
    """A pullback that works only once."""

    def linearize(atoms):
        phi, pullback = inner.linearize(atoms)
        calls = []

        def once(cotangent):
            calls.append(cotangent)
            return pullback(cotangent if len(calls) == 1 else 0 * cotangent)

        return phi, once

    return Twisted(inner, linearize=linearize)


def doubled_strain(inner):
    def vjp(atoms, cotangent):
        gradient = inner.vjp(atoms, cotangent)
        return Gradient(gradient.positions, 2 * gradient.strain)

    return Twisted(inner, vjp=vjp)


def lenient(inner):
    """Takes unknown elements for copper."""

    def compute(frames, derivatives=False):
        frames = [atoms.copy() for atoms in frames]
        for atoms in frames:
            atoms.symbols[:] = "Cu"
        return inner.compute(frames, derivatives)

    return Twisted(inner, compute=compute)


def intensive(features, atoms):
    return replace(features, values=features.values / len(atoms))


BROKEN = {
    "jacobian and differences": lambda d: with_features(d, scaled_jacobian),
    "changed by the evaluation": rattling,
    "pullback by positions": forgetful,
    "vjp by strain": doubled_strain,
    "unknown element": lenient,
    "expected float64": lambda d: with_features(
        d, lambda f, atoms: replace(f, values=f.values.astype(np.float32))
    ),
    "expected shape": lambda d: with_features(
        d, lambda f, atoms: replace(f, values=f.values[:, 1:])
    ),
    "prior_std": lambda d: Twisted(d, prior_std=lambda: np.zeros(d.n_features)),
    "lack some": lambda d: Twisted(d, elements=["Si"]),
    "JSON-serialisable": lambda d: Twisted(d, spec=lambda: {"kind": "x", "r": np.ones(2)}),
    "through JSON": lambda d: Twisted(d, spec=lambda: {"kind": "x", "r": (1, 2)}),
    "nobody asked": lambda d: Twisted(
        d, compute=lambda frames, derivatives=False: d.compute(frames, True)
    ),
}


def test_ace_conforms(cu_ace):
    check_descriptor(cu_ace, FRAMES)
    check_descriptor(cu_ace, FRAMES[0])


@pytest.mark.slow
def test_ace_of_several_elements_conforms(ternary_ace):
    check_descriptor(ternary_ace, [cluster("Cu2AuAl", 5), cluster("CuAl", 6)])


@pytest.mark.parametrize("promise", BROKEN)
def test_broken_promises_of_a_descriptor(cu_ace, promise):
    with pytest.raises(ConformanceError, match=promise):
        check_descriptor(BROKEN[promise](cu_ace), FRAMES[:1])


def test_orientation_and_size(cu_ace):
    """Broken symmetry is found even where derivatives were adapted to it."""
    values_only = with_features(cu_ace, oriented)
    with pytest.raises(ConformanceError, match="differences"):
        check_descriptor(values_only, FRAMES[1])
    with pytest.raises(ConformanceError):
        check_descriptor(with_features(cu_ace, intensive), FRAMES[1])


def test_a_descriptor_may_say_that_it_cannot_be_saved(cu_ace):
    def spec():
        raise DescriptorError("no file")

    check_descriptor(Twisted(cu_ace, spec=spec), FRAMES[0])


def test_no_frames(cu_ace):
    with pytest.raises(ValueError, match="frames"):
        check_descriptor(cu_ace, [])


# calculators


class Skewed(Calculator):
    """EMT with one property multiplied and an unknown name in its results."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, prop=None, factor=1.0, extra=False):
        super().__init__()
        self.prop, self.factor, self.extra = prop, factor, extra

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        emt = EMT()
        self.results = {p: emt.get_property(p, self.atoms) for p in self.implemented_properties}
        if self.prop:
            self.results[self.prop] = self.factor * self.results[self.prop]
        if self.extra:
            self.results["force_std"] = 1.0


@pytest.mark.parametrize(
    "atoms", [FRAMES[0], FRAMES[1], FRAMES[3]], ids=["bulk", "cluster", "slab"]
)
def test_calculators_that_conform(cu_surrogate, atoms):
    for calculator in (
        EMT(),
        cu_surrogate.calculator(),
        BiasedCalculator(EMT(), cu_surrogate, tau=0.5),
        BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5),
        Opaque(cu_surrogate.calculator()),
    ):
        check_calculator(calculator, atoms)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prop": "forces", "factor": 1.01}, "forces and differences"),
        ({"prop": "stress", "factor": -1.0}, "stress and differences"),
        ({"prop": "energy", "factor": np.nan}, "finite number"),
        ({"extra": True}, "force_std"),
    ],
)
def test_broken_promises_of_a_calculator(options, message):
    with pytest.raises(ConformanceError, match=message):
        check_calculator(Skewed(**options), FRAMES[0])
