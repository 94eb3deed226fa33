"""Every registered loss: values, limits, conventions, and what it refuses."""

import math

import pytest
import torch
import torch.nn.functional as F
from deel import torchlip
from hypothesis import given, settings
from hypothesis import strategies as st

from lipbench._internal.registry import LOSSES
from lipbench.errors import LipbenchError
from lipbench.training import losses

HYPERPARAMETERS = {
    "cross_entropy": {},
    "tau_cross_entropy": {"tau": 4.0},
    "hkr_multiclass": {"alpha": 0.9, "min_margin": 0.5},
    "hinge_multiclass": {"min_margin": 0.5},
    "kr_multiclass": {},
    "categorical_hinge": {"min_margin": 0.5},
    "mcr": {},
    "soft_hkr_multiclass": {"alpha": 0.9, "min_margin": 0.5, "alpha_mean": 0.8, "temperature": 3.0},
    "lse_hkr_multiclass": {"alpha": 0.9, "min_margin": 0.5, "temperature": 2.0, "penalty": 0.7},
    "offset_cross_entropy": {"offset": 0.5, "temperature": 0.25},
    "certificate_regularized_cross_entropy": {"gamma": 0.7},
    "tau_binary_cross_entropy": {"tau": 4.0},
    "hinge_binary": {"min_margin": 0.5},
    "hkr_binary": {"alpha": 0.9, "min_margin": 0.5},
    "kr_binary": {},
}
BINARY = ["tau_binary_cross_entropy", "hinge_binary", "hkr_binary", "kr_binary"]
MULTICLASS = [name for name in HYPERPARAMETERS if name not in BINARY]
NAMES = pytest.mark.parametrize("name", HYPERPARAMETERS)


def build(name, **changes):
    return losses.build(name, {**HYPERPARAMETERS[name], **changes})


def outputs(name, num_classes):
    return 1 if name in BINARY else num_classes


def batch(name, n, num_classes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, outputs(name, num_classes), generator=generator, dtype=dtype)
    return logits, torch.randint(2 if name in BINARY else num_classes, (n,), generator=generator)


def gradient(loss, logits, labels):
    leaf = logits.clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(leaf, labels), leaf)
    return grad


def cosine(a, b):
    return F.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


def test_every_built_in_loss_is_in_these_tables():
    assert set(HYPERPARAMETERS) == set(LOSSES.bundled)


# --- values, by hand


LOGITS, LABELS = [[0.5, -0.2, 0.1], [0.3, 0.4, -0.6]], [0, 1]
ONE_LOGIT, ONE_LOGIT_LABELS = [[0.5], [-0.2], [0.1], [-0.6]], [1, 1, 0, 0]  # so y f = .5, -.2, -.1, .6


def lse(*terms):
    return math.log(sum(math.exp(term) for term in terms))


CE = (lse(0.5, -0.2, 0.1) - 0.5 + lse(0.3, 0.4, -0.6) - 0.4) / 2
# soft_hkr: mean |f| = .35, so M = .5 + .5 * .35 < min_margin = 1 and s = 3: weights of the others
W = [1 / (1 + math.exp(x)) for x in (3 * 0.3, -3 * 0.3, -3 * 0.9, 3 * 0.9)]
SOFT_HINGE = ((0.0 + W[0] * 0.3 + W[1] * 0.6) + (0.1 + W[2] * 0.8 + W[3] * 0.0)) / 2
SOFT_KR = ((0.5 - W[0] * -0.2 - W[1] * 0.1) + (0.4 - W[2] * 0.3 - W[3] * -0.6)) / 2
# lse_hkr: g = 2 f; t = 2 log 2 / (.5 * 1) = log 16
O1, O2 = math.log(16**-0.4 + 16**0.2) / math.log(16), math.log(16**0.6 + 16**-1.2) / math.log(16)
LSE_HINGE = ((0.0 + 0.5 + O1) + (0.0 + 0.5 + O2)) / 2
LSE_KR = ((1.0 - O1) + (0.8 - O2)) / 2

