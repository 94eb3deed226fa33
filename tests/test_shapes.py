"""Inputs of any shape: vectors, series and images of any channels are trained, certified, attacked and verified.

The inputs are the digits, as networks of other fields would read them.
"""

import math
import tomllib

import numpy as np
import pytest
import tomli_w
import torch
from attacking import absent, shortened
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lipbench
from lipbench import cli, data
from lipbench.attacks import base, suites
from lipbench.errors import LeftOutWarning, LipbenchError
from lipbench.models import architectures, cards
from lipbench.models.model import Model
from lipbench.models.stored import load_model
from lipbench.models.zoo import model_folders
from lipbench.report.results import Results
from lipbench.runs.folder import RunFolder

SAMPLES = 24
SHORT = {"n_iter": 5, "max_iter": 5, "steps": 5, "rounds": 3, "targets": 2, "restarts": 1, "step_ratio": 2.0}
SERVING = [name for name in base.names() if base.named(name).ranks == base.ANY_RANK and absent(name) is None]


def suite(norm, *names, eps=(0.2, 0.4)):
    """The attacks that serve inputs of any shape, or those that are named, made short."""
    attacks = [base.named(name) for name in names or SERVING]
    listed = [
        {"name": one.name, "args": dict(shortened(one.name, SHORT).args)}
        for one in attacks
        if norm in {each.value for each in one.norms}
    ]
    content = {"name": f"any-{norm.lower()}", "norm": norm, "eps": list(eps), "attack": listed}
    return suites.parse(content, "test")


