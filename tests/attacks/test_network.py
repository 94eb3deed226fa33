import copy

import mutants
import pytest
import torch
from bundled import CNN, TAU4, UNCONSTRAINED
from deel import torchlip
from torch import nn

import lipbench
from lipbench.attacks import network as network_module
from lipbench.attacks.network import LARGEST_BATCH, MEMORY, Network
from lipbench.certification.certificate import certificate
from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.models import architectures
from lipbench.models.fast_layers import L2Pool, SortPairs
from lipbench.models.stored import load_model
from lipbench.verification.verify import examine


def layers(network: Network) -> set[type]:
    return {type(layer) for layer in network.module.modules()}


@pytest.fixture(params=[TAU4, CNN, UNCONSTRAINED, "single logit"])
def module(request, digits_zoo):
    if request.param == "single logit":
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), torchlip.GroupSort2(), nn.Linear(16, 1))
    return load_model(digits_zoo / request.param).module


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_surrogate_is_the_same_function_in_float32(module, digits, dtype, device):
    network = Network(module, (1, 8, 8), device, dtype)
    x = torch.tensor(digits.test.x[:200], device=device)  # a copy: other tests share the data set
    x[:20] = x[:20].round()  # black windows, and ties of the sorted pairs
    surrogate = network.surrogate
    assert surrogate.dtype is torch.float32
    assert surrogate.num_classes == network.num_classes
    assert torch.allclose(surrogate.logits(x), network.logits(x), rtol=0, atol=1e-5)
    # an attack sees the same slopes, but where one of the two pools has none
    slopes = []
    for subject in (surrogate, network):
        points = x[20:].clone().requires_grad_()
        margin = subject.logits(points).gather(1, torch.arange(len(points), device=device)[:, None] % 2).sum()
        slopes.append(torch.autograd.grad(margin, points)[0])
    known = torch.isfinite(slopes[1]).flatten(1).all(dim=1)
    assert torch.isfinite(slopes[0]).all()
    assert known.any()
    # one sample of a thousand may lie within a rounding of a kink
    near = (slopes[0] - slopes[1])[known].flatten(1).norm(dim=1) < 1e-4
    assert near.double().mean() > 0.98


def test_the_surrogate_has_the_faster_layers_and_the_network_its_own(digits_zoo):
    network = Network(load_model(digits_zoo / CNN).module, (1, 8, 8))
    before, kinds = copy.deepcopy(network.module.state_dict()), layers(network)
    parts = list(network.modules())
    assert {SortPairs, L2Pool} <= layers(network.surrogate)
    assert {torchlip.GroupSort2, nn.LPPool2d}.isdisjoint(layers(network.surrogate))
    assert layers(network) == kinds >= {torchlip.GroupSort2, nn.LPPool2d}
    after = network.module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(tensor.dtype is torch.float64 for tensor in after.values())
    assert list(network.modules()) == parts  # it is no part of the network, whose modes and weights are put back
    assert network.surrogate is network.surrogate


class Viewing(nn.Module):
    """Flattens by a view, which channels innermost do not allow."""

    def __init__(self):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 8 * 8, 5)

    def forward(self, x):
        x = self.convolution(x).relu()
        return self.head(x.view(x.shape[0], -1))


@pytest.mark.parametrize("views", [False, True])
def test_on_a_cpu_the_surrogate_has_channels_innermost_unless_a_layer_views_them(views):
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 4 * 4, 5)]
    network = Network(Viewing() if views else nn.Sequential(*body), (3, 8, 8))
    x = torch.rand(6, 3, 8, 8, requires_grad=True)
    logits, surrogate = network.logits(x), network.surrogate
    weights = [layer.weight for layer in surrogate.module.modules() if isinstance(layer, nn.Conv2d)]
    assert [weight.is_contiguous(memory_format=torch.channels_last) for weight in weights] == [not views]
    assert torch.allclose(surrogate.logits(x), logits, atol=1e-5)
    slopes = [torch.autograd.grad(each.max(dim=1)[0].sum(), x)[0] for each in (surrogate.logits(x), logits)]
    assert torch.allclose(*slopes, atol=1e-5)
    assert all(layer.weight.is_contiguous() for layer in network.module.modules() if isinstance(layer, nn.Conv2d))