CLOSED_FORMS = [
    ("cross_entropy", {}, CE),
    ("tau_cross_entropy", {"tau": 4.0}, (lse(2.0, -0.8, 0.4) - 2.0 + lse(1.2, 1.6, -2.4) - 1.6) / 2 / 4),
    # hinge max(0, 1/2 - y f), the label's term times K - 1 = 2, mean over 3 classes, mean over samples
    ("hinge_multiclass", {"min_margin": 1.0}, ((2 * 0.0 + 0.3 + 0.6) / 3 + (2 * 0.1 + 0.8 + 0.0) / 3) / 2),
    # class 0: .5 - .3; class 1: .4 + .2; class 2 has no positive sample: -(mean of .1 and -.6)
    ("kr_multiclass", {}, -((0.5 - 0.3) + (0.4 + 0.2) - (0.1 - 0.6) / 2) / 3),
    ("hkr_multiclass", {"alpha": 0.25, "min_margin": 1.0}, 0.25 * (0.9 + 1.0) / 6 - 0.75 * 1.05 / 3),
    # margins .4 and .1
    ("mcr", {}, -0.25),
    ("categorical_hinge", {"min_margin": 0.3}, (0.0 + 0.2) / 2),
    ("certificate_regularized_cross_entropy", {"gamma": 2.0}, CE - 2.0 * 0.25 / math.sqrt(2)),
    (
        "offset_cross_entropy",
        {"offset": 0.3, "temperature": 0.25},
        0.25 * (lse(0.8, -0.8, 0.4) - 0.8 + lse(1.2, 0.4, -2.4) - 0.4) / 2,
    ),
    (
        "soft_hkr_multiclass",
        {"alpha": 0.25, "min_margin": 1.0, "alpha_mean": 0.5, "temperature": 3.0},
        0.25 * SOFT_HINGE - 0.75 * SOFT_KR,
    ),
    (
        "lse_hkr_multiclass",
        {"alpha": 0.25, "min_margin": 1.0, "temperature": 2.0, "penalty": 0.5},
        0.25 * LSE_HINGE - 0.75 * LSE_KR,
    ),
]
BINARY_CLOSED_FORMS = [
    ("tau_binary_cross_entropy", {"tau": 4.0}, sum(lse(0, -4 * yf) for yf in (0.5, -0.2, -0.1, 0.6)) / 4 / 4),
    ("hinge_binary", {"min_margin": 1.0}, (0.0 + 0.7 + 0.6 + 0.0) / 4),
    ("kr_binary", {}, -((0.5 - 0.2) / 2 - (0.1 - 0.6) / 2)),
    ("hkr_binary", {"alpha": 0.25, "min_margin": 1.0}, 0.25 * 1.3 / 4 - 0.75 * 0.4),
    ("mcr", {}, -(0.5 - 0.2 - 0.1 + 0.6) / 4),
]


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(
    ("logits", "labels", "name", "hyperparameters", "value"),
    [(LOGITS, LABELS, *row) for row in CLOSED_FORMS]
    + [(ONE_LOGIT, ONE_LOGIT_LABELS, *row) for row in BINARY_CLOSED_FORMS],
)
def test_closed_forms(logits, labels, name, hyperparameters, value, dtype, precision):
    got = losses.build(name, hyperparameters)(torch.tensor(logits, dtype=dtype), torch.tensor(labels))
    assert got.shape == ()
    assert got.dtype == dtype
    assert got.item() == pytest.approx(value, rel=precision)


def test_kr_weighs_the_two_classes_alike_however_many_samples_they_have():
    logits, labels = torch.tensor(ONE_LOGIT), torch.tensor([1, 0, 0, 0])  # E[f | 1] = .5, E[f | 0] = -.7 / 3
    assert build("kr_binary")(logits, labels).item() == pytest.approx(-(0.5 + 0.7 / 3))
    assert build("mcr")(logits, labels).item() == pytest.approx(-(0.5 + 0.7) / 4)


# --- values, against the libraries


def one_hot(logits, labels):
    return F.one_hot(labels, logits.shape[1]).to(logits.dtype)


def index(logits, labels):
    return labels


def column(logits, labels):
    return labels[:, None].to(logits.dtype)