def trained(network, x, y, steps=40):
    """A real network, fitted for a moment."""
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(steps):
        out = network(x)
        binary = out.shape[1] == 1
        loss = nn.functional.soft_margin_loss(out[:, 0], 2.0 * y - 1) if binary else nn.functional.cross_entropy(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def dense(inputs, outputs=10):
    return [nn.Linear(inputs, 24), nn.ReLU(), nn.Linear(24, outputs)]


def flat(inputs):
    return [nn.Flatten(), *dense(inputs)]


NETWORKS = {  # the shape of an input, the network
    "vectors": ((64,), lambda: nn.Sequential(*dense(64))),
    "vectors, shifted": (
        (64,),
        lambda: nn.Sequential(architectures.Normalize([0.3] * 64, [0.5] * 64), *dense(64)),
    ),
    "series of 8 channels": (
        (8, 8),
        lambda: nn.Sequential(
            architectures.Normalize([0.3] * 8, [0.5] * 8),
            nn.Conv1d(8, 8, 3, padding=1),
            nn.ReLU(),
            *flat(64),
        ),
    ),
    "series of 1 channel": (
        (1, 64),
        lambda: nn.Sequential(nn.Conv1d(1, 4, 4, stride=4), nn.BatchNorm1d(4), nn.ReLU(), *flat(64)),
    ),
    "images of 5 channels": (
        (5, 8, 8),
        lambda: nn.Sequential(nn.Conv2d(5, 4, 3, stride=2), nn.ReLU(), *flat(36)),
    ),
    "images of 4 columns": ((2, 8, 4), lambda: nn.Sequential(nn.Conv2d(2, 4, 3), *flat(48))),
}


def shaped(x, shape):
    """Digits (n, 1, 8, 8) in another shape; five channels are shades of the image."""
    if math.prod(shape) == 64:
        return x.reshape(-1, *shape)
    return x * torch.linspace(0.2, 1, shape[0]).view(1, -1, 1, 1)


@pytest.fixture(scope="module")
def case(digits):
    """``case(kind)``: a trained network, and inputs and labels of the test split; made once."""
    made = {}

    def make(kind):
        if kind not in made:
            shape, build = NETWORKS[kind]
            torch.manual_seed(0)
            y = torch.from_numpy(digits.train.labels)
            network = trained(build(), shaped(torch.from_numpy(digits.train.x), shape), y)
            test = digits.test.first(SAMPLES)
            made[kind] = network, shaped(torch.from_numpy(test.x), shape), torch.from_numpy(test.labels)
        return made[kind]

    return make


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_is_certified_attacked_and_verified(case, kind, tmp_path):
    network, x, y = case(kind)
    results = lipbench.evaluate(network, [suite("L2"), suite("Linf", eps=(0.03,))], data=(x, y), prune=False)
    samples = results.samples
    frame = lipbench.certify(network, x, y)
    for norm, part in samples.groupby("norm"):
        radii = frame.certified_radius_float / (1 if norm == "L2" else math.sqrt(x[0].numel()))
        np.testing.assert_allclose(part.certified_radius_float, radii, rtol=1e-9)
        np.testing.assert_allclose(
            lipbench.certify(network, x, y, norm=norm).certified_radius_float, part.certified_radius_float, rtol=1e-9
        )
        assert (part.certified_radius_float[part.correct] > 0).mean() > 0.9
        assert (part.adversarial_distance >= part.certified_radius_float).all()
        assert np.isfinite(part.adversarial_distance[part.correct]).mean() > 0.9
    assert samples.correct.mean() > 0.7
    verdict = lipbench.verify(network, data=(x, y), out=tmp_path / "v", samples=10)
    assert verdict.passed
    assert (verdict.frame().samples > 0).all()


@pytest.mark.parametrize("kind", ["vectors", "series of 8 channels", "series of 1 channel"])
def test_the_bundled_quick_suite_serves_it(case, kind):
    network, x, y = case(kind)
    summary = lipbench.evaluate(network, ["quick", "quick-linf"], data=(x, y), samples=8).summary()
    assert len(summary) == 10
    assert (summary.violations_float == 0).all()
    with pytest.warns(
        LeftOutWarning, match=r"autoattack/square left out: serves images \(c, h, w\), got inputs of shape \("
    ):
        results = lipbench.evaluate(network, "standard", data=(x, y), samples=8)
    assert results.items[0].left_out.keys() == {"autoattack/square"}
    assert len(results.summary()) == 5


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_vectors_have_the_bounds_of_the_images_that_they_are(case, norm):
    network, x, y = case("vectors")
    flattened = nn.Sequential(nn.Flatten(), *network)
    one, other = (
        lipbench.evaluate(net, suite(norm, eps=(0.05, 0.1)), data=(inputs, y), seeds=(3,), prune=False).samples
        for net, inputs in ((network, x), (flattened, x.view(-1, 1, 8, 8)))
    )
    for column in ("certified_radius_float", "certified_radius_real"):
        np.testing.assert_allclose(one[column], other[column], rtol=1e-12)
    np.testing.assert_allclose(one.adversarial_distance, other.adversarial_distance, rtol=1e-5)
    assert one.attack.tolist() == other.attack.tolist()
    assert np.isfinite(one.adversarial_distance).sum() > SAMPLES / 2


def test_a_test_set_may_lack_a_class(digits, tmp_path):
    """A single logit for two classes, and samples of one of them alone."""
    x, y, x_test, y_test = (
        torch.from_numpy(values[split.labels < 2])
        for split in (digits.train, digits.test)
        for values in (split.x.reshape(-1, 64), split.labels)
    )
    torch.manual_seed(0)
    network = trained(nn.Sequential(*dense(64, 1)), x, y)
    only = y_test == 0
    chosen = suite("L2", *(name for name in SERVING if base.named(name).min_classes == 2))
    given = {
        "a pair": (x_test[only], y_test[only]),
        "a dictionary": {"x_test": x_test[only], "y_test": y_test[only].bool(), "num_classes": 2},
        "a data set": TensorDataset(x_test[only], y_test[only]),
        "a loader": DataLoader(TensorDataset(x_test[only], y_test[only]), batch_size=7),
    }
    frames = [lipbench.evaluate(network, chosen, data=one, samples=20).samples for one in given.values()]
    for frame in frames[1:]:
        assert frame.equals(frames[0])
    assert frames[0].correct.mean() > 0.9
    assert (frames[0].label == 0).all()
    assert (frames[0].adversarial_distance >= frames[0].certified_radius_float).all()
    assert np.isfinite(frames[0].adversarial_distance).any()
    verdict = lipbench.verify(network, data=given["a pair"], num_classes=2, out=tmp_path / "v", samples=10)
    assert verdict.passed


def test_a_stored_model_meets_an_archive_that_lacks_classes(digits, zoo_of, tmp_path):
    zoo = zoo_of("mlp-tau_cross_entropy-tau4-seed0")
    keep = digits.test.labels < 6
    held = {"x_test": digits.test.x[keep][:20, 0], "y_test": digits.test.labels[keep][:20]}
    np.savez(tmp_path / "few.npz", **held)
    few = lipbench.evaluate(zoo, suite("L2", "gradient/bisection"), data=str(tmp_path / "few.npz"))
    given = lipbench.evaluate(zoo, suite("L2", "gradient/bisection"), data=(held["x_test"][:, None], held["y_test"]))
    assert few.samples.equals(given.samples)
    np.savez(tmp_path / "said.npz", **held, num_classes=6)
    with pytest.raises(LipbenchError, match=r"has 10 classes, the data set .* has 6"):
        lipbench.evaluate(zoo, data=str(tmp_path / "said.npz"))


def test_workers_get_the_samples_and_a_run_is_of_its_samples(case, tmp_path):
    network, x, y = case("vectors")
    chosen = suite("L2", "gradient/bisection", "autoattack/apgd-ce")
    alone = lipbench.evaluate(network, chosen, data=(x, y), out=tmp_path / "alone", shard=10)
    options = {"out": tmp_path / "run", "shard": 10, "jobs": 2}
    results = lipbench.evaluate(network, chosen, data=(x, y), **options)
    assert results.samples.equals(alone.samples)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "records").iterdir()}
    lipbench.evaluate(network, chosen, data=TensorDataset(x, y), **options)  # the same samples: nothing is left to do
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "records").iterdir()}
    for other in ((x.flip(0), y.flip(0)), (x, (y + 1) % 10), (x * 0.5, y)):
        with pytest.raises(LipbenchError, match=r"holds a run with other settings \(data_sha256"):
            lipbench.evaluate(network, chosen, data=other, **options)


