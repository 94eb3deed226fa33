"""An optimizer."""

import torch
from torch.optim import Optimizer


class Lion(Optimizer):
    """Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2)."""

    def __init__(self, parameters, lr: float, weight_decay: float = 0.0, *, betas=(0.9, 0.99)):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "betas": tuple(betas)})

    @torch.no_grad()
    def step(self, closure=None):
        """One step along the signs of the interpolated momentum."""
        for group in self.param_groups:
            interpolation, decay = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
                update = torch.lerp(parameter.grad, average, interpolation).sign()
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
                average.lerp_(parameter.grad, 1 - decay)
