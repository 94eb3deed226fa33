"""The network as certificates and attacks see it: float32 inputs, one dtype, evaluations counted."""

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from lipbench._internal.precision import DTYPES, dtype_named, name_of, summing_products
from lipbench.certification.lipschitz import agreement, frozen
from lipbench.certification.lipschitz.agreement import REORDERED
from lipbench.certification.lipschitz.graph import Graph
from lipbench.certification.probabilities import refuse_sums
from lipbench.data.arrays import layout_hint
from lipbench.errors import LipbenchError, NetworkError, UnsupportedError, one_line, reason
from lipbench.models.fast_layers import quickened

MEMORY = {"cpu": 2**26, "cuda": 2**33}  # bytes for what a batch keeps for its gradients
LARGEST_BATCH = 16384
CHECKED = 64  # samples of a run for which the network is compared with its graph
LARGE = 1e15  # for an infinite entry of a gradient: above all others, and its square is finite in float32


@dataclass
class Evaluations:
    """Exact counts of network evaluations, one per sample and pass."""

    forward: int = 0
    backward: int = 0

    @property
    def total(self) -> int:
        """Forward and backward passes together."""
        return self.forward + self.backward


def class_logits(out: Tensor) -> Tensor:
    """A logit per class, (n, K), of a network's outputs (n, K) or (n, 1): f is -f/2 for class 0 and f/2 for class 1."""
    return torch.cat([-out / 2, out / 2], dim=1) if out.shape[1] == 1 else out


