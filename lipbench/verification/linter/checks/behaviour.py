"""L4xx: train mode, randomness, batch statistics, moving state, stale weights. Everything runs on copies."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parametrize

from lipbench._internal.words import count, shown
from lipbench.verification.linter.observation import relative
from lipbench.verification.linter.subject import Subject
from lipbench.verification.linter.table import Remarks, check

SAME = 1e-4  # relative: outputs and weights that are closer count as the same, since rounding may separate them
NOISY = 1e-3  # relative: no certificate can hold for a forward that differs from itself by more


@check(
    "L401",
    "the model is in train mode",
    "torch.nn.Module.train; deel-torchlip's vanilla_export returns a container in train mode; lipbench certifies and "
    "attacks in eval mode",
)
def _train_mode(subject: Subject) -> Remarks:
    modules = list(subject.module.named_modules())
    training = [_label(name, module) for name, module in modules if module.training]
    if subject.claimed is None or not training:
        return
    start = f"{len(training)} of {len(modules)} modules are in train mode ({shown(training)})"
    seen = subject.behaviour
    distance = None if seen is None else relative(seen.first, seen.evaluated)
    if distance is None:
        yield "warning", f"{start}: call eval()"
    elif distance > SAME:
        yield (
            "error",
            f"{start}, and the outputs differ from those in eval mode by {distance:.2g} (relative): the claim is "
            "certified for another function; call eval()",
        )
    else:
        yield "warning", f"{start}, though the outputs are those of eval mode: call eval() to be sure"


@check(
    "L402",
    "the forward draws random numbers, such as active dropout",
    "torch.nn.functional.dropout is active by default (training=True); a certificate is for one function",
)
def _random(subject: Subject) -> Remarks:
    active = [
        _label(name, module)
        for name, module in subject.module.named_modules()
        if isinstance(module, _DropoutNd) and module.training and module.p > 0
    ]
    drawn = [] if subject.behaviour is None else list(subject.behaviour.drawn)
    if active or drawn:
        where = f" in {shown(active)}" if active else ""
        yield subject.grave, f"the forward draws random numbers ({shown(drawn or ['dropout'])}){where}"


@check(
    "L403",
    "samples of a batch depend on each other, as with batch statistics",
    "torch.nn.BatchNorm2d normalises with the batch in train mode and with track_running_stats=False",
)
def _batch(subject: Subject) -> Remarks:
    norms = [
        _label(name, module)
        for name, module in subject.module.named_modules()
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None)
    ]
    seen = subject.behaviour
    distance = 0.0
    if seen is not None and not seen.drawn and len(seen.part) == len(seen.first) // 2:
        distance = relative(seen.first[: len(seen.part)], seen.part)
    if norms or distance > NOISY:
        seen_change = f" by {distance:.2g} (relative)" if distance > NOISY else ""
        where = f" ({shown(norms)} on batch statistics)" if norms else ""
        yield (
            subject.grave,
            f"the outputs of a sample change{seen_change} with the rest of its batch{where}: no radius holds for the "
            "sample alone",
        )


@check(
    "L404",
    "two forwards of the same input differ, or a forward changes the model's state",
    "orthogonium 0.0.4: every forward re-orthogonalises and moves power-iteration buffers, in eval mode too; "
    "deel.torchlip.vanilla_model exports such models exactly",
)
def _state(subject: Subject) -> Remarks:
    seen = subject.behaviour
    if seen is None:
        return
    distance = relative(seen.second, seen.first)
    if seen.moved:
        severity = subject.grave if distance > NOISY and not seen.drawn else "warning"
        yield (
            severity,
            f"a forward changes {count(len(seen.moved), 'tensor')} of the model's own state ({shown(seen.moved)}), and "
            f"two forwards of the same inputs differ by {distance:.2g} (relative): certify and attack an exported copy",
        )
    elif distance > 0 and not seen.drawn:
        yield (
            subject.grave if distance > NOISY else "warning",
            f"two forwards of the same inputs differ by {distance:.2g} (relative)",
        )


@check(
    "L405",
    "the weight in eval mode is not the one that a training forward computes",
    "deel-torchlip 1.0.5 serves in eval mode the weight of the last training forward: one train-mode forward is needed "
    "after the last optimiser step, before eval()",
)
@torch.no_grad()
def _stale(subject: Subject) -> Remarks:
    found = []
    for label, module in subject.module.named_modules():
        if not parametrize.is_parametrized(module):
            continue
        for tensor in module.parametrizations:
            try:
                served, computed = _weight(module, str(tensor), False), _weight(module, str(tensor), True)
            except (RuntimeError, AttributeError):  # not copyable, or not computable: L201 names it
                continue
            if (distance := relative(served, computed)) > SAME:
                found.append((distance, f"{_label(label, module)}.{tensor}"))
    if found:
        distance, name = max(found)
        yield (
            "warning",
            f"eval mode uses {count(len(found), 'weight')} other than a training forward computes, most {name}, "
            f"by {distance:.2g} (relative): run one forward in train mode, then eval(), before certifying or exporting",
        )


def _weight(module: nn.Module, name: str, training: bool) -> Tensor:
    weight: Tensor = getattr(copy.deepcopy(module).train(training), name)
    return weight.detach()


def _label(name: str, module: nn.Module) -> str:
    return f"{name or 'the model'} ({parametrize.type_before_parametrizations(module).__name__})"
