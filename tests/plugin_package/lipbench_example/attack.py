"""An attack in its short form: a function."""

import torch
import torch.nn.functional as F


def momentum(model, x, labels, eps, *, norm, steps: int = 10, decay: float = 1.0):
    """The iterative method with momentum (Dong et al. 2018, arXiv 1710.06081)."""
    shape, found, gathered = (-1, 1, 1, 1), x.clone(), torch.zeros_like(x)
    for _ in range(max(1, steps)):
        found.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(found), labels, reduction="sum"), found)
        size = gradient.abs().flatten(1).sum(dim=1).clamp_min(1e-30)
        gathered = decay * gathered + gradient / size.view(shape)
        if norm == "Linf":
            delta = (found.detach() + 2 * eps / steps * gathered.sign() - x).clamp(-eps, eps)
        else:
            length = gathered.flatten(1).norm(dim=1).clamp_min(1e-30).view(shape)
            delta = found.detach() + 2 * eps / steps * gathered / length - x
            delta = delta * (eps / delta.flatten(1).norm(dim=1).clamp_min(eps)).view(shape)
        found = (x + delta).clamp(0, 1)
    return found
