"""Fine-tuning of a MACE model through mace-torch's own training command."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from ase.data import atomic_numbers, chemical_symbols
from pydantic import Field

from ...errors import (
    CommandError,
    ConfigError,
    RefitError,
    TerminatedError,
    TimeLimitError,
)
from ...io.atomic import write_atomically
from ...io.fields import HIDDEN, Scalar
from ...io.kinds import VALUE
from ...io.magnitudes import Count, Fraction, Hours, NonNegative
from ...io.words import counted
from ...resources.commands import run_command
from ...structures.electronic import CHARGE, SPIN
from ...structures.labels import REF_ENERGY, REF_FORCES, REF_STRESS, PropertyKeys
from .base import RefitProgress, RefitTask
from .forgetting import PT_HEAD, REPLAY, REPLAY_VALID, LoRA, MultiHead, write_replay
from .mace_command import EPOCH, HEAD, arguments, check_options, in_short, segments, validation_loss
from .mace_data import ISOLATED, LEFT_OUT, write_data
from .mace_e0s import e0s_of, take_e0s

if TYPE_CHECKING:
    from torch.nn import Module

NAME = "model"
ENVIRONMENT = {
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",  # mace's models are pickles
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class MACERefitter:
    """Fine-tunes the last good model on the training set by ``mace_run_train``.

    The training runs in segments of ``checkpoint_epochs``, each a process of its own
    that starts from the best checkpoint of the one before. A fine-tuning that was
    killed goes on from the last complete segment and, on a CPU, ends with the same
    weights bit for bit as one that was not. The new model is the best of all
    segments by the loss on the validation structures. A head that `head` names keeps its name.

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
        in later rounds: it is never trained on.
    replay
        Train on all structures, which keeps the model from forgetting the old ones.
        Otherwise only on those that are new since the last refit; where all of these are kept for
        validation, the model stays as it is.
    freeze
        Layers that stay as they are, counted as mace counts them: 1 to 4 for the embedding of the
        elements, 5 for the interactions too, 6 for the products too. The readouts always learn.
    lora, multihead
        Further ways not to forget, see `LoRA` and `MultiHead`. With ``multihead`` the loss is
        mace's universal one, in which large errors count less.
    energy_weight, forces_weight, stress_weight
        Of the loss: of mean squared errors in eV/atom, eV/A and eV/A^3. Usual errors of forces are
        its largest part, and energies can get worse where the other weights are much smaller.
    e0s
        ``"model"``: the reference energies of the model, shifted as its energies are
        (``potential.energy_shift``), so that the training starts from energies like those of the
        labels whatever the model's reference is; ``"data"``: those of the training set, and those
        of the model for elements that are not in it. The new model knows all elements of the old
        one. With ``trust`` mace goes on with those of the model.
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
    learning_rate: Fraction = 1e-3
    ema: bool = True
    batch_size: Count = 5
    valid_fraction: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.1
    replay: bool = True
    freeze: Annotated[int | None, Field(ge=1, le=6)] = None
    lora: Annotated[LoRA, VALUE] | None = None
    multihead: Annotated[MultiHead, VALUE] | None = None
    energy_weight: NonNegative = 100.0
    forces_weight: NonNegative = 100.0
    stress_weight: NonNegative = 1000.0
    e0s: Literal["data", "model"] = "model"
    time_limit_h: Hours | None = None
    head: Annotated[str | None, HIDDEN] = None
    dtype: Annotated[str, HIDDEN] = "float64"
    device: Annotated[str, HIDDEN] = "cpu"
    trust: Annotated[bool, HIDDEN] = False
    options: Mapping[str, Scalar] = field(default_factory=dict)

    def check(self, model: Path | None = None) -> None:
        """Let mace's own parser read the options, and read the structures of ``multihead``.

        Parameters
        ----------
        model
            The first model, which has to know their elements.

        Raises
        ------
        ConfigError
            For an option that mace does not know, that is set by a field, or that excludes one;
            for structures that cannot be replayed.
        DescriptorError
            If mace-torch is not installed.
        """
        nothing = RefitTask([], 0, PropertyKeys(), {}, Path(), Path(), 0)
        check_options(self._settings(nothing, 1, 1, False, {}), self.options)
        if self.multihead is None:
            return
        if self.head == PT_HEAD:
            raise ConfigError(
                f"refit.multihead: potential.head is {PT_HEAD}, as mace calls the head of the "
                "replayed structures; choose another head of the model, or leave multihead out"
            )
        from ...descriptors.mace.loading import known_elements

        self.multihead.frames(None if model is None else known_elements(model, self.trust))

    def refit(self, task: RefitTask) -> Generator[RefitProgress, None, Path | None]:
        """Fine-tune, or go on where an earlier attempt in this directory was killed.

        The progress is in epochs; everything that mace prints is in ``refit.log``.
        """
        from ...descriptors.mace.internals import heads_of
        from ...descriptors.mace.loading import chosen_head, load_module, module_bytes

        start = time.monotonic()
        assert isinstance(task.model, Path)
        task.directory.mkdir(parents=True, exist_ok=True)
        module = load_module(task.model, self.trust)
        if self.head is None and len(heads_of(module)) > 1:
            return (yield from replace(self, head=chosen_head(module, None)).refit(task))
        e0s = self._e0s(task, module)
        if not self.trust:
            if self.multihead is None:
                take_e0s(module, self.head, e0s)
            write_atomically(self._foundation(task), module_bytes(module))
        n_train, has_stress = self._write_data(task)
        left_out = (task.directory / LEFT_OUT).read_text().splitlines()
        n_segments = -(-self.max_epochs // self.checkpoint_epochs)
        shutil.rmtree(task.directory / "running", ignore_errors=True)
        done = len(segments(task.directory))
        epochs = min(done * self.checkpoint_epochs, self.max_epochs)
        if not n_train:
            told = f"left out: {'; '.join(left_out)}"
            yield RefitProgress(epochs, self.max_epochs, told)
            return None
        beside = [line for line in left_out if not line.startswith(ISOLATED)]
        told = "; ".join([f"{counted(n_train, 'structure')} to train on", *beside])
        yield RefitProgress(epochs, self.max_epochs, told)
        for labelled in self._replayed(task, module):
            told = f"labels of the first model for the replay: {labelled}"
            yield RefitProgress(epochs, self.max_epochs, told)
        limit = None if self.time_limit_h is None else 3600.0 * self.time_limit_h
        for number in range(done + 1, n_segments + 1):
            left = None if limit is None else max(1.0, limit - (time.monotonic() - start))
            try:
                yield from self._train(task, number, (n_train, has_stress, e0s), left)
            except TimeLimitError as error:
                if not segments(task.directory):
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
        complete = segments(task.directory)
        best = min(complete, key=lambda segment: validation_loss(segment, self.head or HEAD))
        for segment in complete:
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
        command += arguments({**settings, **self.options})
        environment = {**ENVIRONMENT, "OMP_NUM_THREADS": str(task.threads)}
        for line in run_command(command, task.directory / "refit.log", limit, environment):
            epoch = EPOCH.search(line)
            if epoch and epoch[2] != PT_HEAD:
                yield RefitProgress(int(epoch[1]) + 1, self.max_epochs, in_short(epoch[3]))
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
            "total_charge_key": CHARGE,
            "total_spin_key": SPIN,
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
            files = {name: settings[name] for name in ("train_file", "valid_file", "E0s")}
            settings |= {"foundation_head": self.head, "heads": str({self.head: files})}
        if self.freeze is not None:
            settings["freeze"] = self.freeze
        if self.lora is not None:
            settings |= {"lora": True, "lora_rank": self.lora.rank, "lora_alpha": self.lora.alpha}
        if self.multihead is not None:
            settings |= {
                "multiheads_finetuning": True,
                "pt_train_file": str(task.directory / REPLAY),
                "pt_valid_file": str(task.directory / REPLAY_VALID),
                "pseudolabel_replay": False,  # they have labels, and mace only logs if it fails
                "force_mh_ft_lr": True,  # or mace takes a rate of its own
                "loss": "universal",
            }
        return settings

    def _replayed(self, task: RefitTask, module: Module) -> Iterator[int]:
        """Write the structures of ``multihead``; yields how many the first model has labelled."""
        from ...descriptors.mace.internals import heads_of
        from ...descriptors.mace.loading import chosen_head, load_module, module_calculator

        if self.multihead is None:
            return
        first = module
        if task.first_model is not None:
            first = load_module(task.first_model, self.trust)
        head = chosen_head(first, self.head if self.head in heads_of(first) else None)
        e0s = _by_symbol(e0s_of(first, head)), _by_symbol(e0s_of(module, self.head))
        calculator = module_calculator(first, head, self.dtype, self.device)
        yield from write_replay(task, self.multihead, calculator, e0s, self._every)

    def unseen(self, n_frames: int) -> Sequence[int]:
        """Every 1/valid_fraction-th structure: those of validation."""
        return range(self._every - 1, n_frames, self._every)

    @property
    def _every(self) -> int:
        return max(2, round(1.0 / self.valid_fraction))

    def _foundation(self, task: RefitTask) -> Path:
        """The file that ``mace_run_train`` starts from."""
        return Path(str(task.model)) if self.trust else task.directory / "foundation.model"

    def _write_data(self, task: RefitTask) -> tuple[int, bool]:
        held_out = task.held_out
        if held_out is None:
            held_out = self.unseen(len(task.frames))
        return write_data(task, held_out, self.replay, self.multihead is not None)

    def _e0s(self, task: RefitTask, module: Module) -> dict[int, float]:
        """Reference energies by atomic number, of all elements of the model and no others."""
        e0s = e0s_of(module, self.head)
        if self.e0s == "data":
            given = {atomic_numbers[symbol]: float(e0) for symbol, e0 in task.e0s.items()}
            return {number: given.get(number, e0) for number, e0 in e0s.items()}
        shift = task.energy_shift
        return {number: e0 + shift.get(chemical_symbols[number], 0.0) for number, e0 in e0s.items()}


def _by_symbol(e0s: Mapping[int, float]) -> dict[str, float]:
    return {chemical_symbols[number]: e0 for number, e0 in e0s.items()}
