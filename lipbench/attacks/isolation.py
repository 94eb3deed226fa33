"""The global state that attack libraries change, and its restoration."""

import logging
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from lipbench._internal.randomness import gpus_in_use, keeping_random_numbers

LOGGERS = ("auto-attack", "art")  # of pyautoattack and ART; both warn about inputs that lipbench has already checked


@contextmanager
def preserved(network: nn.Module, seed: int) -> Iterator[None]:
    """Seed torch, NumPy and random with ``seed`` inside, and restore everything afterwards, also after an error.

    Restored are the random state of torch (CPU and CUDA), NumPy and random; the trace function, which AutoAttack
    clears, so that coverage and debuggers would stop; whether torch records gradients; the network's modes, gradients
    and ``requires_grad``; logging levels and warning filters. Inside, gradients are on and the libraries' logs are off.
    """
    with (
        keeping_random_numbers(*gpus_in_use()),
        _trace_function(),
        _network_state(network),
        _quiet(),
        torch.enable_grad(),
    ):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - ART draws from the global stream
        random.seed(seed)
        yield


@contextmanager
def _trace_function() -> Iterator[None]:
    trace = sys.gettrace()
    try:
        yield
    finally:
        sys.settrace(trace)


@contextmanager
def _network_state(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    gradients = {
        parameter: (parameter.requires_grad, None if parameter.grad is None else parameter.grad.clone())
        for parameter in network.parameters()
    }
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, (requires_grad, gradient) in gradients.items():
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
