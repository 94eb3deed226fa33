"""Architectures: chains of layers, written once (``chains``) and built from one of several sets of layers (``layers``).

    CONSTRAINED      deel-torchlip's 1-Lipschitz layers, which are trained
    orthogonium()    orthogonium's orthogonal layers, which are trained; needs the extra of that name
    EXPORTED         the same network in plain torch layers, which are stored, certified and attacked
    UNCONSTRAINED    the twin of the same shape, plain layers and ReLU

``building`` makes a network of a name, ``exporting`` the plain form of a trained one, ``summary`` counts parameters.
"""

from lipbench.models.architectures.building import build
from lipbench.models.architectures.exporting import export, plain_form
from lipbench.models.architectures.layers import (
    CONSTRAINED,
    EXPORTED,
    UNCONSTRAINED,
    ConvexCombination,
    Layers,
    Normalize,
    Residual,
    layers_of,
    stored_layers,
)

__all__ = [
    "CONSTRAINED",
    "EXPORTED",
    "UNCONSTRAINED",
    "ConvexCombination",
    "Layers",
    "Normalize",
    "Residual",
    "build",
    "export",
    "layers_of",
    "plain_form",
    "stored_layers",
]
