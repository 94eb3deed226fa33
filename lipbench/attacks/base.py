"""What an attack is: an object that declares what it serves and how it is tuned, and a search that takes one call.

    class Noise(Attack):
        name = "mine/noise"
        summary = "the best of some random points within eps"
        tries = Parameter(20, "random points", at_least=1, at_most=MOST_RESTARTS)

        def run(self, call: AttackCall) -> Tensor:
            ...  # call.arguments["tries"]

Such an object, its class, or a plain function (see ``FunctionAttack``) is registered under its name in the entry point
group ``lipbench.attacks``. The bundled attacks are the ``ATTACK`` of each module in the packages beside this file.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lipbench._internal.registry import ATTACKS
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import Parameter
from lipbench.data.arrays import RANKS
from lipbench.errors import LipbenchError, quoted


@dataclass(frozen=True)
class AttackCall:
    """One call of an attack, on n >= 1 samples that the network classifies correctly.

    ``lipbench.attacks.guard`` makes it: it has checked every field against what the attack declares, and has seeded
    torch, NumPy and random with ``seed``. All tensors are on the network's device.
    """

    network: Network
    x: Tensor  # float32 (n, ...) in [0, 1]: inputs of a rank that the attack serves
    labels: Tensor  # int64 (n,) in 0..K-1
    norm: Norm
    # in units of the input range, above 0: one radius, or float64 (n,) where the attack declares ``per_sample_eps``;
    # None for a minimal-norm attack
    eps: float | Tensor | None
    seed: int
    arguments: Mapping[str, Any]  # one for each declared parameter, within its limits
    batch: AttackBatch  # n rows: where the samples come from, which classes they can reach, what they cost

    @property
    def radii(self) -> Tensor:
        """The eps of each sample: float64 (n,)."""
        return torch.as_tensor(self.eps, dtype=torch.float64, device=self.x.device).expand(len(self.x))

    @property
    def radius(self) -> float:
        """The one eps of all samples."""
        if self.eps is None:
            raise TypeError("a minimal-norm attack is called without an eps")
        return float(self.eps)


class Attack:
    """Base of every attack. A subclass declares itself in class attributes and writes ``run``.

    Each attribute that is a ``Parameter`` declares an argument of that name.
    """

    name: str  # "library/attack"
    summary: str  # one line
    norms: frozenset[Norm] = frozenset(Norm)
    minimal_norm: bool = False  # True: searches the smallest perturbation, takes no eps, is run once for every eps
    per_sample_eps: bool = False  # True: eps may also be a tensor (n,), one radius for each sample
    ranks: frozenset[int] = frozenset({3})  # how many axes an input may have, see ``data.arrays.RANKS``: images alone
    exact: bool = False  # True: its candidates end on the boundary, so it needs the network's own dtype
    min_classes: int = 2
    max_classes: int | None = None  # None: any number

    @functools.cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The declared parameters, in the order of declaration; those of a base class last."""
        declared: dict[str, Parameter] = {}
        for kind in type(self).__mro__:
            for name, value in vars(kind).items():
                if isinstance(value, Parameter):
                    declared.setdefault(name, value)
        return declared

    @functools.cached_property
    def defaults(self) -> dict[str, Any]:
        """The default of each parameter."""
        return {name: parameter.default for name, parameter in self.parameters.items()}

    def obstacle(
        self, arguments: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm
    ) -> str | None:
        """Why the attack cannot run there, to follow its name in a message; None where it can.

        For limits that the attributes cannot express. ``arguments`` holds every parameter; ``input_shape``, of
        one input, has as many axes as the attack serves.
        """
        return None

    def run(self, call: AttackCall) -> Tensor:
        """Candidate inputs: float (n, ...), shaped as ``call.x``; x itself where none was found.

        The guard is the only caller. It clips the candidates to [0, 1], classifies them again and measures them, so
        that they need not be adversarial, nor within eps.
        """
        raise NotImplementedError


ANY_RANK = frozenset(RANKS)
AttackFunction = Callable[..., Tensor]


