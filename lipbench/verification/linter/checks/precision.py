"""L5xx: arithmetic below float32, in the settings, the weights, and the forward."""

import torch

from lipbench._internal.precision import lowered_precisions
from lipbench._internal.words import shown
from lipbench.verification.linter.observation import is_reduced
from lipbench.verification.linter.subject import Subject
from lipbench.verification.linter.table import Remarks, check

MANY = 32  # distinct weights; fewer, such as in an identity, may well be short numbers on purpose
HALF = (torch.bfloat16, torch.float16)  # the one with fewer bits first: its numbers are mostly numbers of the other


@check(
    "L501",
    "torch is set to TF32, bfloat16 or autocast",
    "PyTorch notes, Numerical accuracy: TF32 and bfloat16 keep 10 and 7 bits of the mantissa; "
    "torch.backends.*.fp32_precision = 'ieee'",
)
def _settings(subject: Subject) -> Remarks:
    device = subject.weight.device.type
    if torch.is_autocast_enabled(device):
        yield "warning", f"autocast is on for {device}: layers run in {torch.get_autocast_dtype(device)}"
    if subject.weight.dtype is torch.float32:
        for setting in lowered_precisions(subject.weight.device):
            yield "warning", f"{setting}: float32 products may run in TF32 or bfloat16, with relative errors of 1e-3"


@check(
    "L502",
    "weights are stored, or the forward computes, in less than float32",
    "Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 2.1: float16 and bfloat16 round to relative "
    "errors of 2^-11 and 2^-8",
)
def _reduced(subject: Subject) -> Remarks:
    tensors = [*subject.module.named_parameters(), *subject.module.named_buffers()]
    stored = [f"{name} ({tensor.dtype})" for name, tensor in tensors if is_reduced(tensor)]
    if stored:
        yield subject.grave, f"{len(stored)} tensors are stored below float32: {shown(stored)}"
    elif subject.behaviour is not None and subject.behaviour.reduced:
        yield (
            subject.grave,
            f"the forward casts to {shown(subject.behaviour.reduced)}: it is not the function that the weights "
            "define in float32",
        )


@check(
    "L503",
    "all float32 weights look rounded to half precision",
    "IEEE 754: float32 keeps 24 bits, float16 11, bfloat16 8; rounding after the claim was computed changes the norm",
)
def _rounded(subject: Subject) -> Remarks:
    if any(weight.dtype is not torch.float32 for weight in subject.module.parameters()):
        return
    # as they are served; a proof in float64 holds the same numbers
    module = subject.module if subject.proof is None else subject.proof.graph.module
    weights = [weight.detach() for weight in module.parameters() if weight.ndim >= 2]
    if subject.claimed is None or not weights or sum(len(w.unique()) for w in weights) < MANY:
        return
    for half in HALF:
        if all(torch.equal(weight, weight.to(half).to(weight.dtype)) for weight in weights):
            yield (
                "warning",
                f"all {sum(w.numel() for w in weights)} float32 weights are exactly {half}: rounded after training, "
                "they no longer have the constant that was claimed for them",
            )
            return