LIBRARY = {  # the library's loss, its sign, its form of labels, and whether ours is a call of it
    "cross_entropy": (torch.nn.CrossEntropyLoss, 1, index, True),
    "tau_cross_entropy": (torchlip.TauCrossEntropyLoss, 1, index, True),
    "hkr_multiclass": (torchlip.HKRMulticlassLoss, 1, one_hot, True),
    "hinge_multiclass": (torchlip.HingeMulticlassLoss, 1, one_hot, True),
    "kr_multiclass": (torchlip.KRMulticlassLoss, -1, one_hot, True),
    "categorical_hinge": (torchlip.CategoricalHingeLoss, 1, one_hot, True),
    "soft_hkr_multiclass": (torchlip.SoftHKRMulticlassLoss, 1, one_hot, False),
    "lse_hkr_multiclass": (torchlip.LseHKRMulticlassLoss, 1, one_hot, False),
    "tau_binary_cross_entropy": (torchlip.TauBCEWithLogitsLoss, 1, column, True),
    "hinge_binary": (torchlip.HingeMarginLoss, 1, column, True),
    "hkr_binary": (torchlip.HKRLoss, 1, column, True),
    "kr_binary": (torchlip.KRLoss, -1, column, True),
}


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(7, 4), (4, 4), (1, 3)])
@pytest.mark.parametrize("name", LIBRARY)
def test_the_librarys_values_and_gradients(name, shape, alpha):
    """Over several batches, since one of them has a state."""
    library, sign, form, same = LIBRARY[name]
    changes = {"alpha": alpha} if "alpha" in HYPERPARAMETERS[name] else {}
    ours, theirs = build(name, **changes), library(**{**HYPERPARAMETERS[name], **changes})
    tolerance = {"rtol": 0, "atol": 0} if same else {"rtol": 1e-5, "atol": 1e-6}
    for step in range(4):
        logits, labels = batch(name, *shape, seed=step, dtype=torch.float32)
        logits = logits * 4**step

        def expected(f, y):
            return sign * theirs(f, form(f, y))

        if step % 2:
            torch.testing.assert_close(ours(logits, labels), expected(logits, labels), **tolerance)
        else:
            got, wanted = gradient(ours, logits, labels), gradient(expected, logits, labels)
            torch.testing.assert_close(got, wanted, **tolerance)


@pytest.mark.parametrize(("offset", "temperature"), [(0.5, 0.25), (0.0, 1.0), (2.12132, 2.0)])
def test_orthogoniums_offset_cross_entropy(offset, temperature):
    orthogonium = pytest.importorskip("orthogonium.losses")
    logits, labels = batch("offset_cross_entropy", 5, 5)
    expected = orthogonium.LossXent(5, offset, temperature)(logits, labels)
    got = build("offset_cross_entropy", offset=offset, temperature=temperature)(logits, labels)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)  # the library's offset is in float32


# --- labels are indices, whatever n and K


@NAMES
@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_as_many_samples_as_classes_is_not_broadcast(name, num_classes):
    """With index labels and n == K the library's margin losses broadcast silently: there, the doubled batch differs."""
    n = outputs(name, num_classes)
    logits, labels = batch(name, n, num_classes)
    doubled = build(name)(torch.cat([logits, logits]), torch.cat([labels, labels]))
    torch.testing.assert_close(build(name)(logits, labels), doubled)


@NAMES
def test_the_label_of_each_sample_is_its_own(name):
    """n == K, and every other assignment of labels to samples is worse for logits that favour the label."""
    n = 2 if name in BINARY else 3
    labels = torch.arange(n)
    logits = 2.0 * labels[:, None] - 1 if name in BINARY else torch.eye(3) - 0.5
    best = build(name)(logits, labels).item()
    for shift in range(1, n):
        assert build(name)(logits, labels.roll(shift)).item() > best + 0.1


