"""What a further batch would bring, against posteriors that know it."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.structures import copper, copper_training

from ase_bayesel.descriptors.base import Sketch
from ase_bayesel.surrogate.design import property_rows
from ase_bayesel.surrogate.energy_weights import EnergyWeights
from ase_bayesel.surrogate.foresight import outlooks
from ase_bayesel.surrogate.outlook import Outlook


def deviations(surrogate, frames):
    """Root mean square, per atom of energies."""
    found = {"energy": [], "forces": []}
    for atoms in frames:
        features = surrogate.features(atoms)
        for prop, own in found.items():
            size = len(atoms) if prop == "energy" else 1
            rows = property_rows(features, prop) / size
            own.append(np.mean(surrogate.posterior.variance(rows)))
    return {prop: np.sqrt(np.mean(own)) for prop, own in found.items()}


@pytest.mark.parametrize("scale", [None, 2.0])
@pytest.mark.parametrize("n_picks", [1, 3])
def test_before_and_now(cu_surrogate, n_picks, scale):
    """One pick has fewer rows than there are coefficients, three have more."""
    weights = None if scale is None else EnergyWeights(scale, {})
    surrogate = type(cu_surrogate)(
        **{**vars(cu_surrogate), "energy_weights": weights, "properties": ("energy", "forces")}
    )
    picks, intended = [copper(k) for k in range(40, 40 + n_picks)], copper_training()[:3]
    after = surrogate.condition(picks)
    before, now = deviations(surrogate, intended), deviations(after, intended)
    for prop, found in outlooks(after, intended, picks).items():
        assert found.before == pytest.approx(before[prop], rel=1e-6)
        assert found.now == pytest.approx(now[prop], rel=1e-9)
        assert found.now <= found.before
    sizes = [len(atoms) for atoms in intended]
    found = outlooks(after, intended, picks)
    assert found["forces"].noise == pytest.approx(surrogate.noise.forces)
    per_atom = surrogate.noise.energy * np.sqrt(np.mean(1 / np.array(sizes)))
    assert found["energy"].noise == pytest.approx(per_atom)


class Sketched:
    """A descriptor whose forces are projected."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def __getattr__(self, name):
        return getattr(self._descriptor, name)

    def sketch(self, frames, n_projections, rng):
        for features in self.compute(frames, derivatives=True):
            moves = rng.choice([-1.0, 1.0], (n_projections, len(features.values), 3))
            slopes = np.einsum("dak,mak->md", features.jacobian, moves)
            yield Sketch(features.values, moves, slopes, features.strain)


def test_projections_give_deviations_of_components(cu_surrogate):
    """In the mean over projections, of which a structure has fewer than components."""
    picks, intended = [copper(k) for k in range(40, 45)], [copper(k) for k in range(20)]
    after = cu_surrogate.condition(picks)
    exact = outlooks(after, intended, picks)["forces"]
    after = replace(after, descriptor=Sketched(after.descriptor))
    found = outlooks(after, intended, picks, force_projections=4)
    assert found["forces"].now == pytest.approx(exact.now, rel=0.15)
    assert found["forces"].noise == exact.noise


def test_rows_that_say_more_than_the_fit_knows_tell_nothing(cu_surrogate):
    """As where a pick was never taken up, and by its rows all is learnt of it."""
    far = copper(7, 0.5)
    assert outlooks(cu_surrogate, copper_training()[:1], [far]) == {}


def test_nothing_without_structures(cu_surrogate):
    assert outlooks(cu_surrogate, [], [copper(1)]) == {}
    assert outlooks(cu_surrogate, [copper(1)], []) == {}


def test_information_adds_up():
    """Precision 1, then 4: the next batch takes it to 7."""
    found = Outlook(1.0, 0.5, 0.0)
    assert found.next == pytest.approx(7**-0.5)
    assert found.gain == pytest.approx(1 - 2 * 7**-0.5)
    assert Outlook(1.0, 0.5, 10.0).gain == pytest.approx((0.25 - 1 / 7) / 200, rel=0.01)
    assert Outlook(0.5, 0.5, 0.1).gain == 0.0
    assert Outlook(0.0, 0.0, 0.0).gain == 0.0


@pytest.mark.parametrize("values", [(1.0, -0.5, 0.1), (np.nan, 0.5, 0.1), (1.0, 0.5, np.inf)])
def test_numbers_that_cannot_be(values):
    with pytest.raises(ValueError, match="outlook"):
        Outlook(*values)
