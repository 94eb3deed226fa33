"""For ART: `LipschitzClassifier`, with certified radii, and `BisectionAttack`, bisection for any classifier.

    from lipbench.estimator import BisectionAttack, LipschitzClassifier

    classifier = LipschitzClassifier(network, input_shape=(1, 28, 28))
    prediction, radius = classifier.certify(x)                      # no attack can succeed within the radius
    x_adv = BisectionAttack(classifier, norm=2).generate(x)         # nor can any other of ART's

Importing this module imports ART (the Adversarial Robustness Toolbox), which ``import lipbench`` does not.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from art.attacks import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from lipbench.attacks.art.outputs import EstimatorLogits, input_range, requirements
from lipbench.attacks.gradient import bisection
from lipbench.attacks.gradient.ascent import Goal
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.certification.certificate import Certificate, certificate
from lipbench.certification.grades import GRADES
from lipbench.data.arrays import class_labels
from lipbench.data.arrays import inputs as checked_inputs
from lipbench.errors import LipbenchError, unknown_name
from lipbench.work.execution import check_device, computing_on

__all__ = ["BisectionAttack", "LipschitzCertificateMixin", "LipschitzClassifier"]


class LipschitzCertificateMixin:
    """``certify`` for a classifier that has a ``Network`` and its ``Certificate``; see ``LipschitzClassifier``."""

    def __init__(self, *args: Any, network: Network, proof: Certificate, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._network, self._proof = network, proof

    @property
    def lipschitz_bound(self) -> float:
        """The L2 Lipschitz bound of the network, never below the true constant."""
        return self._proof.bound

    @property
    def not_analysed(self) -> str | None:
        """Why there are no radii of grade float; None where there are."""
        return self._proof.not_analysed

    def certify(
        self, x: NDArray[np.floating], norm: Any = "L2", grade: str = "float"
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The predicted classes (n,), and how far each input can be moved before its class can change: float64 (n,).

        As ``certify`` of ART's randomized smoothing, but proved, and without abstention: a tied input has the radius 0.
        The radius is NaN where the grade says nothing: ``"nominal"`` without a claim, ``"float"`` where a layer has no
        error analysis (``not_analysed`` says which).

        x: floats (n, ...) in [0, 1], which are rounded to float32: the radii are of the rounded inputs; norm:
        "L2" or 2, "Linf" or np.inf; grade: "float", "real" or "nominal". Raises LipbenchError for other inputs, norms
        and grades; UnsupportedError where the network computes something else for these inputs than its traced graph.
        """
        if grade not in GRADES:
            raise unknown_name("grade", grade, GRADES)
        network, proof = self._network, self._proof
        inputs = checked_inputs(x)
        if tuple(inputs.shape[1:]) != network.input_shape:
            expected = ", ".join(map(str, network.input_shape))
            raise LipbenchError(f"x must be of shape (n, {expected}), got {tuple(inputs.shape)}")
        scale = Norm.parse(norm).radius_from_l2(1.0, inputs[0].numel())
        with computing_on(network.device.type):
            network.eval()
            logits = network.predict(inputs)
            network.check_batch(proof.graph, inputs, logits)
            prediction = logits.argmax(dim=1)
            radii = proof.radii_of(inputs.to(network.device), logits, prediction, (grade,))[grade]
        return prediction.numpy(), radii.numpy() * scale


class LipschitzClassifier(LipschitzCertificateMixin, PyTorchClassifier):
    """A network as an ART classifier with certified radii: ART's attacks run on it, and none can break ``certify``.

    The network is a frozen copy in eval mode that computes in ``dtype``; to train, train ``model`` and build another.
    Inputs lie in [0, 1]: scaling belongs into the module. ``predict`` gives float32 logits (n, K), also of a float64
    network; a head with a single logit f is shown as two, (-f/2, f/2). All methods round inputs to float32, as ART's
    attacks do. ``loss_gradient`` is of cross-entropy, and that of a sample does not depend on the rest of the batch.
    """

    estimator_params: ClassVar[list[str]] = [*PyTorchClassifier.estimator_params, "claimed", "dtype"]

    def __init__(
        self,
        model: nn.Module,
        input_shape: Sequence[int],
        *,
        claimed: float | None = None,
        dtype: str = "float64",
        device_type: str = "cpu",
    ) -> None:
        """Freeze and certify a network.

        model: outputs logits (n, K), or (n, 1) for two classes, and torch.fx can trace it; input_shape: of one input,
        such as (1, 28, 28); claimed: the claimed L2 Lipschitz constant, for grade nominal; dtype: "float64" or
        "float32"; device_type: "cpu", "gpu" (or "cuda"), or "auto". Raises UnsupportedError for a layer without a
        Lipschitz rule; LipbenchError for "gpu" where there is none (ART would take the CPU without a word), and for a
        network that ``Network`` refuses.
        """
        shape = tuple(input_shape)
        with computing_on(check_device("cuda" if device_type == "gpu" else device_type)) as device:
            network = Network(model, shape, device, dtype)
            proof = certificate(network.module, shape, claimed, network.dtype)
        super().__init__(
            network=network,
            proof=proof,
            model=network,
            loss=nn.CrossEntropyLoss(reduction="sum"),
            input_shape=shape,
            nb_classes=network.num_classes,
            clip_values=(0.0, 1.0),
            preprocessing=None,
            device_type="cpu" if device.type == "cpu" else "gpu",
        )
        self._claimed, self._dtype = proof.claimed, dtype

    @property
    def claimed(self) -> float | None:
        """The claimed L2 Lipschitz constant; None without one."""
        return self._claimed

    @property
    def dtype(self) -> str:
        """What the network computes in: "float64" or "float32"."""
        return self._dtype

    def set_params(self, **kwargs: Any) -> None:
        """Refused: the certificate holds for what was certified."""
        raise LipbenchError(
            f"a LipschitzClassifier keeps the parameters that it was built with, got {', '.join(kwargs) or 'none'}: "
            "build another one; preprocessing belongs into the module"
        )

    def fit(self, x: Any, y: Any, **kwargs: Any) -> None:
        """Refused: the network is a frozen copy."""
        raise LipbenchError("the network of a LipschitzClassifier is frozen: train the module, then build another one")

    def fit_generator(self, generator: Any, **kwargs: Any) -> None:
        """Refused, as ``fit``."""
        self.fit(None, None)

    def predict(
        self, x: NDArray[np.floating], batch_size: int = 128, training_mode: bool = False, **kwargs: Any
    ) -> NDArray[np.float32]:
        """Logits of x (n, c, h, w): float32 (n, K)."""
        with computing_on(self._network.device.type):
            found: NDArray[np.float32] = super().predict(_rounded(x), batch_size, _eval(training_mode), **kwargs)
        return found

    def class_gradient(
        self, x: NDArray[np.floating], label: Any = None, training_mode: bool = False, **kwargs: Any
    ) -> NDArray[np.float32]:
        """Gradients of the logits at x (n, c, h, w): float32 (n, K, c, h, w), or (n, 1, c, h, w) for a ``label``."""
        found: NDArray[np.float32] = super().class_gradient(_rounded(x), label, _eval(training_mode), **kwargs)
        return found

    def loss_gradient(self, x: Any, y: Any, training_mode: bool = False, **kwargs: Any) -> Any:
        """Gradients of cross-entropy at x (n, c, h, w): float32, of its shape; y: one-hot (n, K), or classes (n,)."""
        if isinstance(y, np.ndarray) and y.ndim == 1:  # ART's documents allow it, its code does not
            y = np.eye(self.nb_classes, dtype=np.float32)[y]
        return super().loss_gradient(_rounded(x), y, _eval(training_mode), **kwargs)