@NAMES
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_neither_the_order_of_samples_nor_that_of_classes_matters(name, data):
    n, num_classes = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 6))
    logits, labels = batch(name, n, num_classes, seed=data.draw(st.integers(0, 2**31)))
    value = build(name)(logits, labels)
    order = torch.tensor(data.draw(st.permutations(range(n))))
    torch.testing.assert_close(build(name)(logits[order], labels[order]), value)
    if name in BINARY:
        torch.testing.assert_close(build(name)(-logits, 1 - labels), value)
    else:
        to = torch.tensor(data.draw(st.permutations(range(num_classes))))
        renamed = torch.empty_like(logits)
        renamed[:, to] = logits
        torch.testing.assert_close(build(name)(renamed, to[labels]), value)


# --- limits


@pytest.mark.parametrize(
    ("name", "kr", "hinge"),
    [("hkr_binary", "kr_binary", "hinge_binary"), ("hkr_multiclass", "kr_multiclass", "hinge_multiclass")],
)
def test_hkr_is_kr_at_alpha_0_hinge_at_1_and_linear_between(name, kr, hinge):
    logits, labels = batch(name, 9, 3, seed=1)
    kr, hinge = build(kr)(logits, labels), build(hinge)(logits, labels)
    assert kr.item() != pytest.approx(hinge.item(), rel=0.1)
    for alpha in (0.0, 1e-9, 0.25, 0.9, 1 - 1e-9, 1.0):
        torch.testing.assert_close(build(name, alpha=alpha)(logits, labels), alpha * hinge + (1 - alpha) * kr)


@pytest.mark.parametrize("name", ["soft_hkr_multiclass", "lse_hkr_multiclass"])
def test_the_other_hkr_losses_are_linear_in_alpha_too(name):
    logits, labels = batch(name, 9, 4)
    kr, hinge, mixed = (build(name, alpha=alpha)(logits, labels) for alpha in (0.0, 1.0, 0.3))
    torch.testing.assert_close(mixed, 0.3 * hinge + 0.7 * kr)


@pytest.mark.parametrize("weight", [0.5, 5.0, 100.0])
def test_the_papers_hkr_on_balanced_classes(weight):
    """The mean of -y f + weight * max(0, m - y f) is hkr_binary with the alpha and min_margin of its docstring."""
    logits, labels = torch.randn(8, 1, dtype=torch.float64), torch.tensor([0, 1] * 4)
    yf = (2 * labels - 1) * logits.squeeze(1)
    paper = (-yf + weight * F.relu(0.3 - yf)).mean()
    got = build("hkr_binary", alpha=2 * weight / (1 + 2 * weight), min_margin=0.6)(logits, labels)
    torch.testing.assert_close(got * (1 + 2 * weight) / 2, paper)


@pytest.mark.parametrize(
    ("name", "kr"), [("tau_cross_entropy", "kr_multiclass"), ("tau_binary_cross_entropy", "kr_binary")]
)
def test_small_tau_has_the_gradient_of_kr_on_balanced_classes_only(name, kr):
    logits, _ = batch(name, 12, 3)
    classes = 2 if name in BINARY else 3
    balanced, unbalanced = torch.arange(12) % classes, (torch.arange(12) > 8).long()
    low, high = build(name, tau=1e-6), build(name, tau=30.0)
    assert cosine(gradient(low, logits, balanced), gradient(build(kr), logits, balanced)) > 1 - 1e-9
    assert cosine(gradient(high, logits, balanced), gradient(build(kr), logits, balanced)) < 0.9
    assert cosine(gradient(low, logits, unbalanced), gradient(build(kr), logits, unbalanced)) < 0.95


def perceptron(logits, labels):
    if logits.shape[1] == 1:
        return F.relu((1 - 2 * labels) * logits.squeeze(1)).mean()
    own = logits[torch.arange(len(labels)), labels]
    return (logits.amax(1) - own).mean()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tau_cross_entropy", {"tau": 1e8}),
        ("tau_binary_cross_entropy", {"tau": 1e8}),
        ("offset_cross_entropy", {"offset": 0.0, "temperature": 1e-8}),
        ("categorical_hinge", {"min_margin": 1e-12}),
        ("hinge_binary", {"min_margin": 1e-12}),
        ("hkr_binary", {"alpha": 1.0, "min_margin": 1e-12}),
    ],
)
def test_the_other_limit_is_the_perceptron(name, changes):
    logits, labels = batch(name, 40, 3)
    loss = build(name, **changes)
    torch.testing.assert_close(loss(logits, labels), perceptron(logits, labels), rtol=0, atol=1e-6)
    wrong = logits.squeeze(1) > 0 if name in BINARY else logits.argmax(1)
    wrong = wrong != labels
    assert wrong.any()
    assert not wrong.all()
    pulled = gradient(loss, logits, labels).abs().amax(1) > 1e-6
    assert torch.equal(pulled, wrong)  # accuracy: only the misclassified have a say


