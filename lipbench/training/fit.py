"""The loop over epochs and batches of one model. Its state after a whole epoch can be saved and resumed."""

import contextlib
import copy
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim.swa_utils import get_ema_avg_fn

from lipbench.attacks.network import class_logits
from lipbench.certification.certificate import certificate
from lipbench.certification.lipschitz.cache import not_kept
from lipbench.data import Split
from lipbench.data.datasets import in_memory
from lipbench.errors import LipbenchError
from lipbench.models.fast_layers import quickened
from lipbench.training import optimizers
from lipbench.training.augmentation import augment
from lipbench.training.recipes import Augmentation, History, Training

HistoryRow = dict[str, float]  # of one epoch; what was not measured after it is missing


class Objective(Protocol):
    """What training minimises, made from a registered loss: a function of a model, inputs (n, ...), labels (n,).

    A loss that says ``takes_targets = True`` has the samples' targets, float32 (n,), in place of labels.
    """

    @property
    def loss(self) -> nn.Module:
        """The registered loss."""

    def __call__(self, model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over the batch, to be differentiated, and the logits (n, K) that it was computed from."""


@dataclass(frozen=True)
class DeviceSplit:
    """A split on the device: inputs uint8 or float32 (n, ...), labels int64 (n,), targets float32 (n,) or None."""

    images: Tensor
    labels: Tensor
    targets: Tensor | None = None

    @classmethod
    def of(cls, split: Split, device: torch.device) -> "DeviceSplit":
        """The whole split; uint8 images stay uint8."""
        images, labels = (torch.from_numpy(in_memory(array)) for array in (split.images, split.labels))
        targets = None if split.targets is None else torch.from_numpy(in_memory(split.targets)).to(device)
        return cls(images.to(device), labels.to(device), targets)

    def x(self, rows: Any) -> Tensor:
        """float32 (n, ...) in [0, 1]."""
        images = self.images[rows]
        return images.float() / 255 if images.dtype == torch.uint8 else images


@dataclass(frozen=True)
class PlainLoss:
    """A registered loss, at the inputs as they are."""

    loss: nn.Module

    def __call__(self, model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Objective``."""
        logits = model(x).float()
        return self.loss(logits, labels), logits


@dataclass
class Fit:
    """A model in training. ``model``: preprocessing and network, inputs in [0, 1]; ``seed``: of order and augmentation.

    ``history``: one row per epoch that is done, see ``measure`` and ``History.every``.
    """

    model: nn.Sequential
    loss: Objective
    how: Training
    samples: DeviceSplit
    seed: int
    generator: torch.Generator  # of the samples' device: augmentation, adversarial inputs

    def __post_init__(self) -> None:
        self.history: list[HistoryRow] = []
        self.wanted = self.samples.labels  # what the loss compares outputs with
        if getattr(self.loss.loss, "takes_targets", False):
            if self.samples.targets is None:
                raise LipbenchError("the loss takes targets, and the data set has none: an archive has targets_train")
            self.wanted = self.samples.targets
        self.order = torch.Generator().manual_seed(self.seed)
        self.generator.manual_seed(self.seed)
        self.optimizer = optimizers.build(self.how, self.model.parameters())
        self.average = None if self.how.ema is None else copy.deepcopy(self.model)

    @property
    def device(self) -> torch.device:
        """The device of the samples, the model and the generator."""
        return self.samples.labels.device

    @property
    def averaged(self) -> nn.Sequential:
        """The model, or the one with averaged weights if the recipe sets ``ema``."""
        return self.model if self.average is None else self.average

    def epoch(self) -> HistoryRow:
        """Train for one more epoch; returns the mean ``loss`` and the ``train_accuracy`` of its batches.

        The last, smaller batch is dropped: KR's expectations are over the batch. No host-device
        synchronisation happens within an epoch. Raises LipbenchError if the loss is no longer finite.
        """
        size = min(self.how.batch_size, len(self.samples.labels))
        steps = max(len(self.samples.labels) // size, 1)
        done, device = len(self.history), self.device
        order = torch.randperm(len(self.samples.labels), generator=self.order).to(device)
        total, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
        self.model.train()
        for step, rows in enumerate(order[: steps * size].split(size)):
            progress = (done * steps + step) / (self.how.epochs * steps)
            rate = self.how.learning_rate * decay(self.how.schedule, progress)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            value, hits = self.step(self.samples.x(rows), self.samples.labels[rows], self.wanted[rows])
            total += value
            correct += hits
        mean = total.item() / steps
        if not math.isfinite(mean):
            raise LipbenchError(f"training diverged: the loss is {mean} in epoch {done + 1}; lower learning_rate")
        running = [held for name, held in self.model.named_buffers() if name.rpartition(".")[2].startswith("running_")]
        for what, tensors in (("weights", self.model.parameters()), ("running statistics", running)):
            if not all(torch.isfinite(tensor).all() for tensor in tensors):
                said = f"{what} are not finite in epoch {done + 1}"
                raise LipbenchError(f"training diverged: {said}; lower learning_rate")
        return {"epoch": done + 1, "loss": mean, "train_accuracy": correct.item() / (steps * size)}

    def step(self, x: Tensor, labels: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """One step on a batch; returns the mean loss and the number of correct predictions, scalars on the device.

        wanted: what the loss is given, labels or targets.
        """
        if self.how.augmentation != Augmentation():
            x = augment(x, self.how.augmentation, self.generator)
        self.optimizer.zero_grad()
        with forward_precision(self.model, self.how.precision, x.device):
            value, logits = self.loss(self.model, x, wanted)
        value.backward()
        if self.how.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.how.gradient_clip)
        self.optimizer.step()
        if self.average is not None:
            self._follow()
        return value.detach(), _hits(logits.detach(), labels)

    @torch.no_grad()
    def _follow(self) -> None:
        """Update the averaged weights; buffers, such as the vectors of a power iteration, are copied."""
        assert self.average is not None
        average = get_ema_avg_fn(self.how.ema)
        for mean, weight in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.copy_(average(mean, weight, torch.tensor(0)))
        for kept, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
            kept.copy_(buffer)

    def state(self) -> bytes:
        """Everything that the next epoch depends on, as ``resume`` reads it."""
        state = {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order": self.order.get_state(),
            "loss": self.loss.loss.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "history": self.history,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    def resume(self, path: Path) -> None:
        """Restore the ``state`` in a file, if it is there and whole."""
        try:
            # runs no code of the file; to the CPU, where Adam's counts of steps belong
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # missing, or damaged in one of many ways: start from epoch 1
            return
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.loss.loss.load_state_dict(state["loss"])
        self.order.set_state(state["order"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
        self.history = state["history"]


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    return (class_logits(logits).argmax(1) == labels).sum()


def decay(schedule: str, progress: float) -> float:
    """The factor of the learning rate after a share ``progress`` of the training.

    cosine: Loshchilov and Hutter 2017 (arXiv 1608.03983), without restarts; one_cycle: up from 1/25 over the first
    30 %, then down to 0, along cosines (Smith and Topin 2018, arXiv 1708.07120).
    """
    if schedule == "constant":
        return 1.0
    if schedule == "one_cycle" and progress < 0.3:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / 0.3)) / 2
    if schedule == "one_cycle":
        progress = (progress - 0.3) / 0.7
    return (1 + math.cos(math.pi * progress)) / 2


@contextlib.contextmanager
def forward_precision(model: nn.Module, precision: str, device: torch.device) -> Iterator[None]:
    """bfloat16 for the forward pass; parametrized weights are computed before it, in float32."""
    if precision == "float32":
        yield
        return
    # outside the cache, which would also keep the inputs of a weight, such as the vectors of a power iteration
    weights = {
        (id(module), name): getattr(module, name)
        for module in model.modules()
        if parametrize.is_parametrized(module)
        for name in module.parametrizations  # type: ignore[union-attr]
    }
    with parametrize.cached(), torch.autocast(device.type, torch.bfloat16):
        parametrize._cache.update(weights)
        yield


def measure(module: nn.Module, held_out: DeviceSplit, history: History) -> HistoryRow:
    """Of a model in its plain form: ``accuracy`` on held-out samples, ``certified_accuracy_EPS`` and ``bound``.

    module: takes inputs in [0, 1]. The certificates are of grade real; ``bound`` is the network's Lipschitz bound.
    """
    module = module.eval()
    x, labels = held_out.x(slice(None)), held_out.labels
    with not_kept():  # these weights are not seen again
        proof = certificate(module, x.shape[1:])
    quick = quickened(copy.deepcopy(module))
    with torch.no_grad():
        logits = torch.cat([quick(part) for part in x.split(100)]).double()
    logits = class_logits(logits)
    if not torch.isfinite(logits).all():  # the largest of NaN is a class, which may be the label
        raise LipbenchError("the logits of held-out samples are not finite; lower learning_rate")
    radii = proof.radii(logits, labels)
    return {
        "accuracy": float((logits.argmax(1) == labels).double().mean()),
        **{f"certified_accuracy_{eps:.4g}": float((radii > eps).double().mean()) for eps in history.eps},
        "bound": proof.bound,
    }
