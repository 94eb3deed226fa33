"""Architectures: chains of layers, written once (``chains``) and built from one of several sets of layers (``layers``).

    CONSTRAINED      deel-torchlip's 1-Lipschitz layers, which are trained
    orthogonium()    orthogonium's orthogonal layers, which are trained; needs the extra of that name
    EXPORTED         the same network in plain torch layers, which are stored, certified and attacked
    UNCONSTRAINED    the twin of the same shape, plain layers and ReLU

``exporting`` makes the plain form of a trained network; ``summary`` counts parameters and measures gradients.
"""

from lipbench.models.architectures.chains import Shape, build, cnn, mlp, resnet, vgg
from lipbench.models.architectures.exporting import export
from lipbench.models.architectures.layers import (
    CONSTRAINED,
    EXPORTED,
    SETS,
    UNCONSTRAINED,
    ConvexCombination,
    Layers,
    Normalize,
    Residual,
    layers_of,
    orthogonium,
)

__all__ = [
    "CONSTRAINED",
    "EXPORTED",
    "SETS",
    "UNCONSTRAINED",
    "ConvexCombination",
    "Layers",
    "Normalize",
    "Residual",
    "Shape",
    "build",
    "cnn",
    "export",
    "layers_of",
    "mlp",
    "orthogonium",
    "resnet",
    "vgg",
]
