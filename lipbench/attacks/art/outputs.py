"""The outputs of any ART classifier as logits that torch can differentiate, so that lipbench's own search runs on them.

Values come from ``predict``. Gradients come from ``class_gradient``, or else from ``loss_gradient``: with cross-entropy
the gradient of loss(y) - loss(j) is that of f_j - f_y, whatever the other outputs are.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbench.errors import LipbenchError

SMALLEST = 1e-30  # a probability below counts as this; its logarithm stays finite
SUM = 1e-3  # outputs in [0, 1] whose sum is as close to 1 are probabilities


def requirements() -> tuple[Any, ...]:
    """What ART must find in a classifier: ``Attack._estimator_requirements``; a tuple in it means one of them."""
    from art.estimators import BaseEstimator, LossGradientsMixin
    from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin

    return BaseEstimator, ClassifierMixin, (ClassGradientsMixin, LossGradientsMixin)


def input_range(estimator: Any, x: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """The least and the largest value of each input feature: float64, broadcasting to ``EstimatorLogits.flat``.

    Those of ``clip_values``; without any, the range of x and as much again on either side.
    """
    if estimator.clip_values is not None:
        low, high = (np.asarray(value, dtype=np.float64) for value in estimator.clip_values)
    else:
        span = float(x.max() - x.min()) or 1.0
        low, high = np.asarray(x.min() - span, np.float64), np.asarray(x.max() + span, np.float64)
    ends = (np.broadcast_to(value, x.shape[1:]).reshape(1, 1, 1, -1) for value in (low, high))
    low_end, high_end = (torch.from_numpy(value.copy()) for value in ends)
    return low_end, high_end


class EstimatorLogits:
    """An ART classifier as ``lipbench.attacks.gradient.ascent.Logits``, of inputs as rows: (n, 1, 1, d).

    Attributes: ``num_classes``; ``predictions``: int64 (n,), the classes of x. Outputs that are probabilities are
    replaced by their logarithms, which do not saturate.

    x: float32 (n, ...), the inputs to be attacked; batch_size: inputs that the classifier takes at once. Raises
    LipbenchError unless there is one output per class.
    """

    def __init__(self, estimator: Any, x: NDArray[np.float32], batch_size: int):
        from art.estimators.classification.classifier import ClassGradientsMixin

        self._estimator, self._shape, self._batch_size = estimator, x.shape[1:], batch_size
        outputs = self._predict(x)
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise LipbenchError(f"the attack needs one output per class, the classifier gives {outputs.shape}")
        self.num_classes = int(outputs.shape[1])
        self.predictions = outputs.argmax(1)
        sums, positive = outputs.sum(1), bool((outputs >= 0).all())
        self._probabilities = positive and bool((np.abs(sums - 1) <= SUM).all())
        has_loss = hasattr(estimator, "loss_gradient")
        has_classes = isinstance(estimator, ClassGradientsMixin)
        # of probabilities, ART's class gradients are those of p or of log p, from one classifier to the next
        self._by_class = has_classes and not (self._probabilities and has_loss)
        self._of_mean = not self._by_class and self._is_of_mean(x[:1])

    @property
    def surrogate(self) -> "EstimatorLogits":
        """There is no cheaper one."""
        return self

    def flat(self, x: NDArray[np.float32]) -> Tensor:
        """Inputs (n, ...) as float64 (n, 1, 1, d)."""
        return torch.from_numpy(x.reshape(len(x), 1, 1, -1)).double()

    def logits(self, x: Tensor) -> Tensor:
        """Float64 (n, K) at x: float64 (n, 1, 1, d)."""
        found: Tensor = _Outputs.apply(x, self)
        return found

    def values(self, x: Tensor) -> Tensor:
        """As ``logits``, without a gradient."""
        outputs = self._predict(self._inputs(x))
        return torch.from_numpy(np.log(outputs.clip(min=SMALLEST)) if self._probabilities else outputs)

    def pulled_back(self, x: Tensor, weights: Tensor) -> Tensor:
        """The gradient of sum_k weights_k f_k at each x: (n, 1, 1, d); weights: (n, K), which sum to 0 in each row."""
        rows, classes = (index.numpy() for index in weights.nonzero(as_tuple=True))
        total = torch.zeros_like(x)
        if len(rows):
            each = self._gradients(self._inputs(x)[rows], classes).reshape(len(rows), 1, 1, -1)
            factors = weights[rows, classes].view(-1, 1, 1, 1)
            total.index_add_(0, torch.from_numpy(rows), torch.from_numpy(each) * factors)
        return total

    def _gradients(self, x: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """The gradient of the given class's logit at each x, up to one that is the same for all classes."""
        found = []
        for start in range(0, len(x), self._batch_size):
            part, chosen = x[start : start + self._batch_size], classes[start : start + self._batch_size]
            if self._by_class:
                gradient = np.asarray(self._estimator.class_gradient(part, label=chosen), dtype=np.float64)[:, 0]
                if self._probabilities:
                    own = self._predict(part)[np.arange(len(part)), chosen].clip(min=SMALLEST)
                    gradient = gradient / own.reshape(-1, *[1] * (gradient.ndim - 1))
            else:
                one_hot = np.eye(self.num_classes, dtype=np.float32)[chosen]
                gradient = -np.asarray(self._estimator.loss_gradient(part, one_hot), dtype=np.float64)
                gradient *= len(part) if self._of_mean else 1
            found.append(gradient)
        return np.concatenate(found)

    def _is_of_mean(self, x: NDArray[np.float32]) -> bool:
        """Whether ``loss_gradient`` is that of the mean over the batch: then two copies of x, (1, ...), halve it."""
        one_hot = np.eye(self.num_classes, dtype=np.float32)[self._predict(x).argmin(1)]
        alone, twice = (
            np.asarray(self._estimator.loss_gradient(np.repeat(x, n, axis=0), np.repeat(one_hot, n, axis=0)))[0]
            for n in (1, 2)
        )
        return bool(alone.any() and np.allclose(2 * twice, alone, rtol=1e-3, atol=0))

    def _predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(self._estimator.predict(x, batch_size=self._batch_size), dtype=np.float64)

    def _inputs(self, x: Tensor) -> NDArray[np.float32]:
        inputs: NDArray[np.float32] = x.detach().numpy().astype(np.float32).reshape(-1, *self._shape)
        return inputs


class _Outputs(torch.autograd.Function):
    """``EstimatorLogits.values``, with ``EstimatorLogits.pulled_back`` for its backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, classifier: EstimatorLogits) -> Tensor:
        ctx.save_for_backward(x)
        ctx.classifier = classifier
        return classifier.values(x)

    @staticmethod
    def backward(ctx: Any, *weights: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():  # off in here, but the classifier may be one of torch
            return ctx.classifier.pulled_back(x, weights[0]), None
