"""What `integrators` takes for granted about the insides of ASE, asked of ASE's own classes.

A new release of ASE may break any of these. Then this test says which; what it means for the
physics is told by test_ensembles.py and test_driver.py.
"""

import ast
import inspect
from operator import attrgetter

import ase
import numpy as np
import pytest
from ase import units
from ase.md import nose_hoover_chain as nhc
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from helpers.lennard_jones import argon

from ase_bayesel.dynamics import integrators

VERSION = f"ASE {ase.__version__} (3.29 was tested)"
N = 8
BATHS = {"_thermostat._eta": (3,), "_thermostat._p_eta": (3,)}
PARTICLES = {"_q": (N, 3), "_p": (N, 3), "masses": (N, 1)}
BAROSTAT = {
    **{"_barostat._xi": (3,), "_barostat._p_xi": (3,)},
    **{"_num_atoms_global": (), "_kT": (), "_temperature_K": (), "_pressure_au": ()},
}
SHAPES = {
    "VelocityVerlet": {},
    "Langevin": {"temp": ()},
    "Bussi": {"temp": (), "ndof": (), "target_kinetic_energy": (), "transferred_energy": ()},
    "NoseHooverChainNVT": PARTICLES | BATHS,
    "IsotropicMTKNPT": PARTICLES
    | BATHS
    | BAROSTAT
    | {"_p_eps": (), "_eps": (), "_volume0": (), "_cell0": (3, 3)},
    "MTKNPT": PARTICLES | BATHS | BAROSTAT | {"_p_g": (3, 3), "_h": (3, 3)},
    "MaskedMTKNPT": PARTICLES
    | BATHS
    | BAROSTAT
    | {"_p_c": (3,), "_h": (3, 3), "_h0_basis": (3, 3), "mask": (3,)},
}
"""Attributes of ASE's integrators and their shapes for eight atoms."""
METHODS = {
    "NoseHooverChainNVT": ("_update_atoms", "_get_forces"),
    "IsotropicMTKNPT": ("_update_atoms", "_get_forces", "_get_volume"),
    "MTKNPT": ("_update_atoms", "_get_forces", "_get_volume"),
    "MaskedMTKNPT": ("_update_atoms", "_get_forces", "_get_volume"),
}
"""Methods that are overridden, so a step must call them."""
CONSTRUCTORS = {
    "NoseHooverChainThermostat": ["num_atoms_global", "masses", "temperature_K", "tdamp"],
    "IsotropicMTKBarostat": ["num_atoms_global", "temperature_K", "pdamp"],
    "MTKBarostat": ["num_atoms_global", "temperature_K", "pdamp"],
}
"""Their first parameters, which are given by position."""
PRESSURE = {"pressure_au": 1e-3, "pdamp": 800.0}
OPTIONS = {
    "VelocityVerlet": {},
    "Langevin": {"temperature_K": 30.0, "friction": 0.01, "fixcm": False},
    "Bussi": {"temperature_K": 30.0, "taut": 100.0},
    "NoseHooverChainNVT": {"temperature_K": 30.0, "tdamp": 100.0},
    "IsotropicMTKNPT": {"temperature_K": 30.0, "tdamp": 100.0, **PRESSURE},
    "MTKNPT": {"temperature_K": 30.0, "tdamp": 100.0, **PRESSURE},
    "MaskedMTKNPT": {
        **{"temperature_K": 30.0, "tdamp": 100.0, **PRESSURE},
        "mask": np.array([True, False, True]),
    },
}
KINDS = {kind.__name__: kind for kind in (VelocityVerlet, Langevin, Bussi)} | {
    name: getattr(nhc, name, None) for name in METHODS
}
OURS = {
    "VelocityVerlet": integrators.ConstantEnergy,
    "Langevin": integrators.LangevinThermostat,
    "Bussi": integrators.BussiThermostat,
    "NoseHooverChainNVT": integrators.ChainThermostat,
    "IsotropicMTKNPT": integrators.VolumeBarostat,
    "MTKNPT": integrators.CellBarostat,
    "MaskedMTKNPT": integrators.AxesBarostat,
}