def test_the_surrogates_evaluations_are_the_networks(digits_zoo, digits):
    network = Network(load_model(digits_zoo / TAU4).module, (1, 8, 8))
    x = torch.from_numpy(digits.test.x[:3]).requires_grad_()
    network.surrogate(x)
    network.surrogate(x).sum().backward()
    network(x)
    assert (network.evaluations.forward, network.evaluations.backward) == (9, 3)
    assert network.surrogate.evaluations is network.evaluations


def test_the_surrogate_may_use_any_algorithm_for_its_convolutions(digits_zoo, digits, monkeypatch):
    """Grade float speaks of sums of products; what attacks find is judged by the network that it speaks of."""
    asked, before = [], network_module.summing_products
    monkeypatch.setattr(network_module, "summing_products", lambda *args: asked.append(args) or before(*args))
    network = Network(load_model(digits_zoo / CNN).module, (1, 8, 8))
    x = torch.from_numpy(digits.test.x[:3])
    network.surrogate(x)
    assert not asked
    network(x)
    assert len(asked) == 1


# --- batch sizes -----------------------------------------------------------------------------------------------------


def kept_by(*width: int) -> nn.Module:
    """Keeps its ReLUs' outputs for the gradient: 8 bytes for each number in float64."""
    chain: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((4, *width), width, strict=False):
        chain += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*chain, nn.Linear(width[-1], 3))


