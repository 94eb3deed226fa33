"""The adversarial inputs of the published digits run, against its records, its data and the networks themselves."""

import shutil

import numpy as np
import pytest
import torch

import lipbench
from lipbench._internal.resources import CHECKOUT
from lipbench.errors import LipbenchError
from lipbench.models.stored import load_model

RUN = CHECKOUT / "reports" / "digits" / "run"
pytestmark = pytest.mark.skipif(not RUN.is_dir(), reason="the published run is in a checkout only")


@pytest.fixture(scope="module")
def results():
    return lipbench.load(RUN)


def test_each_sample_with_a_distance_has_its_input(results, digits):
    found, samples = results.witnesses(), results.samples
    broken = samples[samples["attack"] != ""]
    assert len(found) == len(broken) > 10_000
    assert (found.x.shape, found.x.dtype) == ((len(broken), 1, 8, 8), np.float32)
    for name in ("model", "suite", "norm", "sample", "label", "attack", "adversarial_distance"):
        assert found.frame()[name].tolist() == broken[name].tolist()
    moved = found.x.astype(float) - digits.test.x[found.sample]
    np.testing.assert_allclose(np.sqrt((moved**2).sum((1, 2, 3))), found.adversarial_distance, rtol=1e-12)
    assert (found.label == digits.test.labels[found.sample]).all()
    assert (found.adversarial_label != found.label).all()
    assert 0 <= found.x.min() <= found.x.max() <= 1


def test_the_network_puts_them_into_another_class(results, digits_zoo):
    name = results.run.models[0].name
    found = results.witnesses(name)
    assert set(found.model) == {name}
    network = load_model(digits_zoo / name).module.double().eval()
    with torch.no_grad():
        predicted = network(torch.from_numpy(found.x).double()).argmax(1)
    assert predicted.tolist() == found.adversarial_label.tolist()


def test_an_unknown_model(results):
    with pytest.raises(LipbenchError, match="unknown model 'mlp-kr_multiclass-sed0': did you mean"):
        results.witnesses("mlp-kr_multiclass-sed0")


def test_inputs_that_are_missing_or_others(tmp_path):
    shutil.copytree(RUN, tmp_path / "run")
    results = lipbench.load(tmp_path / "run")
    files = sorted((tmp_path / "run" / "witnesses").iterdir())
    files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(LipbenchError, match="differ from what was written"):
        results.witnesses()
    files[0].unlink()
    with pytest.raises(LipbenchError, match=r"holds no adversarial inputs of .* is missing.*evaluate again"):
        results.witnesses()
