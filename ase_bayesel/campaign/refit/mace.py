"""Fine-tuning of a MACE model through mace-torch's own training command."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from ase.data import atomic_numbers
from pydantic import Field

from ...errors import CommandError, ConfigError, RefitError, TerminatedError, TimeLimitError
from ...io.atomic import write_atomically
from ...io.fields import HIDDEN, Count, Hours, NonNegativeFloat, Scalar
from ...resources.commands import run_command
from ...structures.labels import REF_ENERGY, REF_FORCES, REF_STRESS, PropertyKeys, targets
from ...structures.reference_energies import is_isolated
from .base import RefitProgress, RefitTask, write_training_frames

if TYPE_CHECKING:
    from torch.nn import Module

NAME = "model"
ENVIRONMENT = {
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",  # mace's models are pickles
    "PYTHONWARNINGS": "ignore",
}
LEFT_OUT = "left_out.txt"
"""Names the structures of the training set that a fine-tuning does not see, and why."""
EPOCH = re.compile(r"Epoch (\d+): head: \S+ (.*)")


@dataclass(frozen=True)
class MACERefitter:
    """Fine-tunes the last good model on the training set by ``mace_run_train``.

    The training runs in segments of ``checkpoint_epochs``, each a process of its own
    that starts from the best checkpoint of the one before. A fine-tuning that was
    killed goes on from the last complete segment and, on a CPU, ends with the same
    weights bit for bit as one that was not. The new model is the best of all
    segments by the loss on the validation structures.

    Attributes
    ----------
    max_epochs, checkpoint_epochs
        Epochs in all, and in one segment.
    learning_rate, batch_size
        Of the optimiser.
    ema
        Take the running average of the weights, which irons out the optimiser's noise.
    valid_fraction
        Every 1/valid_fraction-th structure is kept for validation, and stays there
        in later rounds.
    replay
        Train on all structures, which keeps the model from forgetting the old ones.
        Otherwise only on those that are new since the last refit.
    energy_weight, forces_weight, stress_weight
        Of the loss.
    e0s
        ``"data"``: the reference energies of the training set, and those of the model for elements
        that are not in it; ``"model"``: those of the model. The new model knows all elements of
        the old one.
    time_limit_h
        Hours for one refit, None for no limit. When they are up the best complete
        segment serves; without one the refit fails.
    head, dtype, device
        Head to start from; precision and PyTorch device of the training.
    trust
        Let ``mace_run_train`` unpickle the model file itself. Otherwise it gets a copy made
        by `load_module`, which holds no foreign code.
    options
        Further options of ``mace_run_train``, by their names without dashes.
    """

    kind: ClassVar[str] = "mace"

    max_epochs: Count = 100
    checkpoint_epochs: Count = 25
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    ema: bool = True
    batch_size: Count = 5
    valid_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    replay: bool = True
    energy_weight: NonNegativeFloat = 10.0
    forces_weight: NonNegativeFloat = 100.0
    stress_weight: NonNegativeFloat = 10.0
    e0s: Literal["data", "model"] = "data"
    time_limit_h: Hours | None = None
    head: Annotated[str | None, HIDDEN] = None
    dtype: Annotated[str, HIDDEN] = "float64"
    device: Annotated[str, HIDDEN] = "cpu"
    trust: Annotated[bool, HIDDEN] = False
    options: Mapping[str, Scalar] = field(default_factory=dict)

    def check(self) -> None:
        """Let mace's own parser read the options.

        Raises
        ------
        ConfigError
            For an option that it does not know, or that is set by a field.
        DescriptorError
            If mace-torch is not installed.
        """
        from ...descriptors.mace.internals import import_mace

        nothing = RefitTask([], 0, PropertyKeys(), {}, Path(), Path(), 0)
        ours = self._settings(nothing, 1, 1, False, {})
        taken = sorted(set(ours) & set(self.options))
        if taken:
            raise ConfigError(f"refit.options: {', '.join(taken)} is set by ase_bayesel itself")
        complaint = io.StringIO()
        try:
            with contextlib.redirect_stderr(complaint):
                import_mace().parser().parse_args(_arguments({**ours, **self.options}))
        except SystemExit as error:
            message = complaint.getvalue().strip().splitlines()[-1].partition("error: ")[2]
            raise ConfigError(f"refit.options: mace_run_train says: {message}") from error

    def refit(self, task: RefitTask) -> Generator[RefitProgress, None, Path]:
        """Fine-tune, or go on where an earlier attempt in this directory was killed.

        The progress is in epochs; everything that mace prints is in ``refit.log``.
        """
        from ...descriptors.mace.loading import load_module, module_bytes

        start = time.monotonic()
        assert isinstance(task.model, Path)
        task.directory.mkdir(parents=True, exist_ok=True)
        module = load_module(task.model, self.trust)
        if not self.trust:
            write_atomically(self._foundation(task), module_bytes(module))
        e0s = self._e0s(task, module)
        n_train, has_stress = self._write_data(task)
        left_out = (task.directory / LEFT_OUT).read_text().splitlines()
        n_segments = -(-self.max_epochs // self.checkpoint_epochs)
        shutil.rmtree(task.directory / "running", ignore_errors=True)
        done = len(_segments(task.directory))
        if left_out:
            epochs = min(done * self.checkpoint_epochs, self.max_epochs)
            yield RefitProgress(epochs, self.max_epochs, f"left out: {'; '.join(left_out)}")
        limit = None if self.time_limit_h is None else 3600.0 * self.time_limit_h
        for number in range(done + 1, n_segments + 1):
            left = None if limit is None else max(1.0, limit - (time.monotonic() - start))
            try:
                yield from self._train(task, number, (n_train, has_stress, e0s), left)
            except TimeLimitError as error:
                if not _segments(task.directory):
                    raise RefitError(
                        f"fine-tuning: {self.time_limit_h} h were up before the first "
                        f"{self.checkpoint_epochs} epochs were done; raise refit.time_limit_h or "
                        f"lower refit.checkpoint_epochs. The last good model is {task.model}"
                    ) from error
                yield RefitProgress(self.max_epochs, self.max_epochs, "the time limit is reached")
                break
            except TerminatedError:
                raise
            except CommandError as error:
                raise RefitError(
                    f"fine-tuning failed: {error}. The last good model is {task.model}"
                ) from error
        best = min(_segments(task.directory), key=_loss)
        for segment in _segments(task.directory):
            shutil.rmtree(segment / "checkpoints", ignore_errors=True)
        return best / f"{NAME}.model"

    def _train(
        self,
        task: RefitTask,
        number: int,
        data: tuple[int, bool, Mapping[int, float]],
        limit: float | None,
    ) -> Generator[RefitProgress, None, None]:
        """One segment; its directory takes its final name when it is complete."""
        running = task.directory / "running"
        before = task.directory / f"segment_{number - 1:04d}" / "checkpoints"
        if number > 1:
            shutil.copytree(before, running / "checkpoints")
        else:
            running.mkdir()
        settings = self._settings(task, number, *data)
        command = [sys.executable, "-m", "mace.cli.run_train"]
        command += _arguments({**settings, **self.options})
        environment = {**ENVIRONMENT, "OMP_NUM_THREADS": str(task.threads)}
        for line in run_command(command, task.directory / "refit.log", limit, environment):
            epoch = EPOCH.search(line)
            if epoch:
                yield RefitProgress(int(epoch[1]) + 1, self.max_epochs, epoch[2])
        if not (running / f"{NAME}.model").is_file():
            raise CommandError(f"mace_run_train left no model; see {task.directory / 'refit.log'}")
        os.replace(running, task.directory / f"segment_{number:04d}")
        if number > 1:
            shutil.rmtree(before)

    def _settings(
        self,
        task: RefitTask,
        number: int,
        n_train: int,
        has_stress: bool,
        e0s: Mapping[int, float],
    ) -> dict[str, str | float | bool]:
        """Options of ``mace_run_train`` for one segment."""
        settings: dict[str, str | float | bool] = {
            "name": NAME,
            "work_dir": str(task.directory / "running"),
            "train_file": str(task.directory / "train.extxyz"),
            "valid_file": str(task.directory / "valid.extxyz"),
            "energy_key": REF_ENERGY,
            "forces_key": REF_FORCES,
            "stress_key": REF_STRESS,
            "foundation_model": str(self._foundation(task)),
            "multiheads_finetuning": False,
            "foundation_model_elements": True,
            "E0s": str(dict(e0s)),
            "loss": "stress" if has_stress else "weighted",
            "energy_weight": self.energy_weight,
            "forces_weight": self.forces_weight,
            "stress_weight": self.stress_weight,
            "lr": self.learning_rate,
            "ema": self.ema,
            "batch_size": min(self.batch_size, n_train),
            "valid_batch_size": min(self.batch_size, n_train),
            "max_num_epochs": min(number * self.checkpoint_epochs, self.max_epochs),
            "eval_interval": 1,
            "restart_latest": True,
            "seed": task.seed,
            "default_dtype": self.dtype,
            "device": self.device,
            "plot": False,
        }
        if self.head is not None:
            settings["foundation_head"] = self.head
        return settings

    def unseen(self, n_frames: int) -> Sequence[int]:
        """Every 1/valid_fraction-th structure: those of validation."""
        every = max(2, round(1.0 / self.valid_fraction))
        return range(every - 1, n_frames, every)

    def _foundation(self, task: RefitTask) -> Path:
        """The file that ``mace_run_train`` starts from."""
        return Path(str(task.model)) if self.trust else task.directory / "foundation.model"

    def _write_data(self, task: RefitTask) -> tuple[int, bool]:
        """Training and validation files; their number of structures, and whether any has a stress.

        Left out and named in `LEFT_OUT` are structures without a label, and isolated atoms: their
        energies are the E0s.

        Raises
        ------
        RefitError
            If no structure with a label is left to train on.
        """
        numbered, unlabelled, isolated = {}, [], []
        virials = set()
        for k, atoms in enumerate(task.frames):
            labels = targets(atoms, task.keys, f"training frame {k}").properties
            if not labels:
                unlabelled.append(k)
            elif is_isolated(atoms):
                isolated.append(k)
            else:
                numbered[k] = atoms
            if "virial" in labels:
                virials.add(k)
        first_new = 0 if self.replay else len(task.frames) - task.n_new
        unseen = set(self.unseen(len(task.frames)))
        valid = [k for k in numbered if k in unseen]
        train = [k for k in numbered if k not in unseen and k >= first_new]
        train = train or [k for k in numbered if k >= first_new]
        left_out = _named("without a label", unlabelled) + _named("isolated atoms", isolated)
        write_atomically(task.directory / LEFT_OUT, left_out.encode())
        if not train:
            raise RefitError(
                "fine-tuning: no structure to train on has a label; left out: "
                f"{'; '.join(left_out.splitlines()) or 'none'}. The last good model is {task.model}"
            )
        for name, chosen in (("train", train), ("valid", valid or train)):
            file = task.directory / f"{name}.extxyz"
            write_training_frames(file, [numbered[k] for k in chosen], task)
        return len(train), not virials.isdisjoint(train)

    def _e0s(self, task: RefitTask, module: Module) -> dict[int, float]:
        """Reference energies by atomic number, of all elements of the model and no others."""
        e0s = _model_e0s(module, self.head)
        if self.e0s == "data":
            given = {atomic_numbers[symbol]: float(e0) for symbol, e0 in task.e0s.items()}
            e0s = {number: given.get(number, e0) for number, e0 in e0s.items()}
        return e0s


def _named(what: str, numbers: Sequence[int]) -> str:
    """A line that names structures of the training set; nothing for none."""
    return f"{what}: training frames {', '.join(map(str, numbers))}\n" if numbers else ""


def _arguments(settings: Mapping[str, str | float | bool]) -> list[str]:
    """``--name=value``; a mere switch of mace's is there where its value is true."""
    from ...descriptors.mace.internals import import_mace

    actions = import_mace().parser()._actions
    switches = {option.lstrip("-") for a in actions if a.nargs == 0 for option in a.option_strings}
    arguments = []
    for name, value in settings.items():
        if name not in switches:
            arguments.append(f"--{name}={value}")
        elif value:
            arguments.append(f"--{name}")
    return arguments


def _segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("segment_*"))


def _loss(segment: Path) -> float:
    """Loss of the checkpoint that a segment's model is, on the validation structures."""
    (results,) = (segment / "results").glob("*_train.txt")
    records = [json.loads(line) for line in results.read_text().splitlines()]
    return min(r["loss"] for r in records if r["mode"] == "eval" and r["epoch"] is not None)


def _model_e0s(module: Module, head: str | None) -> dict[int, float]:
    """Reference energies that a model holds, by atomic number."""
    from ...descriptors.mace.internals import atomic_energies_of, heads_of, known_numbers
    from ...descriptors.mace.network import chosen_head

    energies = atomic_energies_of(module)[heads_of(module).index(chosen_head(module, head))]
    return dict(zip(known_numbers(module), energies.tolist(), strict=True))
