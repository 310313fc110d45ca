"""Versions of the files that this package writes: how one is stated, and how it is checked.

A format has a name and a version, stated as ``ase_bayesel.label/1``: under the key ``format`` of
JSON and npz files, as ``bayesel_format`` in extended XYZ, and in the file ``format`` of a campaign
directory, whose files share that version. A version grows when a reader of the one before would
misread a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import BayeselError, StoreError

KEY = "format"
"""Where JSON and npz files state what they are."""


@dataclass(frozen=True)
class Format:
    """One kind of file or directory, in the version that is written today.

    Attributes
    ----------
    name
        Of the kind, without that of the package.
    version
        Counted from 1.
    oldest
        The first version that can still be read.
    unstated
        The version of files that state none, from before they did; None if all do.
    """

    name: str
    version: int = 1
    oldest: int = 1
    unstated: int | None = None

    def __str__(self) -> str:
        return f"ase_bayesel.{self.name}/{self.version}"

    def version_of(self, stated: object) -> int | None:
        """The version of a file, None if it is another kind.

        ``stated`` is what it says of itself, None where it says nothing.
        """
        if stated is None:
            return self.unstated
        match = re.fullmatch(rf"ase_bayesel\.{self.name}/([1-9][0-9]{{0,8}})", str(stated))
        return None if match is None else int(match[1])

    def refusal(self, stated: object, where: object) -> str | None:
        """Why a file cannot be read, naming it and both versions; None if it can."""
        version = self.version_of(stated)
        if version is None:
            says = "nothing" if stated is None else repr(str(stated))
            return f"{where}: not a {self.name} of format {self} (it states {says})"
        if self.oldest <= version <= self.version:
            return None
        known = f"{self.version}" if version > self.version else f"{self.oldest} or later"
        other = "a newer" if version > self.version else "an older"
        return (
            f"{where}: is of version {version} of the format ase_bayesel.{self.name}, and this "
            f"ase_bayesel reads version {known}; use {other} ase_bayesel"
        )

    def check(self, stated: object, where: object, error: type[BayeselError] = StoreError) -> None:
        """Refuse a file that cannot be read.

        Parameters
        ----------
        stated
            What the file states, None for nothing.
        where
            The file, for the message.
        error
            What is raised.

        Raises
        ------
        BayeselError
            If it is another kind of file, or of a version that cannot be read; see `refusal`.
        """
        if (message := self.refusal(stated, where)) is not None:
            raise error(message)


CAMPAIGN = Format("campaign", 2, oldest=2, unstated=1)
"""A campaign directory; the names of keys and arrays have changed since version 1."""
LABEL = Format("label", unstated=1)
FAILURE = Format("failure", unstated=1)
SETTINGS = Format("settings", unstated=1)
FEATURES = Format("features", unstated=1)
ROWS = Format("rows")
LOG = Format("log", unstated=1)
CHECK = Format("check", unstated=1)
SELECTION = Format("selection", unstated=1)
STATUS = Format("status")
SURROGATE = Format("surrogate")
POSTERIOR = Format("posterior")
POOL = Format("pool")