def test_multiclass_hinge_with_no_margin_pulls_at_logits_of_the_wrong_sign():
    logits, labels = batch("hinge_multiclass", 40, 3)
    wrong = (logits > 0) != F.one_hot(labels, 3).bool()
    assert torch.equal(gradient(build("hinge_multiclass", min_margin=1e-12), logits, labels) != 0, wrong)


def test_a_margin_out_of_reach_is_mcr():
    logits, labels = batch("categorical_hinge", 9, 4)
    got = build("categorical_hinge", min_margin=100.0)(logits, labels) - 100
    torch.testing.assert_close(got, build("mcr")(logits, labels))


def test_a_single_logit_is_the_two_logits_of_half_of_it():
    logits, labels = batch("hinge_binary", 9, 2)
    two = torch.cat([-logits / 2, logits / 2], 1)
    torch.testing.assert_close(build("mcr")(logits, labels), build("mcr")(two, labels))
    binary, multiclass = build("tau_binary_cross_entropy"), build("tau_cross_entropy")
    torch.testing.assert_close(binary(logits, labels), multiclass(two, labels))


def test_offset_0_is_a_temperature_and_temperature_0_a_hinge():
    logits, labels = batch("offset_cross_entropy", 9, 4)
    got = build("offset_cross_entropy", offset=0.0, temperature=0.2)(logits, labels)
    torch.testing.assert_close(got, build("tau_cross_entropy", tau=5.0)(logits, labels))
    got = build("offset_cross_entropy", offset=0.7, temperature=1e-9)(logits, labels)
    torch.testing.assert_close(got, build("categorical_hinge", min_margin=0.7)(logits, labels), rtol=0, atol=1e-6)


def test_certificates_count_where_the_sample_is_correct():
    logits, labels = batch("certificate_regularized_cross_entropy", 40, 3)
    plain, none, some = (
        gradient(loss, logits, labels)
        for loss in (
            build("cross_entropy"),
            build("certificate_regularized_cross_entropy", gamma=0.0),
            build("certificate_regularized_cross_entropy", gamma=3.0),
        )
    )
    assert torch.equal(plain, none)
    correct = logits.argmax(1) == labels
    # the gradient of (f_y - f_j) / sqrt 2 has norm 1
    torch.testing.assert_close((some - plain).norm(dim=1) * 40, 3.0 * correct.double())


@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_the_log_sum_exp_is_above_the_maximum_by_penalty_times_half_the_margin_at_most(data):
    n, num_classes = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 12))
    penalty, min_margin = data.draw(st.floats(0.01, 10)), data.draw(st.floats(0.01, 10))
    logits, labels = batch("mcr", n, num_classes, seed=data.draw(st.integers(0, 2**31)))
    loss = build("lse_hkr_multiclass", alpha=0.0, temperature=1.0, penalty=penalty, min_margin=min_margin)
    excess = (loss(logits, labels) - build("mcr")(logits, labels)).item()
    assert -1e-12 <= excess <= penalty * min_margin / 2 + 1e-12
    if num_classes == 2:
        assert excess == 0


def test_soft_hkr_follows_the_magnitude_of_the_logits_in_train_mode_only():
    changes = {"alpha": 0.0, "min_margin": 1.0, "alpha_mean": 0.5, "temperature": 3.0}
    loss = build("soft_hkr_multiclass", **changes)
    logits, labels = torch.tensor([[4.0, -1.0, 1.0]], dtype=torch.float64), torch.tensor([0])

    def expected(magnitude):
        weight = 1 / (1 + math.exp(-3.0 / magnitude * 2))
        return -(4 - weight + (1 - weight))

    # M: 1, then .5 * 1 + .5 * 2 = 1.5, then .5 * 1.5 + .5 * 2 = 1.75
    for magnitude in (1.5, 1.75):
        assert loss(logits, labels).item() == pytest.approx(expected(magnitude))
    loss.eval()
    assert loss(logits, labels).item() == loss(logits, labels).item() == pytest.approx(expected(1.875))