def test_pixels_are_what_they_are_divided_by_255(case):
    network, x, y = case("series of 8 channels")
    pixels = (x * 255).round().byte()
    chosen = suite("L2", "gradient/bisection", "art/pgd")
    one, other = (
        lipbench.evaluate(network, chosen, data=(given, y)).samples for given in (pixels.numpy(), pixels / 255)
    )
    assert one.equals(other)
    assert lipbench.certify(network, pixels).equals(lipbench.certify(network, pixels / 255))


def test_a_false_claim_is_refuted_by_a_witness_that_replays(case, tmp_path):
    for kind in ("vectors", "series of 8 channels"):
        network, x, y = case(kind)
        model = Model(network, name=kind.replace(" ", "-"), claimed=0.05)
        verdict = lipbench.verify(model, data=(x, y), out=tmp_path / kind, samples=10)
        assert not verdict.passed
        (witness, *_) = sorted((tmp_path / kind / "witnesses").glob("*.safetensors"))
        replayed = lipbench.replay(witness, model)
        assert replayed.reproduced == replayed.rows > 0
        with pytest.raises(LipbenchError, match=r"does not accept inputs|is not the model of this witness"):
            lipbench.replay(witness, Model(nn.Sequential(nn.Flatten(0), nn.Linear(3, 2))))


def test_channels_last_are_noticed(digits):
    x = torch.from_numpy(digits.test.x[:4]).expand(-1, 3, -1, -1)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    last, labels = x.permute(0, 2, 3, 1), digits.test.labels[:4]
    for refused in (
        lambda: lipbench.evaluate(network, data=(last, labels)),
        lambda: lipbench.verify(network, data=(last, labels)),
        lambda: lipbench.certify(network, last),
        lambda: lipbench.evaluate("digits", data=(last[..., :1], labels)),
    ):
        with pytest.raises(LipbenchError, match=r"channels last\? pass x.permute\(0, 3, 1, 2\)"):
            refused()


def test_a_stored_model_is_not_certified_on_inputs_of_another_shape(digits_zoo, digits):
    folder = digits_zoo / "mlp-tau_cross_entropy-tau4-seed0"
    assert len(lipbench.certify(folder, digits.test.x[:2])) == 2
    with pytest.raises(LipbenchError, match=r"takes inputs of shape \(1, 8, 8\), x has \(8, 8\)"):
        lipbench.certify(folder, digits.test.x[0])


# --- training --------------------------------------------------------------------------------------------------------

RECIPE = """
data = "npz:PATH"
seeds = [0]
[training]
epochs = 4
batch_size = 256
learning_rate = 1e-2
[[architecture]]
name = "mlp"
args = { widths = [16] }
[[loss]]
name = "tau_cross_entropy"
hyperparameters = { tau = 16 }
[[loss]]
name = "cross_entropy"
constrained = false
adversarial = { eps = 0.3, steps = 2 }
"""


@pytest.fixture
def archive(tmp_path, digits):
    """``archive(shape)``: digits in another shape, as a file."""

    def write(shape):
        path = tmp_path / "mine.npz"
        parts = {
            "x_train": digits.train.x.reshape(-1, *shape),
            "y_train": digits.train.labels,
            "x_test": digits.test.x.reshape(-1, *shape),
            "y_test": digits.test.labels,
        }
        np.savez(path, **parts, num_classes=10, **({} if len(shape) == 1 else {"input_shape": shape}))
        return path

    return write


