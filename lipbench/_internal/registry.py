"""Names to objects: built-in ones imported on first use, others through entry points.

A plugin registers an object under its name in the entry point group ``lipbench.<kind>s``, for instance

    [project.entry-points."lipbench.losses"]
    my_loss = "my_package:my_loss"
"""

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from lipbench.errors import LipbenchError, one_line, unknown_name


class Registry:
    """Objects of one kind by name. Listing the names imports nothing."""

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]):
        self.kind = kind
        self.group = group
        self._builtin = dict(builtin)  # name: "module:attribute"

    @property
    def bundled(self) -> tuple[str, ...]:
        """The names that come with lipbench, in the order of declaration."""
        return tuple(self._builtin)

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted({*self._builtin, *(point.name for point in entry_points(group=self.group))})

    def get(self, name: str) -> Any:
        """The object called ``name``; raises LipbenchError with the closest name if there is none."""
        if name in self._builtin:
            module, _, attribute = self._builtin[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        for point in entry_points(group=self.group):
            if point.name == name:
                try:
                    return point.load()
                except Exception as error:
                    raise LipbenchError(
                        f"the {self.kind} {name!r} of {point.value} cannot be imported: {one_line(error)}"
                    ) from error
        raise unknown_name(self.kind, name, self.names())


LOSSES = Registry(
    "loss",
    "lipbench.losses",
    {
        "cross_entropy": "lipbench.training.losses.multiclass:CrossEntropy",
        "tau_cross_entropy": "lipbench.training.losses.multiclass:TauCrossEntropy",
        "hkr_multiclass": "lipbench.training.losses.multiclass:HKRMulticlass",
        "hinge_multiclass": "lipbench.training.losses.multiclass:HingeMulticlass",
        "kr_multiclass": "lipbench.training.losses.multiclass:KRMulticlass",
        "categorical_hinge": "lipbench.training.losses.multiclass:CategoricalHinge",
        "mcr": "lipbench.training.losses.multiclass:MCR",
        "soft_hkr_multiclass": "lipbench.training.losses.multiclass:SoftHKRMulticlass",
        "lse_hkr_multiclass": "lipbench.training.losses.multiclass:LseHKRMulticlass",
        "offset_cross_entropy": "lipbench.training.losses.multiclass:OffsetCrossEntropy",
        "certificate_regularized_cross_entropy": (
            "lipbench.training.losses.multiclass:CertificateRegularizedCrossEntropy"
        ),
        "tau_binary_cross_entropy": "lipbench.training.losses.binary:TauBinaryCrossEntropy",
        "hinge_binary": "lipbench.training.losses.binary:HingeBinary",
        "hkr_binary": "lipbench.training.losses.binary:HKRBinary",
        "kr_binary": "lipbench.training.losses.binary:KRBinary",
    },
)
ARCHITECTURES = Registry(
    "architecture",
    "lipbench.architectures",
    {
        "mlp": "lipbench.models.architectures:mlp",
        "cnn": "lipbench.models.architectures:cnn",
        "vgg": "lipbench.models.architectures:vgg",
        "resnet": "lipbench.models.architectures:resnet",
    },
)
BACKENDS = Registry(
    "backend",
    "lipbench.attacks",
    {
        "gradient": "lipbench.attacks.gradient:BACKEND",
        "art": "lipbench.attacks.art:BACKEND",
        "autoattack": "lipbench.attacks.autoattack:BACKEND",
    },
)
DATASETS = Registry(
    "data set",
    "lipbench.datasets",
    {
        "digits": "lipbench.data.digits:load",
        "mnist": "lipbench.data.mnist:load",
        "cifar10": "lipbench.data.cifar:load_cifar10",
        "cifar100": "lipbench.data.cifar:load_cifar100",
        "npz": "lipbench.data.npz:load",
        "folder": "lipbench.data.folder:load",
    },
)
