"""Environments that a fit knows: what is extrapolated, along curves that no training set holds."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

import ase_bayesel
from ase_bayesel import ACEDescriptor, Surrogate, fit_surrogate
from ase_bayesel.errors import PosteriorError
from ase_bayesel.structures.environments import CutOut
from ase_bayesel.structures.labels import PropertyKeys, whole_atoms
from ase_bayesel.surrogate import support
from ase_bayesel.surrogate.held_out import held_out
from ase_bayesel.surrogate.support import MOST_BEYOND, NEAR_A, SHARE, Known, Support

CUTOFF = 5.0


def labelled(atoms):
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.calc = EMT()
    frame.info["energy"], frame.arrays["forces"] = frame.get_potential_energy(), frame.get_forces()
    frame.calc = None
    return frame


def snapshots(atoms, temperature_K, count, rng):
    atoms.calc = EMT()
    thermalize_momenta(atoms, temperature_K=temperature_K, rng=rng)
    md = Langevin(
        atoms, 4.0 * units.fs, temperature_K=temperature_K, friction=0.1, rng=rng, fixcm=False
    )
    frames = []
    for _ in range(count):
        md.run(40)
        frames.append(labelled(atoms))
    return frames


@pytest.fixture(scope="module")
def training():
    rng = np.random.default_rng(0)
    cell = bulk("Cu", cubic=True) * (2, 2, 2)
    frames = snapshots(cell.copy(), 600.0, 10, rng)
    for scale in (0.98, 1.02):
        strained = cell.copy()
        strained.set_cell(scale * cell.cell, scale_atoms=True)
        frames += snapshots(strained, 300.0, 3, rng)
    return frames


@pytest.fixture(scope="module")
def known(training):
    return fitted(training)


def fitted(frames, e0s=MappingProxyType({"Cu": 3.51})):
    descriptor = ACEDescriptor("Cu", totaldegree=8, cutoff=CUTOFF)
    return ase_bayesel.calibrated(fit_surrogate(frames, descriptor, e0s=e0s), frames)


def volume(factor):
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.set_cell(factor * atoms.cell, scale_atoms=True)
    return atoms


def cleaved(gap):
    slab = fcc100("Cu", (2, 2, 4), vacuum=12.0)
    slab.positions[slab.positions[:, 2] > slab.positions[:, 2].mean(), 2] += gap
    return slab


def pulled(height):
    slab = fcc100("Cu", (3, 3, 3), vacuum=10.0)
    add_adsorbate(slab, "Cu", height, "hollow")
    return slab


def dimer(distance):
    return Atoms("Cu2", [[0, 0, 0], [distance, 0, 0]])


CURVES = {
    "compressed": (volume, (0.8, 0.85, 0.9, 0.95)),
    "expanded": (volume, (1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 1.7, 1.9)),
    "cleaved": (cleaved, (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)),
    "pulled off": (pulled, (1.2, 1.7, 2.2, 3.0, 4.0)),
    "dimer": (dimer, (2.0, 2.2, 2.5, 3.0, 4.0, 4.8)),
}


@pytest.mark.parametrize("name", CURVES)
def test_errors_along_a_curve_are_at_most_three_deviations(known, name):
    make, places = CURVES[name]
    for place in places:
        atoms = labelled(make(place))
        error = abs(known.energy(atoms) - atoms.info["energy"])
        found = known.uncertainty(atoms).scaled(known.scales)
        assert found.energy >= error / 3, (place, error, found.energy)


def test_raw_deviations_vanish_with_the_features_and_what_is_extrapolated_does_not(known):
    apart = volume(1.95)
    raw = known.uncertainty(apart)
    assert raw.energy < 0.001 * len(apart)
    cohesive = known.energy(volume(1.0)) - known.energy(apart)
    assert raw.extrapolated == pytest.approx(SHARE * abs(cohesive), rel=0.05)
    scaled = raw.scaled(known.scales)
    assert scaled.energy == pytest.approx(raw.extrapolated, rel=0.01)
    assert scaled.scaled(known.scales.__class__()).energy == scaled.energy


def test_the_training_set_is_not_extrapolated(known, training):
    shares = [known.uncertainty(a).extrapolated / len(a) for a in training]
    assert np.median(shares) == 0
    assert max(shares) < 0.002


def test_a_known_isolated_atom_makes_full_separation_certain(training):
    atom = Atoms("Cu", [[0, 0, 0]])
    atom.info["energy"], atom.arrays["forces"] = 3.51, np.zeros((1, 3))
    surrogate = fitted([*training, atom], "isolated")
    apart = dimer(CUTOFF + 0.5)
    assert surrogate.uncertainty(apart).scaled(surrogate.scales).energy < 1e-6
    assert surrogate.uncertainty(dimer(2.5)).extrapolated > 0.3 * SHARE


def test_an_isolated_atom_does_not_widen_the_reach_of_a_small_set(training):
    descriptor = ACEDescriptor("Cu", totaldegree=6, cutoff=CUTOFF)
    cells = training[:1] + training[-1:]
    alone = Support.of(cells, descriptor).known[29]
    beside = Support.of([*cells, Atoms("Cu", [[0, 0, 0]])], descriptor).known[29]
    assert beside.reach == pytest.approx(alone.reach)
    assert len(beside.features) == len(alone.features) + 1


def test_each_atom_of_a_structure_has_its_own(known):
    slab = cleaved(0.0)
    local = known.local_uncertainty(slab)
    assert local.energies.shape == local.forces.shape == local.outside.shape == (len(slab),)
    inner = np.isclose(np.abs(slab.positions[:, 2] - slab.positions[:, 2].mean()), 0.9, atol=0.2)
    assert local.energies[~inner].min() > local.energies[inner].max()
    whole = known.uncertainty(slab)
    assert abs(local.outside.sum()) == pytest.approx(whole.extrapolated)
    assert local.forces == pytest.approx(whole.scaled(known.scales).forces)


def test_a_saved_surrogate_keeps_what_it_knows(tmp_path, known):
    known.save(tmp_path / "known.npz")
    loaded = Surrogate.load(tmp_path / "known.npz")
    atoms = volume(1.3)
    assert loaded.uncertainty(atoms).extrapolated == known.uncertainty(atoms).extrapolated > 0


@pytest.mark.parametrize("damage", [-1.0, np.nan])
def test_a_damaged_reach_is_refused(tmp_path, known, damage):
    (own,) = known.support.known.values()
    broken = replace(known, support=Support({29: replace(own, reach=damage)}))
    broken.save(tmp_path / "broken.npz")
    with pytest.raises(PosteriorError, match=r"broken\.npz.*cannot have"):
        Surrogate.load(tmp_path / "broken.npz")


def test_forces_of_a_network_are_widened_by_the_least_known_environment_near(
    known, training, tmp_path
):
    crystal = training[0] * (2, 1, 1)
    crystal.positions[0] += 0.7
    network = replace(known, support=replace(known.support, widens=True))
    features = known.features(crystal).values * known.descriptor.prior_std()
    (environments,) = known.support.known.values()
    distances = environments.nearest(features)[0] / environments.reach
    near = crystal.get_all_distances(mic=True) < NEAR_A
    expected = [np.clip(distances[own].max(), 1.0, MOST_BEYOND) for own in near]
    raw, local = network.uncertainty(crystal), network.local_uncertainty(crystal)
    assert raw.widening == pytest.approx(expected)
    assert raw.widening.min() == 1.0 < raw.widening.max()
    scale = known.scales.forces.value
    assert raw.scaled(known.scales).forces == pytest.approx(scale * raw.widening * raw.forces)
    assert local.forces == pytest.approx(raw.scaled(known.scales).forces)
    for narrow in (known, network.in_campaign):
        assert (narrow.uncertainty(crystal).widening == 1.0).all()
        assert (narrow.uncertainty(crystal).forces == raw.forces).all()
    network.save(tmp_path / "network.npz")
    assert (
        Surrogate.load(tmp_path / "network.npz").uncertainty(crystal).widening == raw.widening
    ).all()
    errors = held_out(network, [labelled(crystal)], PropertyKeys("energy", "forces"))["forces"]
    by_atom = np.sqrt(np.square(errors.deviations).reshape(-1, 3).sum(axis=1))
    assert by_atom == pytest.approx(raw.widening * raw.forces)


def test_of_cut_outs_the_environments_of_whole_atoms_alone_tell(known):
    crystal = labelled(volume(1.0) * (2, 2, 2))
    crystal.rattle(0.03, seed=1)
    network = replace(known, support=replace(known.support, widens=True))
    assert (network.uncertainty(crystal).widening == 1.0).all()
    cut, _ = CutOut(13.0, "cluster", CUTOFF).cut(crystal, 0, "here")
    assert len(cut) < len(crystal)
    whole = whole_atoms(cut)
    widening = network.uncertainty(cut).widening
    assert (widening[whole] == 1.0).all()


def test_an_element_that_is_not_known_is_as_far_beyond_as_counts():
    known = Support({29: Known(np.array([[1.0, 0.0]]), 0.5)}, widens=True)
    apart = Atoms("CuAuCu", [[0, 0, 0], [3, 0, 0], [9, 0, 0]])
    features = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.1]])
    assert known.widening(apart, features).tolist() == [MOST_BEYOND, MOST_BEYOND, 1.0]


def test_a_single_structure_says_nothing_of_how_far_others_may_lie(training):
    surrogate = fitted(training[:1])
    assert surrogate.uncertainty(volume(1.3)).extrapolated == 0


def test_environments_that_are_kept_cover_the_others(training, monkeypatch):
    monkeypatch.setattr(support, "MOST_KNOWN", 40)
    descriptor = ACEDescriptor("Cu", totaldegree=6, cutoff=CUTOFF)
    few = Support.of(training, descriptor).known[29]
    monkeypatch.setattr(support, "MOST_KNOWN", 10_000)
    every = Support.of(training, descriptor).known[29]
    assert len(few.features) == 40
    assert len(every.features) == sum(map(len, training))
    assert every.reach <= few.reach
    distances, _ = few.nearest(every.features)
    assert np.quantile(distances, 0.99) <= few.reach


def test_a_rare_element_is_known():
    frames = [dimer(2.3 + 0.002 * k) for k in range(101)]
    frames[1].symbols = "CuAu"
    frames = [labelled(atoms) for atoms in frames]
    descriptor = ACEDescriptor(["Cu", "Au"], order=2, totaldegree=4, cutoff=4.0)
    surrogate = fit_surrogate(frames, descriptor, e0s="average")
    known = ase_bayesel.calibrated(surrogate, frames)
    assert known.support.known.keys() == {29, 79}
    assert known.uncertainty(frames[1]).extrapolated == pytest.approx(0, abs=1e-12)


def test_an_element_that_is_not_known_counts_whole():
    numbers, features = np.array([29, 79]), np.array([[1.0, 0.0], [0.0, 2.0]])
    mean = np.array([-3.0, -2.0])
    found = Support({}).extrapolated(numbers, features, mean)
    assert found == pytest.approx([-3.0 * SHARE, -4.0 * SHARE])
