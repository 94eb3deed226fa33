"""``examples/``: scripts and notebooks run as they are, the latter cell by cell, each in a process of its own."""

import json
import re
import subprocess
import sys

import pytest

from lipbench._internal.resources import CHECKOUT

EXAMPLES = CHECKOUT / "examples"
PUBLISHED = CHECKOUT / "reports" / "digits" / "run"  # what they load
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
RUNNER = """
import json, sys
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
plt.show = lambda: None
cells, space = json.load(open(sys.argv[1]))["cells"], {"__name__": "__main__"}
for cell in cells:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), space)
for number in plt.get_fignums():
    plt.figure(number).savefig(f"{sys.argv[2]}/{number}.png", dpi=110)
found = space["found"]
print(json.dumps({
    "rows": len(space["samples"]),
    "above the diagonal": int((found["certified_radius_float"] > found["adversarial_distance"]).sum()),
    "points": [len(axis.collections[0].get_offsets()) for axis in plt.figure(1).axes],
}))
"""
pytestmark = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="examples and the published run are in a checkout only")


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws(path, tmp_path):
    """It draws every correct sample of three networks of three seeds, and an adversarial input."""
    words = [sys.executable, "-W", "error", "-c", RUNNER, str(path), str(tmp_path)]
    ran = subprocess.run(words, capture_output=True, text=True, cwd=EXAMPLES)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    assert (said["rows"], said["above the diagonal"]) == (57 * 200, 0)
    assert [len(str(points)) for points in said["points"]] == [3, 3, 3]
    assert all(500 < points <= 600 for points in said["points"])
    assert {figure.name for figure in tmp_path.iterdir()} == {"1.png", "2.png"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
def test_five_kinds_of_networks_are_evaluated_verified_and_stored(tmp_path):
    """In one call each: certified where there is a bound, and equal to the stored copy, as docs/own-network.md says."""
    words = [sys.executable, str(EXAMPLES / "own_networks.py"), "--samples", "5"]
    ran = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    names = ["torchlip_chain", "orthogonium_network", "residual", "batch_norm", "vision_transformer"]
    last = dict(re.findall(r"^(\w+): evaluated and verified in \d+ s; its copy (.*)$", ran.stdout, re.MULTILINE))
    assert list(last) == names
    assert set(last.values()) == {"is equal to the bit"}
    assert len(re.findall(r"^PASS: 1 model", ran.stdout, re.MULTILINE)) == 4
    assert "nothing to verify: no claim, and no certificate" in ran.stdout
    assert {folder.name for folder in (tmp_path / "zoo").iterdir()} == set(names)
    forms = {name: (tmp_path / "zoo" / name / "graph.json").exists() for name in names}
    assert forms == {name: name != "vision_transformer" for name in names}