class BisectionAttack(EvasionAttack):
    """The smallest perturbation by bisection over the radius of PGD (``lipbench.attacks.gradient.bisection``).

    For any ART classifier with one output per class that gives class gradients or loss gradients (of cross-entropy):
    also those of scikit-learn, and black boxes whose gradients are estimated. Untargeted and deterministic. The result
    is x itself where nothing was found, and where x is misclassified already.
    """

    attack_params: ClassVar[list[str]] = [
        *EvasionAttack.attack_params, "norm", "rounds", "steps", "targets", "batch_size",
    ]  # fmt: skip
    _estimator_requirements = requirements()

    def __init__(
        self,
        estimator: Any,
        norm: Any = 2,
        rounds: int = bisection.ATTACK.defaults["rounds"],
        steps: int = bisection.ATTACK.defaults["steps"],
        targets: int = bisection.ATTACK.defaults["targets"],
        batch_size: int = 1000,
    ) -> None:
        """Configure the attack.

        norm: 2 or "L2", np.inf, "inf" or "Linf"; rounds: radii of the bisection; steps: gradient steps at each;
        targets: so many wrong classes that Newton's method aims at first; batch_size: samples at once.
        """
        super().__init__(estimator=estimator)
        self.norm, self.rounds, self.steps, self.targets, self.batch_size = norm, rounds, steps, targets, batch_size
        self._check_params()

    def generate(self, x: NDArray[Any], y: NDArray[Any] | None = None, **kwargs: Any) -> NDArray[np.float32]:
        """The nearest adversarial inputs found, x where none: float32, shaped as x.

        x: (n, ...); y: true labels, classes (n,) or one-hot (n, K); by default the predictions. The search stays within
        the classifier's ``clip_values``; without any, within three times the range of x.
        """
        points = np.asarray(x, dtype=np.float32)
        if len(points) == 0:
            return points.copy()
        outputs = EstimatorLogits(self.estimator, points, self.batch_size)
        given = outputs.predictions if y is None else np.asarray(y)
        given = given.argmax(1) if given.ndim == 2 and given.shape[1] == outputs.num_classes else given.reshape(-1)
        labels = class_labels(given, len(points), outputs.num_classes)
        low, high = input_range(self.estimator, points)
        found = points.copy()
        for start in range(0, len(points), self.batch_size):
            rows = slice(start, start + self.batch_size)
            goal = Goal(outputs, outputs.flat(points[rows]), labels[rows], Norm.parse(self.norm), low, high)
            nearest = bisection.nearest(goal, rounds=self.rounds, steps=self.steps, targets=self.targets)
            found[rows] = nearest.numpy().reshape(points[rows].shape)
        return found

    def _check_params(self) -> None:
        Norm.parse(self.norm)
        for name, parameter in bisection.ATTACK.parameters.items():
            if not parameter.accepts(getattr(self, name)):
                raise LipbenchError(
                    f"{name} must be {parameter.expected}, got {getattr(self, name)!r} ({parameter.meaning})"
                )
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise LipbenchError(f"batch_size must be a whole number, at least 1, got {self.batch_size!r}")


def _rounded(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) else np.asarray(x, dtype=np.float32)


def _eval(training_mode: bool) -> bool:
    if training_mode:
        raise LipbenchError("the network of a LipschitzClassifier is in eval mode, got training_mode=True")
    return False
