"""TLS between a Dask scheduler and workers in batch jobs, with a key that is made for one run.

A scheduler runs what anybody sends who can reach its port. With a key of its own, who has the
key can reach it, and nobody else on the network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed.security import Security

from ..errors import WorkerError

ROLES = ("client", "scheduler", "worker")


@contextmanager
def key_in_files(folder: Path) -> Iterator[Security]:
    """The key, in a folder that this user alone can read.

    Parameters
    ----------
    folder
        Where that folder is made, and removed at the end; the workers must see it.

    Raises
    ------
    WorkerError
        If the package cryptography is not installed.
    """
    try:
        made = Security.temporary().get_tls_config_for_role("scheduler")
    except ImportError as error:
        raise WorkerError(
            "batch jobs need cryptography: pip install 'ase_bayesel[distributed]'"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dask_key_", dir=folder) as private:
        key, certificate = (
            Path(private, "key.pem").resolve(),
            Path(private, "certificate.pem").resolve(),
        )
        key.write_text(made["key"])
        certificate.write_text(made["cert"])
        files = {"tls_ca_file": str(certificate)}
        for role in ROLES:
            files |= {f"tls_{role}_key": str(key), f"tls_{role}_cert": str(certificate)}
        yield Security(require_encryption=True, **files)
