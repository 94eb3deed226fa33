import numpy as np
import pandas as pd
import pytest
import torch
from bundled import TAU4
from verifying import verify

from lipbench import cli
from lipbench.attacks.network import Network
from lipbench.errors import LipbenchError
from lipbench.models.stored import load_model


def test_radii_from_a_file_are_tested(zoo_of, digits, tmp_path, capsys):
    folder = zoo_of(TAU4) / TAU4
    network = Network(load_model(folder).module, (1, 8, 8))
    top = network.predict(torch.from_numpy(digits.test.x[:20])).sort(dim=1)[0]
    margin = (top[:, -1] - top[:, -2]).numpy()
    right = network.predict(torch.from_numpy(digits.test.x[:20])).argmax(1).numpy() == digits.test.labels[:20]
    for factor, status in ((2**0.5, 0), (1.0, 1)):
        table = pd.DataFrame({"sample": np.arange(20), "certified_radius": np.where(right, margin / factor, 0)})
        table.to_csv(tmp_path / "mine.csv", index=False)
        arguments = ["verify", str(folder), "-q", "--samples", "20", "-o", str(tmp_path / "v")]
        assert cli.run([*arguments, "--radii", str(tmp_path / "mine.csv")]) == status
        assert ("FAIL" if status else "PASS") + f" {TAU4} given" in capsys.readouterr().out
    assert cli.run(["verify", "--replay", str(tmp_path / "v" / "witnesses" / f"{TAU4}-radius-given.json")]) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sample,certified_radius\n0,-1\n", "at least 0"),
        ("sample,certified_radius\n0,nan\n", "finite"),
        ("sample,certified_radius\n99,1\n", "0..19"),
        ("sample,certified_radius\n0,1\n0,1\n", "different"),
        ("index,radius\n0,1\n", "expected CSV or parquet"),
        ("sample,certified_radius\na,b\n", "whole numbers"),
        ("sample,certified_radius\n0.7,1\n", "whole numbers"),
        ("sample,certified_radius\n99999999999999999999999,1\n", "whole numbers"),
        ("sample,certified_radius\n", "at least one row"),
        (None, "does not exist"),
    ],
)
def test_radii_that_are_none(content, said, zoo_of, tmp_path, capsys):
    if content is not None:
        (tmp_path / "mine.csv").write_text(content)
    folder = zoo_of(TAU4) / TAU4
    assert cli.run(["verify", str(folder), "-q", "--samples", "20", "--radii", str(tmp_path / "mine.csv")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("radii", [["1"] * 5, [1 + 2j] * 5, [True] * 5, [None] * 5, np.full(5, 1, dtype="M8[s]"), "ab"])
def test_radii_are_numbers(radii, zoo_of, digits, tmp_path):
    with pytest.raises(LipbenchError, match="certified radii must be"):
        verify(zoo_of(TAU4) / TAU4, digits, tmp_path / "v", samples=5, radii=radii)
