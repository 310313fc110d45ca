"""Models of metatrain that carry LLPR uncertainties as surrogates, without a fit.

F. Bigi et al., Mach. Learn.: Sci. Technol. 5, 045018 (2024). Their variance of an energy is that of
a linear model of the features before the last layer, phi (L L^T)^-1 phi times a factor that was
calibrated: what a `Surrogate` has as its covariance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ...descriptors.torch import TorchDescriptor
from ...errors import DescriptorError
from ..design import Noise
from ..posterior import Posterior
from ..surrogate import Surrogate

FACTOR, MULTIPLIER = "cholesky_energy_uncertainty", "multiplier_energy_uncertainty"


def surrogate_of_llpr(descriptor: TorchDescriptor, frames: Sequence[Atoms]) -> Surrogate:
    """The surrogate whose covariance is that of a model with LLPR uncertainties.

    Its mean comes as near to the model's own energies as a linear function of the features and one
    constant per element does on some structures; what stands beside the last layer (a repulsion,
    PET's biases of edges) is not in it. As the potential take ``descriptor.calculator()``.

    Parameters
    ----------
    descriptor
        A `MetatomicDescriptor` of the model, with the features before the last layer.
    frames
        Structures for the mean, without labels: best more than there are features, with all
        elements that will be met.

    Raises
    ------
    DescriptorError
        If the model carries no LLPR uncertainties, or they are of other features.
    """
    buffers = descriptor.module.state_dict()
    found = {
        name: array.cpu().numpy().astype(float)
        for name in (FACTOR, MULTIPLIER)
        for key, array in buffers.items()
        if key.endswith(name)
    }
    if len(found) < 2:
        raise DescriptorError(
            f"model: it has no {FACTOR}; metatrain's llpr architecture adds uncertainties"
        )
    factor, multiplier = found[FACTOR], found[MULTIPLIER]
    if factor.shape != (descriptor.n_features,) * 2 or not np.diag(factor).all():
        raise DescriptorError(
            f"model: its uncertainties are of {len(factor)} features, or were never made; the "
            f"descriptor has {descriptor.n_features}"
        )
    forwards = [descriptor.forward(atoms) for atoms in frames]
    energies = np.array([forward.energy for forward in forwards])
    counts = np.array(
        [[atoms.symbols.count(symbol) for symbol in descriptor.elements] for atoms in frames], float
    )
    rows = np.hstack([[forward.phi for forward in forwards], counts])
    solution = np.linalg.lstsq(rows, energies, rcond=1e-9)[0]
    mean, e0s = np.split(solution, [descriptor.n_features])
    return Surrogate(
        descriptor,
        Posterior(factor.T / multiplier, mean),
        dict(zip(descriptor.elements, e0s.tolist(), strict=True)),
        Noise(),
    )
