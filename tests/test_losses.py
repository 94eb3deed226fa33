import pytest
import torch
import torch.nn.functional as F
from deel import torchlip

from lipbench import losses
from lipbench.errors import LipbenchError
from lipbench.registry import LOSSES

LOGITS = torch.tensor([[0.5, -0.2, 0.1], [0.3, 0.4, -0.6]])
LABELS = torch.tensor([0, 1])

CLOSED_FORMS = [  # by hand, on the two samples above
    ("cross_entropy", {}, F.cross_entropy(LOGITS, LABELS).item()),
    ("tau_cross_entropy", {"tau": 4.0}, F.cross_entropy(4 * LOGITS, LABELS).item() / 4),
    # hinge max(0, 1/2 - y f), the label's term times K - 1 = 2, mean over 3 classes, mean over samples
    ("hinge_multiclass", {"min_margin": 1.0}, ((2 * 0.0 + 0.3 + 0.6) / 3 + (2 * 0.1 + 0.8 + 0.0) / 3) / 2),
    # class 0: .5 - .3; class 1: .4 + .2; class 2 has no positive sample: -(mean of .1 and -.6)
    ("kr_multiclass", {}, -((0.5 - 0.3) + (0.4 + 0.2) - (0.1 - 0.6) / 2) / 3),
]


@pytest.mark.parametrize(("name", "hyperparameters", "value"), CLOSED_FORMS)
def test_closed_forms(name, hyperparameters, value):
    assert losses.build(name, hyperparameters)(LOGITS, LABELS).item() == pytest.approx(value, rel=1e-5)


def test_hkr_mixes_hinge_and_kr():
    kr = losses.build("kr_multiclass", {})(LOGITS, LABELS)
    hinge = losses.build("hinge_multiclass", {"min_margin": 1.0})(LOGITS, LABELS)
    for alpha in (0.0, 0.25, 0.9, 1.0):
        got = losses.build("hkr_multiclass", {"alpha": alpha, "min_margin": 1.0})(LOGITS, LABELS)
        assert got.item() == pytest.approx((alpha * hinge + (1 - alpha) * kr).item(), rel=1e-5)


def test_the_librarys_values_on_one_hot_labels():
    one_hot = F.one_hot(LABELS, 3).float()
    assert torch.equal(
        losses.build("hkr_multiclass", {"alpha": 0.9, "min_margin": 0.5})(LOGITS, LABELS),
        torchlip.HKRMulticlassLoss(0.9, 0.5)(LOGITS, one_hot),
    )
    assert torch.equal(losses.build("kr_multiclass", {})(LOGITS, LABELS), -torchlip.KRMulticlassLoss()(LOGITS, one_hot))


@pytest.mark.parametrize("name", ["hkr_multiclass", "hinge_multiclass", "kr_multiclass", "tau_cross_entropy"])
def test_as_many_samples_as_classes_is_not_broadcast(name):
    """With index labels and n == K the library's margin losses broadcast silently; not here."""
    hyperparameters = {"alpha": 0.9, "min_margin": 0.5, "tau": 2.0}
    hyperparameters = {
        k: v for k, v in hyperparameters.items() if k in losses.LOSSES.get(name).__init__.__annotations__
    }
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 3), torch.tensor([2, 0, 1])
    loss = losses.build(name, hyperparameters)
    doubled = loss(torch.cat([logits, logits]), torch.cat([labels, labels]))
    assert loss(logits, labels).item() == pytest.approx(doubled.item(), rel=1e-4)


@pytest.mark.parametrize("name", LOSSES.names())
def test_wrong_labels_are_refused(name):
    hyperparameters = {"alpha": 0.9, "min_margin": 0.5, "tau": 2.0}
    hyperparameters = {
        k: v for k, v in hyperparameters.items() if k in losses.LOSSES.get(name).__init__.__annotations__
    }
    loss = losses.build(name, hyperparameters)
    for labels in (F.one_hot(LABELS, 3), LABELS.float(), LABELS[:1]):
        with pytest.raises(LipbenchError, match="index labels"):
            loss(LOGITS, labels)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "named"),
    [
        ("hkr_multiclass", {"alpha": 10.0, "min_margin": 1.0}, "alpha"),
        ("hkr_multiclass", {"alpha": 0.5}, "min_margin"),
        ("hinge_multiclass", {"min_margin": 0.0}, "min_margin"),
        ("tau_cross_entropy", {"tau": -1.0}, "tau"),
        ("tau_cross_entropy", {"temperature": 1.0}, "temperature"),
        ("tau_cross_entopy", {"tau": 1.0}, "did you mean 'tau_cross_entropy'"),
    ],
)
def test_wrong_hyperparameters(name, hyperparameters, named):
    with pytest.raises(LipbenchError, match=named):
        losses.build(name, hyperparameters)
