"""What lipbench knows of ART's evasion attacks, class by class: what each serves, or why it cannot run here.

ART is not imported. A test compares the names with ART's, and runs every attack that is not refused. A class of a later
ART that is missing here is taken to serve both norms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lipbench.attacks.norm import Norm

BOTH = frozenset(Norm)
L2 = frozenset({Norm.L2})
LINF = frozenset({Norm.Linf})


@dataclass(frozen=True)
class Evasion:
    """An evasion attack of ART."""

    # the norms that it serves: all of its own ``norm``, or else those in which its perturbations are meant to be small;
    # an attack on another measure (L0, L1, Wasserstein, rotations) serves both, as lipbench measures what it finds
    norms: frozenset[Norm] = BOTH
    measure: str = ""  # what it makes small or bounds, where it is no norm of lipbench
    refused: str | None = None  # why it cannot run on a classifier of images with given labels
    needs: tuple[str, ...] = ()  # modules that ART does not install
    arguments: Mapping[str, Any] = field(default_factory=dict)  # fixed, as the class's own do not work here
    labels: bool = True  # False: it takes given labels for targets, so that it is left to its own: the predictions
    probabilities: bool = False  # needs outputs that are probabilities, which it gets from a softmax
    one_by_one: bool = False  # its ``generate`` takes one sample
    unseeded: bool = False  # draws from a generator of its own, which it seeds from the operating system


_DETECTOR = Evasion(refused="attacks object detectors")
_SPEECH = Evasion(refused="attacks speech recognisers")
_VIDEO = Evasion(refused="attacks classifiers of videos")
_TENSORFLOW = Evasion(refused="attacks TensorFlow models")
_PATCH = Evasion(refused="makes one patch to be placed on images, not candidates for each sample")
_FEATURES = Evasion(refused="is targeted: it imitates the features of a guide image, given as y")
_GRAPHITE = Evasion(refused="is targeted: it turns the input into a given image of the target class")

EVASION: dict[str, Evasion] = {
    "AdversarialPatch": _PATCH,
    "AdversarialPatchNumpy": _PATCH,
    "AdversarialPatchPyTorch": _PATCH,
    "AdversarialPatchTensorFlowV2": _TENSORFLOW,
    "AdversarialTexturePyTorch": Evasion(refused="attacks object trackers"),
    "AutoAttack": Evasion(needs=("multiprocess",)),
    "AutoConjugateGradient": Evasion(),
    "AutoProjectedGradientDescent": Evasion(),
    "BasicIterativeMethod": Evasion(LINF),
    "BoundaryAttack": Evasion(L2, unseeded=True),
    "BrendelBethgeAttack": Evasion(needs=("numba",), unseeded=True),
    "CarliniL0Method": Evasion(measure="L0"),
    "CarliniL2Method": Evasion(L2),
    "CarliniLInfMethod": Evasion(LINF),
    "CarliniWagnerASR": _SPEECH,
    "CompositeAdversarialAttackPyTorch": Evasion(
        refused="changes hue, saturation, brightness and rotation of colour images, and needs kornia"
    ),
    "DPatch": _DETECTOR,
    "DecisionTreeAttack": Evasion(refused="attacks scikit-learn's decision trees"),
    "DeepFool": Evasion(L2),
    "ElasticNet": Evasion(measure="L1 + beta L2"),
    "FastGradientMethod": Evasion(),
    "FeatureAdversariesNumpy": _FEATURES,
    "FeatureAdversariesPyTorch": _FEATURES,
    "FeatureAdversariesTensorFlowV2": _TENSORFLOW,
    "FrameSaliencyAttack": _VIDEO,
    "GRAPHITEBlackbox": _GRAPHITE,
    "GRAPHITEWhiteboxPyTorch": _GRAPHITE,
    "GeoDA": Evasion(refused="calls np.mat, which NumPy 2 does not have"),
    "HighConfidenceLowUncertainty": Evasion(refused="attacks Gaussian processes of GPy"),
    "HopSkipJump": Evasion(unseeded=True),
    "ImperceptibleASR": _SPEECH,
    "ImperceptibleASRPyTorch": _SPEECH,
    "LaserAttack": Evasion(refused="paints a laser beam on colour images, with generators of beams given as objects"),
    "LowProFool": Evasion(refused="weighs the columns of a table by importances that were fitted to them"),
    "MalwareGDTensorFlow": _TENSORFLOW,
    "MomentumIterativeMethod": Evasion(),
    "NewtonFool": Evasion(L2),
    "OverTheAirFlickeringPyTorch": _VIDEO,
    "OverloadPyTorch": _DETECTOR,
    "PixelAttack": Evasion(measure="L0", arguments={"es": 1}),  # differential evolution; the other needs cma
    "ProjectedGradientDescent": Evasion(),
    "ProjectedGradientDescentNumpy": Evasion(),
    "ProjectedGradientDescentPyTorch": Evasion(),
    "ProjectedGradientDescentTensorFlowV2": _TENSORFLOW,
    "RescalingAutoConjugateGradient": Evasion(),
    "RobustDPatch": _DETECTOR,
    "SNAL": _DETECTOR,
    "SaliencyMapMethod": Evasion(measure="L0", labels=False),
    "ShadowAttack": Evasion(measure="smoothness and colour shift", labels=False, one_by_one=True),
    "SignOPTAttack": Evasion(L2),
    "SimBA": Evasion(L2, arguments={"batch_size": 1}, labels=False, probabilities=True),
    "SpatialTransformation": Evasion(measure="rotation and translation"),
    "SquareAttack": Evasion(),
    "TargetedUniversalPerturbation": Evasion(refused="is targeted: it needs a target class for each sample"),
    "ThresholdAttack": Evasion(LINF, arguments={"es": 1}),
    "UniversalPerturbation": Evasion(arguments={"attacker": "deepfool", "attacker_params": {"verbose": False}}),
    "VirtualAdversarialMethod": Evasion(L2, probabilities=True),
    "Wasserstein": Evasion(measure="Wasserstein distance", arguments={"norm": "wasserstein", "ball": "wasserstein"}),
    "ZooAttack": Evasion(L2, arguments={"batch_size": 1}),
}