def made(name, **methods):
    """One of ASE's integrators on moving atoms, with methods in place of its own."""
    kind = KINDS[name]
    assert kind is not None, f"{VERSION} has no {name}"
    atoms = argon()
    atoms.set_momenta(np.random.default_rng(0).normal(size=(N, 3)))
    options = dict(OPTIONS[name])
    if name in ("Langevin", "Bussi"):
        options["rng"] = np.random.default_rng(1)
    return type(name, (kind,), methods)(atoms, timestep=units.fs, **options)


@pytest.mark.parametrize("name", SHAPES)
def test_attributes_are_there_with_their_shapes(name):
    dynamics = made(name)
    for path, shape in SHAPES[name].items():
        try:
            found = np.shape(attrgetter(path)(dynamics))
        except AttributeError as error:
            pytest.fail(f"{VERSION}: {name} has no {path} ({error}); see `integrators`")
        assert found == shape, f"{VERSION}: {name}.{path} has the shape {found}, not {shape}"


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_saved_is_among_them(name):
    hidden = set(OURS[name].HIDDEN.values())
    assert hidden <= set(SHAPES[name])
    assert issubclass(OURS[name], KINDS[name])


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_saved_takes_part_in_a_step(name):
    """A variable that a step does not read would be saved in vain."""
    dynamics = made(name)
    before = {path: np.copy(attrgetter(path)(dynamics)) for path in OURS[name].HIDDEN.values()}
    for _ in range(3):
        dynamics.step()
    for path, value in before.items():
        changed = not np.array_equal(attrgetter(path)(dynamics), value)
        assert changed, f"{VERSION}: a step of {name} leaves {path} as it is"


@pytest.mark.parametrize("name", METHODS)
def test_a_step_calls_the_methods_that_are_overridden(name):
    called = set()

    def noting(method):
        def call(self):
            called.add(method)
            return getattr(KINDS[name], method)(self)

        return call

    missing = [method for method in METHODS[name] if not hasattr(KINDS[name], method)]
    assert not missing, f"{VERSION}: {name} has no {', '.join(missing)}; see `integrators`"
    made(name, **{method: noting(method) for method in METHODS[name]}).step()
    left_out = set(METHODS[name]) - called
    assert not left_out, f"{VERSION}: a step of {name} does not call {', '.join(left_out)}"


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_baths_are_made_from_what_they_were(name):
    kind = getattr(nhc, name, None)
    assert kind is not None, f"{VERSION} has no {name}"
    parameters = list(inspect.signature(kind).parameters)
    expected = CONSTRUCTORS[name]
    assert parameters[: len(expected)] == expected, f"{VERSION}: {name}{tuple(parameters)}"
    if name == "MTKBarostat":
        assert "mask" in parameters, f"{VERSION}: {name} takes no mask"


def test_a_step_starts_from_positions_and_momenta_that_are_set():
    """`_q` and `_p` are what a step goes on from, not copies that nobody reads."""
    for name in METHODS:
        dynamics = made(name)
        dynamics._q = dynamics._q + 0.01
        dynamics._p = np.zeros((N, 3))
        dynamics.step()
        moved = np.abs(dynamics.atoms.positions - argon().positions - 0.01).max()
        assert moved < 1e-3, f"{VERSION}: a step of {name} does not go on from _q and _p"


def test_all_private_names_in_use_are_in_these_lists():
    """And ASE has none of those that `integrators` adds."""
    tree = ast.parse(inspect.getsource(integrators))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {
        part for kind in OURS.values() for path in kind.HIDDEN.values() for part in path.split(".")
    }
    own = {"_effective_atoms", "_tdamp", "_pdamp", "_set_baths", "_new_barostat", "_volume_before"}
    known = {part for shapes in SHAPES.values() for path in shapes for part in path.split(".")}
    known |= {method for methods in METHODS.values() for method in methods}
    private = {name for name in used if name.startswith("_") and not name.startswith("__")}
    assert private - own <= known
    theirs = set().union(*(vars(made(name)) for name in METHODS))
    assert not {"_effective_atoms", "_volume_before"} & theirs, f"{VERSION} has a name of ours"
