"""The grades of a certificate: what each one holds for. Importing this module does not import torch.

This is the one place of these sentences: reports, documents and messages take them from here.
"""

from dataclasses import dataclass

CLAIM_TOLERANCE = 3e-6  # float32 weights that are orthogonal by construction end about 1.5e-7 above 1 per dense layer


@dataclass(frozen=True)
class Grade:
    """What a certified radius of this grade assumes."""

    name: str
    holds: str  # one sentence: when a radius of this grade is true
    exact: bool  # it states a fact of exact arithmetic: rounding next to the decision boundary does not refute it


FLOAT = Grade(
    "float",
    "holds for the network as it runs, in the run's arithmetic: that of grade real, less what a forward error "
    "analysis proves of rounding, for any order of summation and any batch size; a tie is never certified",
    exact=False,
)
REAL = Grade(
    "real",
    "holds in exact arithmetic, for rigorous Lipschitz bounds of the weights as they are stored; a network that runs "
    "with rounding may break it",
    exact=True,
)
NOMINAL = Grade(
    "nominal",
    "holds only if the claim on the model's card is true; nothing is checked",
    exact=True,
)

ALL = (FLOAT, REAL, NOMINAL)  # from the strongest, which holds for the network as it runs, to the weakest
GRADES = tuple(grade.name for grade in ALL)
NONE = "none"  # a network without a certificate, whatever its card claims: it never counts as certified
FROM_THE_STRONGEST = (*GRADES, NONE)
EXACT_GRADES = tuple(grade.name for grade in ALL if grade.exact)
