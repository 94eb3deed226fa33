"""What stands in for the certificate of a network without a bound."""

import pytest
import torch
from torch import nn

from lipbench.certification.certificate import certificate
from lipbench.certification.grades import GRADES
from lipbench.certification.uncertified import Uncertified


def of(claimed=None, single_logit=False) -> Uncertified:
    return Uncertified("no rule", claimed, (1, 2, 2), single_logit)


def test_nothing_is_proved():
    logits, labels = torch.tensor([[3.0, 1.0, 0.0]]).double(), torch.tensor([0])
    for grade in GRADES:
        assert of().radii(logits, labels, grade).isnan().all()
    assert of(2.0).radii(logits, labels, "float").isnan().all()
    assert of(2.0).radii(logits, labels, "real").isnan().all()
    assert of(2.0).signed_margins(logits, labels).isnan().all()


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_nominal_radii_are_those_of_a_certificate_with_the_same_claim(classes):
    """But for margins that are roundings, which only a certificate can tell."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, classes)).double()
    out = module(torch.rand(50, 1, 2, 2).double()).detach()
    logits = torch.cat([-out / 2, out / 2], dim=1) if classes == 1 else out
    labels = torch.randint(0, max(2, classes), (50,))
    proof = certificate(module, (1, 2, 2), 0.7)
    ours = of(0.7, single_logit=classes == 1)
    expected = proof.pairwise_radii(logits, labels, "nominal")
    assert torch.equal(ours.pairwise_radii(logits, labels, "nominal"), expected)
    assert 0 < int((expected.amin(dim=1) == 0).sum()) < 50  # misclassified ones among them
    assert ours.diameter == proof.diameter