RANGES = [  # hyperparameters for pixels in 0..255, and what they are in [0, 1]
    ("tau_cross_entropy", {"tau": 0.05}, {"tau": 12.75}),
    ("tau_binary_cross_entropy", {"tau": 0.05}, {"tau": 12.75}),
    ("hinge_binary", {"min_margin": 72.0}, {"min_margin": 72 / 255}),
    ("hinge_multiclass", {"min_margin": 72.0}, {"min_margin": 72 / 255}),
    ("categorical_hinge", {"min_margin": 72.0}, {"min_margin": 72 / 255}),
    ("hkr_binary", {"min_margin": 40.0}, {"min_margin": 40 / 255}),
    ("hkr_multiclass", {"min_margin": 40.0}, {"min_margin": 40 / 255}),
    ("kr_binary", {}, {}),
    ("kr_multiclass", {}, {}),
    ("mcr", {}, {}),
    ("soft_hkr_multiclass", {"min_margin": 40.0, "temperature": 0.1}, {"min_margin": 40 / 255, "temperature": 25.5}),
    ("lse_hkr_multiclass", {"min_margin": 40.0}, {"min_margin": 40 / 255}),
    ("offset_cross_entropy", {"offset": 51.0, "temperature": 25.5}, {"offset": 0.2, "temperature": 0.1}),
]


@pytest.mark.parametrize(("name", "wide", "unit"), RANGES)
def test_the_range_of_pixels(name, wide, unit):
    """A 1-Lipschitz network has logits 255 times larger on pixels in 0..255, and the loss then is 255 times larger."""
    logits, labels = batch(name, 20, 3)
    torch.testing.assert_close(
        build(name, **wide)(255 * logits, labels), 255 * build(name, **unit)(logits, labels), rtol=1e-9, atol=0
    )


# --- gradients at ties and kinks, devices


@NAMES
@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_ties(name, num_classes, dtype):
    """All logits equal: zero, at both kinks of the hinge (half of the margin), and very large."""
    for value in (0.0, 0.25, -0.25, 1e4, -1e4):
        logits = torch.full((4, outputs(name, num_classes)), value, dtype=dtype)
        assert gradient(build(name), logits, torch.tensor([0, 1, 1, 0])).isfinite().all()


def test_no_logit_is_too_low_to_be_the_runner_up():
    """The label is taken out of the maximum, not pushed down by a large number."""
    assert build("mcr")(torch.tensor([[-2e7, -3e7, -4e7]]), torch.tensor([0])).item() == -1e7


def test_a_tie_for_the_runner_up_is_shared():
    logits = torch.tensor([[1.0, 0.5, 0.5]])
    assert gradient(build("mcr"), logits, torch.tensor([0])).tolist() == [[-1.0, 0.5, 0.5]]


@NAMES
def test_descent_along_the_gradient_lowers_the_loss(name):
    logits, labels = batch(name, 12, 4)
    loss = build(name)
    loss(logits, labels)
    loss.eval()
    grad = gradient(loss, logits, labels)
    assert loss(logits - 1e-3 * grad / grad.norm(), labels) < loss(logits, labels)


@NAMES
def test_nothing_is_read_back_to_the_host(name):
    """On the meta device there are no values: reading one, or mixing in a tensor of the CPU, is an error."""
    logits, labels = batch(name, 4, 4)
    loss = build(name)
    for _ in range(2):
        value = loss(logits.to("meta").requires_grad_(), labels.to("meta"))
        value.backward()
        assert value.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@NAMES