class FunctionAttack(Attack):
    """An attack that is a plain function ``(model, x, labels, eps) -> candidates``, for both norms, at one eps.

    model: a callable from inputs to float32 logits (n, K), with gradients; x: float32 (n, c, h, w) in [0, 1]; labels:
    int64 (n,); eps: a float, in units of the input range; candidates: shaped as x. Its keyword-only arguments become
    parameters without limits, whose defaults are numbers, truth values or texts. But one called ``norm`` is given the
    norm, "L2" or "Linf". The first line of its docstring is the summary. It serves images; and other inputs
    where it has an attribute ``ranks``, as an ``Attack`` has.
    """

    def __init__(self, name: str, function: AttackFunction):
        self.name = name
        self.summary = (inspect.getdoc(function) or "").split("\n")[0]
        self.ranks = getattr(function, "ranks", self.ranks)
        self._function = function
        self._takes_norm, self._parameters = _keywords(name, function)

    @functools.cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The keyword-only arguments of the function."""
        return self._parameters

    def run(self, call: AttackCall) -> Tensor:
        """See ``Attack.run``."""
        norm = {"norm": call.norm} if self._takes_norm else {}
        return self._function(call.network, call.x, call.labels, call.radius, **norm, **call.arguments)


def _keywords(name: str, function: AttackFunction) -> tuple[bool, dict[str, Parameter]]:
    """Whether the function takes ``norm``, and its other keyword-only arguments."""
    signature = inspect.signature(function)
    keywords = {p.name: p.default for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    try:
        signature.bind(None, None, None, None, **keywords)
    except TypeError as error:
        raise LipbenchError(
            f"{ATTACKS.said(name)} must be a function (model, x, labels, eps) or an Attack, got {signature}"
        ) from error
    takes_norm = "norm" in keywords
    keywords.pop("norm", None)
    for keyword, default in keywords.items():
        if not isinstance(default, bool | int | float | str):
            came = "no default" if default is inspect.Parameter.empty else f"the default {default!r}"
            raise LipbenchError(
                f"the keyword-only argument {keyword!r} of {ATTACKS.said(name)} needs a number, a truth value or a "
                f"text as default, it has {came}"
            )
    meaning = f"keyword of the function {getattr(function, '__name__', name)}"
    return takes_norm, {keyword: Parameter(default, meaning) for keyword, default in keywords.items()}


def names() -> list[str]:
    """All attacks, bundled ones and those of plugins, sorted."""
    return ATTACKS.names()


def named(name: str) -> Attack:
    """The attack of that name, or the evasion attack of ART for ``"art/CLASS"``.

    Raises LipbenchError for an unknown name, and for a plugin that is no attack.
    """
    if name.startswith("art/") and name not in ATTACKS.names():
        from lipbench.attacks.art import library  # which imports this module

        return library.attack(name)
    found = ATTACKS.get(name)
    with ATTACKS.calling(name):
        if isinstance(found, type) and issubclass(found, Attack):
            found = found()
        if isinstance(found, Attack):
            return _declared(name, found)
        if not callable(found) or isinstance(found, type):
            raise LipbenchError(
                f"{ATTACKS.said(name)} must be a function (model, x, labels, eps) or an Attack, got {quoted(found)}"
            )
        return _declared(name, FunctionAttack(name, found))


def _declared(name: str, attack: Attack) -> Attack:
    """The same attack; raises LipbenchError unless it declares what every attack must."""
    declared = getattr(attack, "name", None)
    if declared != name:
        raise LipbenchError(f"{ATTACKS.said(name)} declares the name {declared!r}: use one name")
    if not isinstance(getattr(attack, "summary", None), str) or type(attack).run is Attack.run:
        raise LipbenchError(f"{ATTACKS.said(name)} must declare a summary and a method run(call)")
    if not isinstance(attack.ranks, Set) or not attack.ranks or not attack.ranks <= ANY_RANK:
        raise LipbenchError(
            f"{ATTACKS.said(name)} declares the ranks {attack.ranks!r}, expected a set of some of "
            f"{sorted(ANY_RANK)}: how many axes an input may have"
        )
    _ = attack.parameters
    return attack
