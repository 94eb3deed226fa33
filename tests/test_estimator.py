"""The parts for ART: a classifier with certified radii, and bisection as an attack on any classifier."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from art.attacks import EvasionAttack
from art.attacks import evasion as library_attacks
from art.estimators import BaseEstimator, LossGradientsMixin
from art.estimators.classification import BlackBoxClassifier, PyTorchClassifier, SklearnClassifier
from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin
from art.exceptions import EstimatorError
from bundled import CNN, TAU4, TAU256
from sklearn.linear_model import LogisticRegression
from torch import nn

import lipbench
from lipbench.attacks import guard
from lipbench.attacks.art import library
from lipbench.attacks.art.known import EVASION
from lipbench.attacks.norm import Norm
from lipbench.attacks.optional import missing
from lipbench.attacks.suites import AttackSpec
from lipbench.certification.grades import GRADES
from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.estimator import BisectionAttack, LipschitzClassifier
from lipbench.models.stored import load_model

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def tau4(digits_zoo):
    return load_model(digits_zoo / TAU4).module


@pytest.fixture(scope="module")
def classifier(tau4):
    return LipschitzClassifier(tau4, SHAPE, claimed=1.0)


def first_correct(classifier, digits, count):
    """Samples that the network classifies correctly: x, labels."""
    x, y = digits.test.images[:100], digits.test.labels[:100]
    keep = np.flatnonzero(classifier.predict(x).argmax(1) == y)[:count]
    return x[keep], y[keep]


@pytest.fixture(scope="module")
def correct(classifier, digits):
    return first_correct(classifier, digits, 4)


def test_importing_lipbench_does_not_import_art():
    code = "import sys, lipbench; lipbench.certify; sys.exit('art' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", [TAU4, CNN])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_certify_agrees_with_lipbench_certify(digits_zoo, digits, name, dtype):
    module, x = load_model(digits_zoo / name).module, digits.test.images[:30]
    classifier = LipschitzClassifier(module, SHAPE, claimed=1.0, dtype=dtype)
    for norm, spellings in (("L2", ["L2", 2]), ("Linf", ["linf", np.inf, "inf"])):
        frame = lipbench.certify(module, x, claimed=1.0, norm=norm, dtype=dtype)
        for grade in GRADES:
            for spelling in spellings:
                prediction, radius = classifier.certify(x, norm=spelling, grade=grade)
                assert prediction.dtype == np.int64
                assert radius.dtype == np.float64
                assert (prediction == frame.prediction).all()
                assert (radius == frame[f"certified_radius_{grade}"]).all()
    assert classifier.lipschitz_bound == frame.attrs["lipschitz_bound"]


def test_radii_are_nan_without_a_claim_and_0_where_tied(classifier, tau4, correct):
    x, _ = correct
    assert np.isnan(LipschitzClassifier(tau4, SHAPE).certify(x, grade="nominal")[1]).all()
    tied = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        tied[1].weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    _, radius = LipschitzClassifier(tied, (1, 2, 2)).certify(np.full((1, 1, 2, 2), 0.5))
    assert radius.tolist() == [0.0]


def test_wrong_calls_of_certify_are_refused(classifier, correct):
    x, _ = correct
    for arguments, said in (
        ({"grade": "exact"}, "unknown grade 'exact'"),
        ({"norm": 1}, "unknown norm 1: known are L2, Linf"),
        ({"x": x[:, :, :4]}, r"x must be of shape \(n, 1, 8, 8\), got \(4, 1, 4, 8\)"),
        ({"x": 255 * x}, "must lie in"),
    ):
        with pytest.raises(LipbenchError, match=said):
            classifier.certify(**{"x": x, **arguments})


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_predictions_and_gradients_are_float32_and_right(tau4, correct, dtype):
    x, y = correct
    classifier = LipschitzClassifier(tau4, SHAPE, dtype=dtype)
    exact = tau4.double()
    point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    logits = exact(point)
    for given in (x, x.astype(np.float64)):
        assert classifier.predict(given).dtype == np.float32
        assert classifier.predict(given, batch_size=3) == pytest.approx(logits.detach().numpy(), abs=1e-6)
    gradients = [torch.autograd.grad(logits[:, k].sum(), point, retain_graph=True)[0].numpy() for k in range(10)]
    every = classifier.class_gradient(x.astype(np.float64))
    assert every.dtype == np.float32
    assert every == pytest.approx(np.stack(gradients, axis=1), abs=1e-6)
    assert classifier.class_gradient(x, label=3)[:, 0] == pytest.approx(gradients[3], abs=1e-6)
    own = np.stack([gradients[k][row] for row, k in enumerate(y)])
    assert classifier.class_gradient(x, label=y)[:, 0] == pytest.approx(own, abs=1e-6)
    loss = nn.functional.cross_entropy(logits, torch.tensor(y), reduction="sum")
    expected = torch.autograd.grad(loss, point)[0].numpy()
    for labels in (y, np.eye(10, dtype=np.float32)[y]):
        assert classifier.loss_gradient(x, labels) == pytest.approx(expected, abs=1e-6)
        assert classifier.loss_gradient(x[:1], labels[:1]) == pytest.approx(expected[:1], abs=1e-6)
    tau4.float()


def test_a_network_with_a_single_logit_has_two_classes():
    torch.manual_seed(0)
    head = nn.Linear(64, 1)
    classifier, x = (
        LipschitzClassifier(nn.Sequential(nn.Flatten(), head), SHAPE),
        np.random.default_rng(0).random((9, *SHAPE)),
    )
    prediction, radius = classifier.certify(x)
    value = (
        torch.tensor(x, dtype=torch.float32).double().flatten(1) @ head.weight.detach().double()[0]
        + head.bias.detach().double()
    ).numpy()
    assert (prediction == (value > 0)).all()
    assert radius == pytest.approx(np.abs(value) / head.weight.detach().double().norm().item(), rel=1e-6)
    assert BisectionAttack(classifier).generate(x).shape == x.shape


def test_what_would_make_the_certificate_false_is_refused(classifier, tau4, correct):
    x, y = correct
    with pytest.raises(LipbenchError, match="build another one"):
        classifier.set_params(preprocessing=(0.5, 0.5))
    for call in (lambda: classifier.fit(x, y), lambda: classifier.fit_generator(None)):
        with pytest.raises(LipbenchError, match="train the module"):
            call()
    with pytest.raises(LipbenchError, match="training_mode"):
        classifier.predict(x, training_mode=True)
    with pytest.raises(UnsupportedError, match="Hardshrink"):
        LipschitzClassifier(nn.Sequential(nn.Flatten(), nn.Hardshrink(), nn.Linear(64, 3)), SHAPE)
    before = classifier.predict(x)
    with torch.no_grad():
        tau4[-1].bias.add_(1e3 * torch.arange(10))
        assert (classifier.predict(x) == before).all()  # a copy
        tau4[-1].bias.sub_(1e3 * torch.arange(10))


def test_the_parameters_are_arts_and_two_more(classifier):
    found = classifier.get_params()
    assert found.keys() == {*PyTorchClassifier.estimator_params, "claimed", "dtype"}
    assert (found["claimed"], found["dtype"], found["device_type"]) == (1.0, "float64", "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_an_error(tau4, name):
    with pytest.raises(LipbenchError, match="finds no CUDA device"):
        LipschitzClassifier(tau4, SHAPE, device_type=name)
    assert LipschitzClassifier(tau4, SHAPE, device_type="auto").device_type == "cpu"
    with pytest.raises(LipbenchError, match="unknown device 'tpu'"):
        LipschitzClassifier(tau4, SHAPE, device_type="tpu")


# ART's attacks on the classifier: arguments that make each quick, and those that find little with so few steps.

QUICK = {
    "BrendelBethgeAttack": {"steps": 20},
    "BoundaryAttack": {"max_iter": 30},
    "CarliniL0Method": {"max_iter": 10, "binary_search_steps": 3, "initial_const": 10.0, "learning_rate": 0.1},
    "CarliniLInfMethod": {"max_iter": 5, "largest_const": 1e-3},
    "CarliniL2Method": {"max_iter": 10, "binary_search_steps": 3, "initial_const": 10.0, "learning_rate": 0.1},
    "ElasticNet": {"max_iter": 20, "binary_search_steps": 4, "learning_rate": 0.05},
    "HopSkipJump": {"max_iter": 2, "max_eval": 200},
    "PixelAttack": {"th": 10, "max_iter": 5},
    "SaliencyMapMethod": {"theta": 0.3},
    "ShadowAttack": {"nb_steps": 20, "batch_size": 10},
    "SignOPTAttack": {"max_iter": 3, "num_trial": 10, "query_limit": 300, "k": 10},
    "SpatialTransformation": {
        "max_translation": 20.0, "num_translations": 3, "max_rotation": 30.0, "num_rotations": 3,
    },
    "SquareAttack": {"max_iter": 300},
    "ThresholdAttack": {"th": 100, "max_iter": 3},
    "UniversalPerturbation": {"max_iter": 1},
    "Wasserstein": {"max_iter": 2, "regularization": 100.0},
    "ZooAttack": {"max_iter": 5, "use_resize": False, "use_importance": False, "nb_parallel": 32},
}  # fmt: skip
WEAK = {"CarliniLInfMethod", "NewtonFool", "ShadowAttack", "UniversalPerturbation", "Wasserstein", "ZooAttack"}
EPS = {Norm.L2: 1.5, Norm.Linf: 0.3}
RUNNABLE = [name for name, known in EVASION.items() if known.refused is None and not known.probabilities]
CASES = [(name, norm) for name in RUNNABLE for norm in sorted(EVASION[name].norms)]


def test_the_table_has_exactly_arts_evasion_attacks():
    kinds = {
        name
        for name, kind in vars(library_attacks).items()
        if inspect.isclass(kind) and issubclass(kind, EvasionAttack)
    }
    assert EVASION.keys() == kinds | {"BrendelBethgeAttack"}  # which ART hides where numba is missing
    assert sorted(EVASION) == list(EVASION)
    assert len([name for name in RUNNABLE if not missing(EVASION[name].needs)]) >= 15


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_no_attack_of_art_breaks_a_certificate(classifier, correct, name, norm):
    found_one = broken(classifier, *correct, name, norm, {"max_iter": 10, **QUICK.get(name, {})})
    assert found_one or name in WEAK


@pytest.mark.slow
@pytest.mark.parametrize("model", [TAU256, CNN])
@pytest.mark.parametrize(("name", "norm"), CASES)
def test_no_attack_of_art_breaks_a_certificate_with_more_steps(digits_zoo, digits, name, norm, model):
    classifier = LipschitzClassifier(load_model(digits_zoo / model).module, SHAPE, claimed=1.0)
    longer = {**QUICK.get(name, {}), **{key: 50 for key in ("max_iter",) if key not in QUICK.get(name, {})}}
    broken(classifier, *first_correct(classifier, digits, 20), name, norm, longer)


def broken(classifier, x, labels, name, norm, arguments) -> bool:
    """Whether the attack found anything; its candidates are checked against the certificates of every grade."""
    absent = missing(EVASION[name].needs)
    if absent:
        pytest.skip(f"{absent} is not installed")
    attack = library.attack(f"art/{name}")
    arguments = {**attack.defaults, **{key: arguments[key] for key in attack.parameters if key in arguments}}
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the stream that ART draws from
    configured = attack.on(classifier, norm, None if attack.minimal_norm else EPS[norm], arguments)
    found = torch.from_numpy(attack.generated(configured, x, labels)).clamp(0, 1)
    adversarial, distance, _ = guard.check_candidates(
        classifier.model, torch.from_numpy(x), torch.from_numpy(labels), found, norm
    )
    for grade in GRADES:
        prediction, radius = classifier.certify(x, norm=norm, grade=grade)
        assert (prediction == labels).all()
        assert (distance > radius).all(), "a certificate is violated"
    return bool(adversarial.any())


def requirement_failed(kind, classifier) -> bool:
    return not kind.is_estimator_valid(classifier, kind.__new__(kind).estimator_requirements)


@pytest.mark.parametrize("words", ["detectors", "trackers", "speech", "decision trees", "Gaussian processes"])
def test_attacks_on_other_models_are_refused_by_art_too(classifier, words):
    names = [name for name, known in EVASION.items() if known.refused and words in known.refused]
    assert names
    for name in names:
        kind = getattr(library_attacks, name)
        # two detectors' attacks declare no requirements, and call what only a detector has
        assert requirement_failed(kind, classifier) or "PYTORCH_OBJECT_DETECTOR_TYPE" in str(inspect.signature(kind))


# Bisection as an attack of ART.


def exact_distances(weight, bias, x, labels, order):
    """Of linear classifiers, to the nearest boundary, without an input range: float64 (n,)."""
    logits = x @ weight.T + bias
    gaps = logits[np.arange(len(x)), labels][:, None] - logits
    slopes = np.linalg.norm(weight[labels][:, None] - weight[None], ord=order, axis=2)
    slopes[np.arange(len(x)), labels] = np.inf
    quotient = gaps / slopes
    quotient[np.arange(len(x)), labels] = np.inf
    return quotient.min(1)


class NumpyLinear(ClassGradientsMixin, ClassifierMixin, BaseEstimator):
    """x W + b with class gradients, in NumPy."""

    def __init__(self, weight, bias, clip_values=None):
        super().__init__(model=None, clip_values=clip_values)
        self.weight, self.bias, self.nb_classes = weight, bias, len(bias)

    input_shape = property(lambda self: (self.weight.shape[1],))

    def predict(self, x, batch_size=128, **kwargs):
        return x.reshape(len(x), -1) @ self.weight.T + self.bias

    def class_gradient(self, x, label=None, **kwargs):
        return self.weight[label][:, None].reshape(len(x), 1, *x.shape[1:])

    def fit(self, x, y, **kwargs):
        raise NotImplementedError

    def save(self, filename, path=None):
        raise NotImplementedError


class ClassProbabilities(NumpyLinear):
    """The same, but it gives probabilities and their gradients."""

    def predict(self, x, batch_size=128, **kwargs):
        logits = super().predict(x)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    def class_gradient(self, x, label=None, **kwargs):
        shares = self.predict(x)
        gradient = self.weight[label] - shares @ self.weight
        return (shares[np.arange(len(x)), label][:, None] * gradient)[:, None].reshape(len(x), 1, *x.shape[1:])


class LossOnly(LossGradientsMixin, ClassifierMixin, BaseEstimator):
    """The same probabilities, with gradients of the mean cross-entropy alone."""

    def __init__(self, weight, bias, clip_values=None):
        super().__init__(model=None, clip_values=clip_values)
        self.weight, self.bias, self.nb_classes = weight, bias, len(bias)

    input_shape = property(lambda self: (self.weight.shape[1],))
    fit, save = NumpyLinear.fit, NumpyLinear.save

    def predict(self, x, batch_size=128, **kwargs):
        return ClassProbabilities(self.weight, self.bias).predict(x)

    def loss_gradient(self, x, y, **kwargs):
        return ((self.predict(x) - y) @ self.weight).reshape(x.shape) / len(x)


@pytest.fixture(scope="module")
def linear(digits):
    """A logistic regression on digits, and 40 samples in the middle of a wide range: model, x (n, 64), predictions."""
    x, y = digits.test.images.reshape(-1, 64), digits.test.labels
    model = LogisticRegression(max_iter=1000).fit(x, y)
    return model, x[:40], model.predict(x[:40])


@pytest.mark.parametrize(("norm", "order"), [(2, 2), (np.inf, 1), ("L2", 2), ("inf", 1)])
@pytest.mark.parametrize("kind", ["sklearn", "numpy", "probabilities", "loss only"])
def test_bisection_finds_the_nearest_boundary_of_any_linear_classifier(linear, kind, norm, order):
    model, x, labels = linear
    weight, bias, wide = model.coef_, model.intercept_, (-9.0, 9.0)
    estimator = {
        "sklearn": lambda: SklearnClassifier(model, clip_values=wide),
        "numpy": lambda: NumpyLinear(weight, bias, wide),
        "probabilities": lambda: ClassProbabilities(weight, bias, wide),
        "loss only": lambda: LossOnly(weight, bias, wide),
    }[kind]()
    found = BisectionAttack(estimator, norm=norm, targets=9).generate(x)
    assert found.dtype == np.float32
    assert found.shape == x.shape
    assert (estimator.predict(found).argmax(1) != labels).all()
    delta = found.astype(np.float64) - x
    distance = np.linalg.norm(delta, axis=1) if order == 2 else np.abs(delta).max(1)
    exact = exact_distances(weight, bias, x.astype(np.float64), labels, order)
    assert (distance >= exact * (1 - 1e-6)).all()
    assert distance == pytest.approx(exact, rel=5e-3)


def test_bisection_takes_shapes_ranges_labels_and_batches_as_art_does(linear):
    model, x, labels = linear
    images, one_hot = x.reshape(-1, 1, 8, 8), np.eye(10)[labels]
    estimator = NumpyLinear(model.coef_, model.intercept_, (np.zeros(64), np.ones(64)))
    flat = BisectionAttack(estimator).generate(x)
    assert flat.min() >= 0
    assert flat.max() <= 1
    wide = NumpyLinear(model.coef_, model.intercept_)
    assert (
        np.linalg.norm(BisectionAttack(wide).generate(x) - x, axis=1).mean() < np.linalg.norm(flat - x, axis=1).mean()
    )
    estimator = NumpyLinear(model.coef_, model.intercept_, (0.0, 1.0))
    for given in (labels, one_hot, labels[:, None]):
        assert BisectionAttack(estimator).generate(images, given).reshape(x.shape) == pytest.approx(flat, abs=1e-6)
    assert BisectionAttack(estimator, batch_size=7).generate(x) == pytest.approx(flat, abs=1e-3)
    wrong = (labels + 1) % 10
    assert (BisectionAttack(estimator).generate(x, wrong) == x).all()  # adversarial already
    assert BisectionAttack(estimator).generate(x[:0]).shape == (0, 64)


def test_bisection_through_art_is_lipbenchs_own(classifier, tau4, correct):
    x, labels = (values[:3] for values in correct)
    plain = PyTorchClassifier(tau4, nn.CrossEntropyLoss(), SHAPE, 10, clip_values=(0.0, 1.0), device_type="cpu")
    points, classes = torch.from_numpy(x), torch.from_numpy(labels)
    for norm in Norm:
        spec = AttackSpec(name="gradient/bisection")
        own = guard.search(spec, classifier.model, points, classes, norm=norm, eps=None, seed=0)
        _, expected, _ = guard.check_candidates(classifier.model, points, classes, own, norm)
        for estimator in (classifier, plain):
            found = torch.from_numpy(BisectionAttack(estimator, norm=norm).generate(x, labels))
            _, distance, _ = guard.check_candidates(classifier.model, points, classes, found, norm)
            assert distance == pytest.approx(expected, rel=5e-3)
            assert (distance > classifier.certify(x, norm=norm)[1]).all()


def test_wrong_parameters_of_bisection_are_refused(classifier, linear):
    for arguments, said in (
        ({"norm": 1}, "unknown norm 1: known are L2, Linf"),
        ({"rounds": 0}, "rounds must be a whole number, at least 1, at most 1000, got 0"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"targets": 0}, "targets must be"),
        ({"batch_size": True}, "batch_size must be a whole number"),
    ):
        with pytest.raises(LipbenchError, match=said):
            BisectionAttack(classifier, **arguments)
        with pytest.raises(LipbenchError, match=said):
            BisectionAttack(classifier).set_params(**arguments)
    with pytest.raises(EstimatorError):
        BisectionAttack(BlackBoxClassifier(lambda x: x, (64,), 10))
    attack = BisectionAttack(classifier, rounds=3)
    assert all(hasattr(attack, name) for name in attack.attack_params)
    single = NumpyLinear(np.ones((2, 64)), np.zeros(2))
    single.weight, single.bias = single.weight[:1], single.bias[:1]
    with pytest.raises(LipbenchError, match=r"one output per class, the classifier gives \(40, 1\)"):
        BisectionAttack(single).generate(linear[1])