def test_cuda_gives_the_cpus_value_without_a_synchronisation(name):
    logits, labels = batch(name, 16, 4)
    there = logits.cuda(), labels.cuda()
    loss = build(name)
    torch.cuda.set_sync_debug_mode("error")
    try:
        value = loss(*there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(value.cpu(), build(name)(logits, labels))


# --- heads


@NAMES
def test_heads(name):
    assert losses.head(name, 2) == outputs(name, 2)
    if name in BINARY:
        with pytest.raises(LipbenchError, match=f"{name}.*2 classes, not 10"):
            losses.head(name, 10)
    else:
        assert losses.head(name, 10) == 10
    assert type(build(name)).binary == (name in BINARY)


class Plugin(torch.nn.Module):
    """A loss of somebody else, which knows nothing of heads."""

    def __init__(self, strength):
        super().__init__()
        self.strength = strength


def test_a_plugins_loss_is_multiclass_unless_it_says_otherwise(monkeypatch):
    monkeypatch.setitem(LOSSES.bundled, "mine", f"{__name__}:Plugin")
    assert losses.head("mine", 7) == 7
    assert losses.build("mine", {"strength": 2.0}).strength == 2.0
    monkeypatch.setattr(Plugin, "binary", True, raising=False)
    assert losses.head("mine", 2) == 1


def test_head_of_an_unknown_loss():
    with pytest.raises(LipbenchError, match="did you mean 'hkr_binary'"):
        losses.head("hkr_binry", 2)


# --- what is refused


def refused(loss, logits, labels, match):
    with pytest.raises(LipbenchError, match=match) as error:
        loss(logits, labels)
    assert "\n" not in str(error.value)


@NAMES
def test_the_wrong_head_is_refused(name):
    wrong = torch.randn(4, 2 if name in BINARY else 1)
    labels = torch.tensor([0, 1, 1, 0])
    if name == "mcr":
        assert build(name)(wrong, labels).isfinite()
    else:
        kind = "a binary loss takes" if name in BINARY else "a multiclass loss takes"
        refused(build(name), wrong, labels, rf"{kind}.*got \(4, {wrong.shape[1]}\)")


@NAMES
def test_wrong_labels_and_logits_are_refused(name):
    logits, labels = torch.randn(3, outputs(name, 3)), torch.tensor([0, 1, 1])
    one_hot_labels = F.one_hot(labels, 3)
    for wrong in (one_hot_labels, labels.float(), labels.int(), labels.bool(), labels[:1], labels[:, None], labels[0]):
        refused(build(name), logits, wrong, "index labels")
    for wrong in (logits.long(), logits[0], logits[None], logits[:0], logits[:, :0]):
        refused(build(name), wrong, labels[: len(wrong)], "index labels")


BAD = {
    "tau": (0.0, -1.0, math.nan, math.inf),
    "min_margin": (0.0, -1.0, math.nan, math.inf),
    "temperature": (0.0, -1.0, math.nan, math.inf),
    "penalty": (0.0, -1.0, math.nan, math.inf),
    "alpha": (-0.1, 1.1, 10.0, math.nan, math.inf),
    "alpha_mean": (-0.1, 1.1, math.nan),
    "offset": (-0.1, math.nan, math.inf),
    "gamma": (-0.1, math.nan, math.inf),
}


@pytest.mark.parametrize(
    ("name", "hyperparameter", "value"),
    [(name, key, value) for name, known in HYPERPARAMETERS.items() for key in known for value in BAD[key]],
)
def test_hyperparameters_out_of_range(name, hyperparameter, value):
    with pytest.raises(LipbenchError, match=rf"^{hyperparameter} must be .*got {value}") as error:
        build(name, **{hyperparameter: value})
    assert "\n" not in str(error.value)


@NAMES
def test_missing_and_unknown_hyperparameters(name):
    known = HYPERPARAMETERS[name]
    with pytest.raises(LipbenchError, match=r"takes .*; got .*strength"):
        losses.build(name, {**known, "strength": 1.0})
    for missing in known:
        with pytest.raises(LipbenchError, match=missing):
            losses.build(name, {key: value for key, value in known.items() if key != missing})


def test_an_unknown_name():
    with pytest.raises(LipbenchError, match="did you mean 'tau_cross_entropy'"):
        losses.build("tau_cross_entopy", {"tau": 1.0})