class Network(nn.Module):
    """A classifier of inputs x: float32 (n, ...) in [0, 1], frozen, in eval mode, in one dtype.

    ``forward`` returns float32 logits (n, classes), as attack libraries expect; ``logits`` returns them as float64,
    exactly as computed, and these decide. In float64 (the default) both are the same function up to the last rounding,
    so that no attack wins or loses a sample by float32 noise; in float32 the network runs as in most other tools.
    Weights that a layer computes from others are computed once (``lipschitz.frozen``). A head with a
    single logit f (class 1 where f > 0) is shown as the two logits (-f/2, f/2), whose difference is f.

    Attributes: ``module``: the copy that runs; ``input_shape``: of one input; ``num_classes``; ``single_logit``;
    ``dtype``: torch.float32 or torch.float64; ``evaluations``: all forward and backward passes since construction;
    ``refused``: why it can be attacked and not certified, see ``as_given``; None for most.

    probabilities: outputs that sum to 1 are taken too. Raises LipbenchError where another network would run than the
    one given: for weights of less than float32, and for float64 weights that float32 would round.
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        device: str | torch.device = "cpu",
        dtype: str = "float64",
        *,
        probabilities: bool = False,
    ):
        super().__init__()
        computed_in = dtype_named(dtype)
        copied = frozen(module)
        _check_numbers(module, computed_in)
        self._hold(copied.to(device, computed_in), input_shape, torch.device(device), computed_in)
        agreement.check_copy(module, self.module, self.input_shape)
        if not probabilities:
            self.refuse_probabilities()

    def _hold(self, copied: nn.Module, input_shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> None:
        """Set the attributes, from a copy of the module. Raises LipbenchError unless it gives logits."""
        self.dtype, self.device = dtype, device
        self.module = copied
        for parameter in copied.parameters():  # TorchScript has no ``requires_grad_`` of its own
            parameter.requires_grad_(False)
        self.input_shape = input_shape
        self.evaluations = Evaluations()
        self.refused: str | None = None
        with torch.no_grad():
            try:
                zeros = torch.zeros(1, *self.input_shape, dtype=self.dtype, device=device)
                out = agreement.checked(self.module(zeros), finite=False)
            except LipbenchError:
                raise
            except Exception as error:  # whatever the network's own code raises
                hint = '; if its forward casts, choose dtype="float32"' if "dtype" in str(error) else ""
                raise LipbenchError(
                    f"the network does not accept inputs of shape {self.input_shape} in {name_of(dtype)}: "
                    f"{one_line(error)}{hint}{layout_hint(self.input_shape)}"
                ) from error
        if out.ndim != 2:
            raise LipbenchError(
                f"expected logits of shape (n, classes), the network gives {tuple(out.shape)} for n = 1"
            )
        self.single_logit = out.shape[1] == 1
        self.num_classes = 2 if self.single_logit else int(out.shape[1])
        self.sums_products = True  # as grade float needs; False: any algorithm for convolutions
        self._undefined: Tensor | None = None  # inside ``watched``: bool (), no class somewhere in [0, 1]

    def refuse_probabilities(self) -> None:
        """Raise ProbabilitiesError if the outputs are probabilities."""
        with torch.no_grad():
            refuse_sums(self.module, self.input_shape, torch.zeros((), dtype=self.dtype, device=self.device))

    @cached_property
    def batch_size(self) -> int:
        """How many samples an attack takes at once: what their gradients keep in memory stays within MEMORY.

        Found from what one sample keeps, not from what is free at the moment, so that it is the same on every machine
        of a kind: the size of a batch moves the last bits of what the network computes.
        """
        each = self._kept(2) - self._kept(1)  # the weights, which are kept once, drop out
        return max(1, min(LARGEST_BATCH, MEMORY[self.device.type] // max(each, 16 * math.prod(self.input_shape))))

    def _kept(self, count: int) -> int:
        """Bytes that a forward pass of ``count`` samples keeps for its gradients."""
        kept = 0

        def add(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        x = torch.zeros(count, *self.input_shape, device=self.device, requires_grad=True)
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(add, lambda tensor: tensor):
            self.module(x.to(self.dtype, copy=True))
        return kept

    @cached_property
    def surrogate(self) -> "Network":
        """The same network for attacks that need not meet the boundary to the last bit: in float32, with the faster
        forms of its slow layers, and on a CPU, where that is faster, with channels innermost. Its evaluations are
        counted in ``self``, which also classifies the candidates found with it.
        """
        copied = quickened(copy.deepcopy(self.module).float())
        fast = Network(copied, self.input_shape, self.device, "float32", probabilities=True)
        if self.device.type == "cpu":
            _put_channels_innermost(fast.module, self.input_shape)
        fast.evaluations, fast.sums_products = self.evaluations, False
        return fast

    def logits(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of x: float (n, ...), given as float64, which changes none of them."""
        self.evaluations.forward += len(x)
        inputs = x.to(self.dtype, copy=True)  # the network may overwrite its input, and the caller's keeps no hook
        if inputs.requires_grad:
            inputs.register_hook(self._on_gradient)
        with summing_products(x.device) if self.sums_products else contextlib.nullcontext():
            out = self.outputs(inputs).double()
        # quantised layers, which have no rule, give no gradient, or ask for one in vain: there it is 0
        if inputs.requires_grad and self.refused is not None:
            out = out + 0 * inputs.double().flatten(1).sum(dim=1, keepdim=True)
        # the sum of the logits nearly always decides; on a GPU, reading it would wait for the device
        if self._undefined is not None and not (out.device.type == "cpu" and math.isfinite(out.detach().sum().item())):
            inside = ((x >= 0) & (x <= 1)).flatten(1).all(dim=1)
            self._undefined |= (inside & ~out.detach().isfinite().all(dim=1)).any()
        return class_logits(out) if self.single_logit else out

    def outputs(self, inputs: Tensor) -> Tensor:
        """The outputs of the module, (n, classes) or (n, 1), uncounted; inputs: (n, ...), in the network's own dtype.

        Raises NetworkError where the module's own code raises on inputs in [0, 1].
        """
        try:
            out: Tensor = self.module(inputs)
        except Exception as error:
            fits = len(inputs) and tuple(inputs.shape[1:]) == tuple(self.input_shape)
            if fits and bool(((inputs >= 0) & (inputs <= 1)).all()):
                raise NetworkError(f"the network's forward failed on {len(inputs)} inputs: {reason(error)}") from error
            raise  # an attack gave it something else
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Float32 logits (n, classes) of x: float32 (n, ...)."""
        return self.logits(x).float()

    def _on_gradient(self, gradient: Tensor) -> Tensor | None:
        """A backward pass has reached the inputs."""
        self.evaluations.backward += len(gradient)
        return None if self._undefined is None else gradient.nan_to_num(0.0, LARGE, -LARGE)

    @contextlib.contextmanager
    def watched(self, attack: str) -> Iterator[None]:
        """Inside, where ``attack`` runs, gradients at the inputs are finite: NaN, which has no direction, becomes 0,
        and infinite entries become LARGE.

        Otherwise libraries carry a NaN from the gradient into the input. There the logits are NaN and no comparison is
        true: the library counts the sample as broken, none of its later attacks sees it, and its candidate is useless.
        Raises LipbenchError at the end if the network was evaluated at an input in [0, 1] where its logits are not
        finite: it has no class there, so that the sample would be neither robust nor broken.
        """
        self._undefined = torch.zeros((), dtype=torch.bool, device=self.device)
        try:
            yield
        except Exception as error:  # libraries compare and assert, which NaN may fail
            self._refuse_undefined(attack, error)
            raise
        else:
            self._refuse_undefined(attack)
        finally:
            self._undefined = None

    def _refuse_undefined(self, attack: str, cause: Exception | None = None) -> None:
        if self._undefined is not None and self._undefined:
            raise NetworkError(
                f"{attack} found inputs in [0, 1] where the network's logits are not finite in {name_of(self.dtype)}: "
                "its weights or its preprocessing are out of range"
            ) from cause

    @torch.no_grad()
    def predict(self, x: Tensor, batch_size: int | None = None) -> Tensor:
        """Float64 logits (n, classes) without gradients, in batches, on the CPU. x: float32 (n, ...)."""
        batch_size = batch_size or min(1000, self.batch_size)
        logits = torch.cat([self.logits(batch.to(self.device)).cpu() for batch in x.split(batch_size)])
        if not torch.isfinite(logits[torch.isfinite(x).flatten(1).all(dim=1).cpu()]).all():
            raise NetworkError("the network's logits are not finite: its weights or its preprocessing are out of range")
        return logits

    @torch.no_grad()
    def check_batch(self, graph: Graph, x: Tensor, logits: Tensor) -> None:
        """Raise UnsupportedError if the network computed something else for samples of this run, in its batches, than
        its graph, or than it computes for a sample alone.

        graph: of the module; x: float32 (n, ...); logits: float64 (n, classes), of ``predict(x)``. The graph sees
        up to CHECKED samples; the first, the middle and the last one are run alone. These passes are not counted.
        """
        some = torch.linspace(0, len(x) - 1, min(len(x), CHECKED)).long().unique()
        points = x[some.to(x.device)].to(self.device, self.dtype)
        rows = sorted({0, len(some) // 2, len(some) - 1})
        with summing_products(self.device) if self.sums_products else contextlib.nullcontext():
            traced = class_logits(graph.run(points, lambda place, inputs, value: None)).cpu()
            alone = torch.cat([self.module(points[row, None].clone()) for row in rows])
            room = agreement.unsteadiness(self.module, points[rows], alone).cpu()
        given = logits[some].to(self.dtype)
        among, close = logits.to(self.dtype), {"share": agreement.share_of_sums(self.dtype), "roundings": REORDERED}
        if agreement.differ(class_logits(alone).cpu(), given[rows], among, room=room, **close):
            raise UnsupportedError(
                f"the outputs for a sample depend on the others of a batch, or on their number: in a batch of {len(x)} "
                "they are others than alone"
            )
        if agreement.differ(traced, given, among, room=room, **close):
            raise UnsupportedError(
                "the traced graph gives other outputs than the network for samples of this run: its forward depends on "
                "the data, or on state"
            )


def _check_numbers(module: nn.Module, dtype: torch.dtype) -> None:
    """Raise LipbenchError unless a copy of the module in ``dtype`` is the same network."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        kind = str(tensor.dtype).removeprefix("torch.")
        other = tensor.is_floating_point() and tensor.dtype not in DTYPES.values()
        if other or tensor.is_complex() or tensor.is_quantized:
            raise UnsupportedError(
                f"the network's {name} is {kind}, expected float32 or float64: a copy in these is another network than "
                "the one you run; pass module.float() if it is the one you mean"
            )
    for name, tensor in module.named_parameters():
        if tensor.dtype is torch.float64 and dtype is torch.float32 and bool((tensor.float() != tensor).any()):
            raise LipbenchError(
                f"the network's {name} is float64, which float32 rounds to another network: choose dtype "
                "float64, or pass module.float() if the rounded network is the one you mean"
            )


def _put_channels_innermost(module: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Lay out the convolutions' weights so, in place; what follows them takes over the layout of its input.

    Not where a layer, or its gradient, views its input as another shape, which that layout does not allow.
    """
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    for layer in convolutions:
        layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    x = torch.zeros(2, *input_shape, requires_grad=True)
    try:
        with torch.enable_grad():
            torch.autograd.grad(module(x.clone()).sum(), x)
    except RuntimeError:
        for layer in convolutions:
            layer.weight.data = layer.weight.data.contiguous()
