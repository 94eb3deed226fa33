import logging

import pytest
import torch
from torch import nn

from lipbench.attacks import guard
from lipbench.attacks.autoattack import library
from lipbench.attacks.autoattack.canvas import PaddedSquare, canvas, tiles
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import LipbenchError


def search(case, name, norm, eps, *, seed=0, **args):
    spec = AttackSpec(backend="autoattack", name=name, args=args)
    return guard.search(spec, case.network, case.x, case.labels, norm=norm, eps=eps, seed=seed)


def parameters(attack):
    """The plain settings of an attack object of pyautoattack; its device is a string or a torch.device."""
    plain = int | float | str | None
    return {key: value for key, value in vars(attack).items() if key != "device" and isinstance(value, plain)}


@pytest.mark.parametrize("norm", list(Norm))
def test_ten_classes_have_the_parameters_of_version_standard(case, norm):
    from pyautoattack import AutoAttack

    network = case(10, 0).network
    defaults = guard.get("autoattack").attacks["standard"].defaults
    options = {"norm": norm, "eps": 0.3, "seed": 7, "attacks": library.ENSEMBLE, "args": defaults}
    ours = library.configured(network, **options)
    standard = AutoAttack(network, eps=0.3, norm=norm.value, seed=7, version="standard")
    assert ours.attacks_to_run == standard.attacks_to_run
    for name in ("apgd", "apgd_targeted", "fab", "square"):
        assert parameters(getattr(ours, name)) == parameters(getattr(standard, name))


@pytest.mark.parametrize(("norm", "eps"), [(Norm.L2, 0.35), (Norm.Linf, 0.07)])
def test_ten_classes_equal_version_standard_bit_for_bit(case, norm, eps, monkeypatch):
    """With fewer queries and FAB-T targets in both, which only saves time."""
    from pyautoattack import AutoAttack

    monkeypatch.setattr(logging.getLogger("auto-attack"), "disabled", True)
    digits = case(10, 16)
    found = search(digits, "standard", norm, eps, seed=7, batch_size=10, n_queries=50, targets=2)
    inner = guard.inner_eps(eps, norm, 64)
    theirs = AutoAttack(digits.network, eps=inner, norm=norm.value, seed=7, version="standard")
    theirs.square.n_queries = 50
    theirs.fab.n_target_classes = theirs.apgd_targeted.n_target_classes = 2
    expected, _ = theirs.run_standard_evaluation(digits.x, digits.labels, batch_size=10)
    assert torch.equal(found, expected)
    broken = (found != digits.x).flatten(1).any(1)
    assert broken.any()
    assert not broken.all()  # else Square would not have run


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_targeted_apgd_works_at_every_scale_below_four_classes(case, classes):
    """Cross-entropy saturates at a large scale, the targeted margin does not."""
    found = {}
    for name in ("apgd-t", "apgd-ce"):
        for scale in (1e-3, 1.0, 1e4):
            digits = case(classes, 30, scale=scale)
            candidates = search(digits, name, Norm.L2, 1.5, n_iter=40)
            adversarial, _, _ = guard.check_candidates(digits.network, digits.x, digits.labels, candidates, Norm.L2)
            found[name, scale] = adversarial.sum()
    assert found["apgd-t", 1.0] >= 5
    assert found["apgd-t", 1e-3] == pytest.approx(found["apgd-t", 1.0], abs=1)
    assert found["apgd-t", 1e4] == pytest.approx(found["apgd-t", 1.0], abs=1)
    assert found["apgd-t", 1e4] > found["apgd-ce", 1e4]


def test_the_targeted_margin_replaces_the_ratio_below_four_classes():
    logits = torch.tensor([[4.0, 1.0, 2.0], [0.0, 3.0, 1.0]], requires_grad=True)
    labels, targets = torch.tensor([0, 1]), torch.tensor([1, 2])
    two = library.targeted_margin(logits[:, :2], labels, torch.tensor([1, 0]))
    assert two.tolist() == [-3.0, -3.0]
    three = library.targeted_margin(logits, labels, targets)
    assert three.tolist() == [-3.0, -2.0]
    # a ratio to z_(1) - z_(3) would be constant for the first, whose target has the smallest logit
    (gradient,) = torch.autograd.grad(three.sum(), logits)
    assert gradient.tolist() == [[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_each_wrong_class_is_a_target(case, classes):
    digits = case(classes, 2)
    args = {"targets": 9, "n_iter": 50, "n_queries": 77}
    made = library.configured(digits.network, norm=Norm.L2, eps=0.1, seed=0, attacks=("apgd-t", "fab-t"), args=args)
    assert made.apgd_targeted.n_target_classes == made.fab.n_target_classes == classes - 1
    assert made.apgd.n_iter == made.apgd_targeted.n_iter == made.fab.n_iter == 50
    assert made.apgd.n_iter_2 == 11  # 0.22 n_iter: the first step-size checkpoint
    assert made.square.n_queries == 77


def pixels_network(height, width):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(height * width, 3))
    return Network(body, (1, height, width))


@pytest.mark.parametrize("size", [*range(1, 36), 64, 224])
def test_tiles_says_where_square_runs(size):
    from pyautoattack.square import SquareAttack

    network = pixels_network(size, size)
    x = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0))
    labels = network.predict(x).argmax(1)
    square = SquareAttack(network, norm="L2", n_queries=3, eps=1e-6, seed=0, resc_schedule=False)
    if tiles(size, size):
        square.perturb(x, labels)
    else:
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            square.perturb(x, labels)