@pytest.mark.parametrize(
    ("module", "shape", "dtype", "expected"),
    [
        (kept_by(4000), (1, 2, 2), "float64", MEMORY["cpu"] // (8 * 4000)),
        (kept_by(4000), (1, 2, 2), "float32", MEMORY["cpu"] // (4 * 4000)),
        # the weights between the two, 8 MB in float64, are kept once and not for each sample
        (kept_by(1000, 1000), (1, 2, 2), "float64", MEMORY["cpu"] // (8 * 2000)),
        # a linear network keeps nothing: a few copies of the inputs then decide
        (nn.Sequential(nn.Flatten(), nn.Linear(12288, 2)), (3, 64, 64), "float64", MEMORY["cpu"] // (16 * 12288)),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2), "float64", LARGEST_BATCH),
    ],
)
def test_a_batch_is_what_its_gradients_leave_room_for(module, shape, dtype, expected):
    network = Network(module, shape, dtype=dtype)
    assert network.batch_size == expected
    assert network.evaluations.total == 0  # the look at it is no evaluation


def test_a_sample_that_does_not_fit_is_taken_alone(monkeypatch):
    monkeypatch.setitem(MEMORY, "cpu", 1000)
    assert Network(kept_by(4000), (1, 2, 2)).batch_size == 1


class Sizes(nn.Module):
    """Notes the sizes of the batches that pass; the network runs a copy, so the list is the class's."""

    seen: list[int] = []  # noqa: RUF012

    def forward(self, x):
        Sizes.seen.append(len(x))
        return x


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [(None, None, [1000, 1000, 100]), (900, None, [900, 900, 300]), (900, 2000, [2000, 100])],
)
def test_predictions_are_made_in_batches_that_fit(own, given, expected):
    network = Network(nn.Sequential(Sizes(), nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2))
    if own is not None:
        network.__dict__["batch_size"] = own
    assert network.batch_size >= 900
    Sizes.seen.clear()
    x = torch.rand(2100, 1, 2, 2)
    logits = network.predict(x, given)
    assert Sizes.seen == expected
    assert torch.allclose(logits, network.predict(x, 7), rtol=1e-12)


def test_a_single_logit_is_two_with_that_difference(digits):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    x = torch.tensor(digits.test.x[:20])
    network = Network(module, (1, 8, 8), torch.device("cpu"))
    logits, out = network.logits(x), module.double()(x.double())
    assert torch.allclose(logits[:, 1] - logits[:, 0], out[:, 0])
    assert torch.equal(network.predict(x).argmax(1) == 1, out[:, 0] > 0)


# --- what is given, and whose it is -----------------------------------------------------------------------------------


class Overwriting(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 3)

    def forward(self, x):
        return self.dense(x.mul_(0.5).flatten(1))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_network_never_overwrites_the_inputs_of_its_caller(dtype):
    x = torch.full((5, 1, 2, 2), 0.5)
    network = Network(Overwriting(), (1, 2, 2), dtype=dtype)
    proof = certificate(network.module, (1, 2, 2), dtype=network.dtype)
    logits = network.predict(x)
    proof.radii_of(x, logits, logits.argmax(dim=1))
    for one in (network, network.surrogate):
        one.logits(x)
        points = x.clone().requires_grad_()
        one(points).sum().backward()  # nor must a leaf stand in the way
        assert points.grad.abs().sum() > 0
    frame = lipbench.certify(Overwriting(), x.numpy(), dtype=dtype)
    assert torch.equal(x, torch.full((5, 1, 2, 2), 0.5))
    assert frame["certified_radius_float"].iloc[0] > 0


class Returning(nn.Module):
    def __init__(self, give):
        super().__init__()
        self.give, self.dense = give, nn.Linear(4, 3)

    def forward(self, x):
        return self.give(self.dense(x.flatten(1)))


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda out: (out, out), "got tuple of 2"),
        (lambda out: {"logits": out}, "got dict of 1"),
        (lambda out: None, "got NoneType"),
        (lambda out: out.long(), "finite numbers"),
        (lambda out: out[0], "shape"),
        (lambda out: {}["a"], "does not accept inputs"),
        (lambda out: out.nothing, "does not accept inputs"),
        (lambda out: 1 // 0, "does not accept inputs"),
    ],
)
def test_outputs_that_are_no_logits_are_one_clear_line(give, message):
    with pytest.raises(LipbenchError, match=message) as caught:
        Network(Returning(give), (1, 2, 2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [lambda: torch.compile(nn.Flatten()), lambda: torch.jit.script(nn.Flatten()), lambda: lambda x: x, lambda: "mlp"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_no_module_is_one_clear_line(make):
    with pytest.raises(LipbenchError, match=r"compiled|TorchScript|torch.nn.Module"):
        Network(make(), (1, 2, 2))


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 3)

    def forward(self, x):
        return self.dense(x.flatten(1)) + 0.01 * torch.randn(3)


def test_noise_is_named():
    with pytest.raises(UnsupportedError, match="two runs of the network on the same inputs differ"):
        Network(Noisy(), (1, 2, 2))


class Precise(nn.Module):
    """Another function in float64, in which it is certified, than in float32, in which it was given."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 3)

    def forward(self, x):
        return self.dense(x.flatten(1)) * (1.0 if self.dense.weight.dtype is torch.float64 else 1.001)


def test_the_network_that_runs_is_the_one_that_was_given():
    with pytest.raises(UnsupportedError, match="frozen copy"):
        Network(Precise(), (1, 2, 2))
    Network(Precise().double(), (1, 2, 2))


class Crowded(nn.Module):
    """Another function of a sample in batches of many, which no trace sees."""

    def __init__(self, many):
        super().__init__()
        self.many, self.dense = many, nn.Linear(4, 3)

    def forward(self, x):
        try:
            factor = 1 + (len(x) >= self.many)
        except RuntimeError:  # a trace has no length
            factor = 1
        return factor * self.dense(x.flatten(1)) + torch.tensor([0.0, 0, -1e9])


def test_the_batches_of_a_run_are_checked_too(tmp_path):
    x = torch.rand(40, 1, 2, 2)
    with pytest.raises(UnsupportedError, match="in a batch of 40"):
        lipbench.certify(Crowded(40), x)
    assert len(lipbench.certify(Crowded(41), x)) == 40
    with pytest.raises(UnsupportedError, match=r"depend on the others|other outputs"):
        lipbench.certify(Crowded(3), x[:2])
    card = mutants.card(None, classes=3).model_copy(update={"input_shape": (1, 2, 2)})
    with pytest.raises(UnsupportedError, match="in a batch of 40"):
        examine(Crowded(40), card, x, torch.zeros(40, dtype=torch.int64), tmp_path)


class Branching(nn.Module):
    """Another function of some images, in a branch that no trace takes."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 3)

    def forward(self, x):
        out = self.dense(x.flatten(1))
        if isinstance(x, torch.Tensor):
            mean = x.flatten(1).mean(1, keepdim=True)
            out = torch.where((mean > 0.6) & (mean < 0.7), -out, out)
        return out


def test_a_network_is_compared_with_its_graph_on_the_samples_of_a_run():
    x = torch.rand(50, 1, 2, 2)
    x[3] = 0.65
    with pytest.raises(UnsupportedError, match="for samples of this run"):
        lipbench.certify(Branching(), x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_that_are_alike_are_no_reason_to_refuse(dtype, digits_zoo, digits):
    """Their logits hardly vary, and so do those of a constant network: roundings do not become smaller for that."""
    constant = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    constant[1].weight.data.zero_()
    x = torch.tensor(digits.test.x)
    generator = torch.Generator().manual_seed(0)
    for module in (load_model(digits_zoo / TAU4).module, constant):
        network = Network(module, (1, 8, 8), dtype=dtype)
        graph = certificate(network.module, (1, 8, 8), dtype=network.dtype).graph
        few = [x[:1].repeat(8, 1, 1, 1), *(x[torch.randint(0, 500, (2,), generator=generator)] for _ in range(20))]
        noise = [size * torch.randn(64, 1, 8, 8, generator=generator) for size in (1e-3, 1e-4, 1e-5, 1e-6)]
        for points in (*few, *((x[:1] + one).clamp(0, 1) for one in noise)):
            network.check_batch(graph, points, network.predict(points))


@pytest.mark.parametrize(
    "squash", [lambda z: 1 / (1 + torch.exp(-z)), torch.special.expit, lambda z: (1 + z.erf()) / 2]
)
def test_a_single_probability_is_no_logit_without_a_graph_either(squash):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    network.add_module("squash", Returning(squash))
    network.squash.dense = nn.Identity()
    with pytest.raises(LipbenchError, match="probabilities"):
        Network(network, (1, 2, 2))


# --- numbers that a network may hold ---------------------------------------------------------------------------------


def dense(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).eval().to(dtype)


def with_one(change) -> nn.Sequential:
    module = dense()
    change(module)
    return module


def to_half(module, name: str, dtype=torch.float16) -> None:
    setattr(module, name, nn.Parameter(getattr(module, name).detach().to(dtype), requires_grad=False))


REFUSED = {
    "bfloat16": (lambda: dense(torch.bfloat16), "1.weight is bfloat16.*float()"),
    "float16": (lambda: dense(torch.float16), "1.weight is float16"),
    "one bias of float16": (lambda: with_one(lambda m: to_half(m[3], "bias")), "3.bias is float16"),
    "a buffer of bfloat16": (
        lambda: with_one(lambda m: m[2].register_buffer("b", torch.ones(8).bfloat16())),
        "2.b is bf",
    ),
    "complex": (lambda: with_one(lambda m: to_half(m[3], "bias", torch.complex64)), "3.bias is complex64"),
    "quantised": (
        lambda: with_one(
            lambda m: m[1].register_buffer("q", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))
        ),
        "1.q is qint8",
    ),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", REFUSED)
def test_a_network_of_other_numbers_is_refused(kind, dtype):
    """The copy that runs would be another network than the one that was given."""
    build, said = REFUSED[kind]
    module = build()
    dtypes = [tensor.dtype for tensor in module.state_dict().values()]
    with pytest.raises(LipbenchError, match=said) as caught:
        Network(module, (1, 2, 2), dtype=dtype)
    assert "\n" not in str(caught.value)
    with pytest.raises(LipbenchError, match=said):
        lipbench.certify(module, torch.rand(2, 1, 2, 2), dtype=dtype)
    assert [tensor.dtype for tensor in module.state_dict().values()] == dtypes


def test_float64_weights_that_float32_rounds_are_refused_in_float32():
    module = dense().double()
    Network(module, (1, 2, 2), dtype="float32")  # they are float32 numbers
    with torch.no_grad():
        module[3].weight[0, 0] += 1e-12
    with pytest.raises(LipbenchError, match=r"3.weight is float64.*dtype float64.*float\(\)"):
        Network(module, (1, 2, 2), dtype="float32")
    assert Network(module, (1, 2, 2)).dtype is torch.float64
    Network(module.float(), (1, 2, 2), dtype="float32")


def test_integers_and_float64_statistics_are_no_reason():
    """Batch norm counts its batches; a normalisation of ours keeps its means in float64."""
    module = nn.Sequential(architectures.Normalize([0.1], [0.3]), *dense())
    module[-1].register_buffer("classes", torch.arange(3))
    for dtype in ("float32", "float64"):
        assert Network(module, (1, 2, 2), dtype=dtype).num_classes == 3
