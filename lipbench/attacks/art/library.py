"""``art/CLASS``: any evasion attack of ART by the name of its class, with the parameters of its constructor.

lipbench sets the estimator, the norm and eps of the call, switches progress bars off, and attacks untargeted. All other
parameters that are numbers, truth values or texts are those of the class, with ART's own defaults, except

    batch_size    250, as ART's are small, and
    eps_step      where it is left out, so long that the steps together cross the ball (ART's default may exceed eps).
"""

import contextlib
import difflib
import functools
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lipbench.attacks.art.classifier import ArtAttack, as_classifier, classifier, norm_number
from lipbench.attacks.art.known import EVASION, Evasion
from lipbench.attacks.base import AttackCall
from lipbench.attacks.norm import Norm
from lipbench.attacks.optional import missing
from lipbench.attacks.parameters import Parameter
from lipbench.errors import LipbenchError, UnsupportedError, one_line

PREFIX = "art/"
OURS = ("classifier", "estimator", "norm", "eps", "targeted", "verbose", "summary_writer", "parallel_pool_size")
KINDS = {"bool": bool, "int": int, "float": float, "str": str}


class LibraryAttack(ArtAttack):
    """An evasion attack of ART.

    library: its class; known: what ``EVASION`` says of it.
    """

    def __init__(self, library: type, known: Evasion):
        self.library, self.known = library, known
        self.name = PREFIX + library.__name__
        self.summary = _summary(library)
        self.norms = known.norms
        self._takes = dict(inspect.signature(library).parameters)
        own_radius = "ball" in known.arguments  # its eps is one in another measure
        self.minimal_norm = "eps" not in self._takes or own_radius
        self._ours = tuple(name for name in OURS if name != "eps" or not own_radius)

    @property
    def takes_norm(self) -> bool:
        """Whether its constructor has a norm, which is then the suite's."""
        return "norm" in self._takes

    @functools.cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Those of the constructor that a suite can hold."""
        meanings = _meanings(self.library)
        found = {}
        for name, taken in self._takes.items():
            kind = _kind(taken)
            if name in self._ours or name in self.known.arguments or kind is None:
                continue
            meaning = meanings.get(name, f"of ART's {self.library.__name__}")
            if name == "batch_size" and not self.known.one_by_one:
                found[name] = ArtAttack.batch_size
            elif name == "eps_step" and not self.minimal_norm:
                found[name] = Parameter(None, f"{meaning}; by default such that all steps cross the ball", kind=float)
            else:
                default = taken.default if taken.default is None else kind(taken.default)
                found[name] = Parameter(default, meaning, kind=kind)
        return found

    def obstacle(
        self, arguments: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm
    ) -> str | None:
        """What ART itself says about the arguments, on a stand-in network of that shape."""
        head = nn.utils.skip_init(nn.Linear, math.prod(input_shape), num_classes)  # draws no random numbers
        stand_in = as_classifier(nn.Sequential(nn.Flatten(), head), input_shape, num_classes)
        try:
            self.on(stand_in, norm, None if self.minimal_norm else 1.0, arguments)
        except Exception as error:  # ValueError, TypeError and others
            return f"is refused by ART: {one_line(error)}"
        return None

    def configured(self, call: AttackCall) -> Any:
        """ART's object for the call."""
        estimator = classifier(call.network, probabilities=self.known.probabilities)
        return self.on(estimator, call.norm, None if self.minimal_norm else call.radius, call.arguments)

    def run(self, call: AttackCall) -> Tensor:
        """The library's candidates: float32 (n, c, h, w)."""
        found = self.generated(self.configured(call), call.x.cpu().numpy(), call.labels.cpu().numpy())
        return torch.from_numpy(found).to(call.x.device)

    def on(self, estimator: Any, norm: Norm, eps: float | None, arguments: Mapping[str, Any]) -> Any:
        """ART's object for an estimator of ART; eps: None for a minimal-norm attack."""
        chosen = {key: value for key, value in arguments.items() if key in self.parameters}
        ours = {"norm": norm_number(norm), "eps": eps, "targeted": False, "verbose": False}
        chosen |= {key: value for key, value in ours.items() if key in self._takes and key in self._ours}
        chosen |= self.known.arguments
        if eps is not None and "eps_step" in self._takes and chosen.get("eps_step") is None:
            chosen["eps_step"] = self._step(arguments, eps)
        attack = self.library(estimator, **chosen)
        for part in getattr(attack, "attacks", ()):  # of AutoAttack
            part.verbose = False
        return attack

    def generated(self, attack: Any, x: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the object of ``on`` generates: float32, shaped as x (n, c, h, w); labels: int64 (n,)."""
        rows = range(len(x)) if self.known.one_by_one else [slice(None)]
        found = []
        with _seeded() if self.known.unseeded else contextlib.nullcontext():
            for row in rows:
                part = np.atleast_1d(row) if isinstance(row, int) else row
                given = {"y": labels[part]} if self.known.labels else {}
                found.append(np.asarray(attack.generate(x=x[part].copy(), **given), dtype=np.float32))
        return np.concatenate(found)

    def _step(self, arguments: Mapping[str, Any], eps: float) -> float:
        if "loss_type" in self._takes:  # adaptive: steps are only ever halved, and 2 eps crosses the ball
            return 2 * eps
        return min(2.5 * eps / arguments.get("max_iter", 1), eps)  # as Madry et al. 2018; ART allows no more than eps


def attack(name: str) -> LibraryAttack:
    """The evasion attack of ART called ``"art/CLASS"``.

    Raises LipbenchError with the closest name if there is none, and where it needs what is not installed;
    UnsupportedError with the reason for one that cannot run on a classifier of images.
    """
    wanted = name.removeprefix(PREFIX)
    known = EVASION.get(wanted)
    if known is not None and known.refused is not None:
        raise UnsupportedError(f"{name} cannot run here: it {known.refused}")
    module = missing(() if known is None else known.needs)
    if module is not None:
        raise LipbenchError(f"{name} needs {module}, which ART does not install: pip install {module}")
    classes = _classes()
    if wanted not in classes:
        spelt = {each.lower(): each for each in {*EVASION, *classes}}
        close = difflib.get_close_matches(wanted.lower(), spelt, n=1, cutoff=0.5)
        hint = f"did you mean {PREFIX + spelt[close[0]]!r}? " if close else ""
        raise LipbenchError(
            f"unknown attack {name[:200]!r}: {hint}known are those of `lipbench list attacks`, and art/CLASS for the "
            "evasion attacks of ART (docs/art.md)"
        )
    return LibraryAttack(classes[wanted], known or Evasion())


@functools.cache
def _classes() -> dict[str, type]:
    """ART's evasion attacks, by the name of their class."""
    from art.attacks import EvasionAttack, evasion

    return {
        name: kind for name, kind in vars(evasion).items() if inspect.isclass(kind) and issubclass(kind, EvasionAttack)
    }


def _summary(library: type) -> str:
    """The first sentence of the class's docstring, and where the attack comes from."""
    text = re.sub(r":[a-z]+:`([^`]*)`", r"\1", inspect.getdoc(library) or "")
    first = " ".join(text.split("\n\n")[0].replace("`", "").split())
    link = re.search(r"https?://\S+", text)
    source = link[0].rstrip(").,") if link else ""
    return f"{first} ({source})" if source and source not in first else first


def _meanings(library: type) -> dict[str, str]:
    """What the docstring of the constructor says of each parameter, in one line."""
    text = inspect.getdoc(library.__init__) or ""  # type: ignore[misc]  # of the class, not of an object
    found = re.findall(r":param (\w+):(.*?)(?=\n:|\Z)", text, flags=re.DOTALL)
    return {name: " ".join(meaning.split()).rstrip(".") for name, meaning in found}


def _kind(taken: inspect.Parameter) -> type | None:
    """The type of a parameter of a constructor; None where a suite cannot hold its values."""
    annotation = str(getattr(taken.annotation, "__name__", taken.annotation)).strip("'\"")
    first = annotation.replace("Optional[", "").rstrip("]").split("|")[0].strip()
    kind = KINDS.get(first)
    if taken.default is inspect.Parameter.empty:
        return None
    if taken.default is None:
        return kind if "None" in annotation or "Optional" in annotation else None
    return kind if kind is not None and isinstance(taken.default, bool | int | float | str) else None


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Inside, NumPy's generators without a seed are seeded from the global stream, which the guard has seeded."""

    class Seeded(np.random.RandomState):
        def __init__(self, seed: Any = None):
            super().__init__(np.random.randint(2**31) if seed is None else seed)  # noqa: NPY002 - as ART

    with mock.patch.object(np.random, "RandomState", Seeded):
        yield