@pytest.mark.parametrize(("height", "width"), [(1, 2), (4, 4), (1, 20), (3, 30), (14, 14), (28, 25), (24, 24)])
def test_square_runs_padded_where_it_cannot_tile(height, width):
    assert not tiles(height, width)
    network = pixels_network(height, width)
    x = 0.3 + 0.4 * torch.rand(30, 1, height, width, generator=torch.Generator().manual_seed(0))
    labels = network.predict(x).argmax(1)
    spec = AttackSpec(backend="autoattack", name="square", args={"n_queries": 300})
    found = guard.search(spec, network, x, labels, norm=Norm.L2, eps=0.5, seed=0)
    adversarial, distance, _ = guard.check_candidates(network, x, labels, found, Norm.L2)
    assert adversarial.any()
    assert (distance[adversarial] <= 0.5).all()


@pytest.mark.parametrize(("height", "width"), [(1, 2), (4, 4), (3, 30), (14, 14), (28, 25)])
def test_padding_is_undone_by_cropping(height, width):
    shown = canvas((height, width), Norm.L2)
    x = torch.rand(2, 3, height, width)
    assert shown.padded
    assert shown.pad(x).shape == (2, 3, shown.side, shown.side)
    assert tiles(shown.side, shown.side)
    assert torch.equal(shown.crop(shown.pad(x)), x)


@pytest.mark.parametrize(("size", "norm"), [((8, 8), Norm.L2), ((28, 28), Norm.L2), ((4, 4), Norm.Linf)])
def test_images_that_need_no_padding_are_shown_as_they_are(size, norm):
    shown = canvas(size, norm)
    x = torch.rand(2, 3, *size)
    assert not shown.padded
    assert shown.pad(x) is shown.crop(x) is x


@pytest.mark.parametrize(("height", "width"), [(3, 30), (14, 14), (28, 25)])
def test_the_ensembles_square_runs_on_the_padded_image(height, width):
    """What it returns has the image's shape and lies within eps: padding only takes from a perturbation."""
    network = pixels_network(height, width)
    x = 0.3 + 0.4 * torch.rand(30, 1, height, width, generator=torch.Generator().manual_seed(0))
    labels = network.predict(x).argmax(1)
    options = {"norm": Norm.L2, "eps": 0.5, "seed": 0, "attacks": ("square",), "args": {"n_queries": 300}}
    square = library.configured(network, **options).square
    assert isinstance(square, PaddedSquare)
    found = square.perturb(x, labels)
    adversarial, distance, _ = guard.check_candidates(network, x, labels, found, Norm.L2)
    assert adversarial.any()
    assert (distance[adversarial] <= 0.5 * (1 + 1e-6)).all()


def test_fab_tries_every_target(case):
    """With one target, samples whose nearest boundary is another class's come out farther."""
    digits = case(10, 40)
    distance = {}
    for targets in (1, 4):
        found = search(digits, "fab-t", Norm.L2, None, targets=targets, n_iter=40)
        _, distance[targets], _ = guard.check_candidates(digits.network, digits.x, digits.labels, found, Norm.L2)
    assert (distance[4] <= distance[1] + 1e-6).all()
    assert (distance[4] < distance[1] * 0.99).any()


@pytest.mark.parametrize("name", ["standard", "apgd-t", "fab-t"])
def test_a_search_without_targets_is_refused(case, name):
    with pytest.raises(LipbenchError, match=rf"'targets' of autoattack/{name} must be .* at least 1, got 0"):
        search(case(10, 2), name, Norm.L2, None if name == "fab-t" else 0.3, targets=0)