@pytest.mark.parametrize(("shape", "means"), [((64,), 64), ((8, 8), 8), ((4, 2, 8), 4)])
def test_an_mlp_is_trained_on_it_and_stored(archive, tmp_path, shape, means):
    path = archive(shape)
    recipe = tmp_path / "recipe.toml"
    preprocessing = f"[preprocessing]\nmean = {[0.25] * means}\nstd = {[0.5] * means}\n"
    recipe.write_text(RECIPE.replace("npz:PATH", "digits") + preprocessing)
    assert cli.run(["train", str(recipe), "-o", str(tmp_path / "zoo"), "--data", str(path), "-q"]) == 0
    folders = model_folders(tmp_path / "zoo")
    assert len(folders) == 2
    for folder in folders:
        card = cards.read(folder)
        assert card.input_shape == shape
        assert card.data == f"npz:{path}"  # with its loader's name
    chosen = tmp_path / "suite.toml"
    chosen.write_text('name = "mine"\nnorm = "L2"\neps = [0.1]\n[[attack]]\nname = "gradient/bisection"\n')
    options = ["--suite", str(chosen), "--samples", "30", "-q", "-o", str(tmp_path / "run")]
    assert cli.run(["evaluate", str(tmp_path / "zoo"), *options]) == 0
    samples = Results.load(RunFolder(tmp_path / "run")).samples
    assert samples.groupby("model").correct.mean().min() > 0.5
    assert (samples.adversarial_distance >= samples.certified_radius_real.fillna(0)).all()
    x = data.load(f"npz:{path}").test.first(5).x
    frame = lipbench.certify(next(one for one in folders if "tau16" in one.name), x)
    assert frame.attrs["lipschitz_bound"] == pytest.approx(2, rel=1e-3)  # 1 / std


def test_what_needs_images_says_so(archive, tmp_path, capsys):
    path, recipe = archive((64,)), tmp_path / "recipe.toml"
    text = RECIPE.replace("PATH", str(path))
    mlp = 'name = "mlp"\nargs = { widths = [16] }'
    wrong = {
        "its convolutions take images (c, h, w), got inputs of shape (64,)": text.replace(mlp, 'name = "cnn"'),
        "choose another architecture, such as mlp": text.replace(mlp, 'name = "vgg"'),
        "got inputs of shape (64,): choose": text.replace(mlp, 'name = "resnet"'),
        "augmentation is for images (c, h, w), the inputs are of shape (64,)": text.replace(
            "[training]", "[training]\naugmentation = { flip = true }"
        ),
        "one mean and one std for each of 64 channels": text + "[preprocessing]\nmean = [0.5]\nstd = [0.5]\n",
    }
    for said, content in wrong.items():
        recipe.write_text(content)
        assert cli.run(["train", str(recipe), "-o", str(tmp_path / "zoo"), "-q"]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.splitlines()) == 1
        assert not (tmp_path / "zoo").exists()


# --- cards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ([], "input_shape"),
        ([1, 1, 8, 8], "input_shape"),
        ([0, 8, 8], "greater than or equal to 1"),
        ([-1], "greater than or equal to 1"),
        ([1.0, 8, 8], "integer"),
        ([True, 8, 8], "integer"),
        (["1", 8, 8], "integer"),
        ([10**12], "at most 268435456 numbers"),
        ([2**20, 2**20, 3], "at most 268435456 numbers"),
        ("64", "list"),
    ],
)
def test_a_card_of_an_impossible_shape_is_refused(zoo_of, shape, said):
    folder = zoo_of("mlp-tau_cross_entropy-tau4-seed0") / "mlp-tau_cross_entropy-tau4-seed0"
    content = tomllib.loads((folder / cards.CARD).read_text())
    (folder / cards.CARD).write_text(tomli_w.dumps({**content, "input_shape": shape}))
    with pytest.raises(LipbenchError, match=said) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_a_card_of_vectors_is_written_and_read(zoo_of):
    folder = zoo_of("mlp-tau_cross_entropy-tau4-seed0") / "mlp-tau_cross_entropy-tau4-seed0"
    card = cards.read(folder).model_copy(update={"input_shape": (64,)})
    cards.write(folder, card)
    assert cards.read(folder) == card
    assert load_model(folder).module(torch.zeros(2, 64)).shape == (2, 10)
