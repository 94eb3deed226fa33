"""What the grade `float` costs beside `real`: certified samples lost to rounding errors, over the digits zoo.

    python benchmarks/grades.py [ZOO]

For each model and every test sample, certified radii of grade `real` (in float64) and of grade `float`, in float64 and
in float32, are counted at the eps of the suite `standard`. float32 is certified sample by sample, once with |W| |h| and
once with norms only.
"""

import argparse
import statistics

import torch

from lipbench import data
from lipbench.attacks import suites
from lipbench.attacks.network import Network
from lipbench.certification.certificate import certificate
from lipbench.models.sources import data_of
from lipbench.models.stored import load_model
from lipbench.models.zoo import find_zoo, model_folders
from lipbench.work.execution import resolve_device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", nargs="?", default="digits")
    args = parser.parse_args()
    device = resolve_device("cpu")
    folder = find_zoo(args.zoo)
    split = data.load(data_of([folder])).test
    x, labels = torch.from_numpy(split.x), torch.from_numpy(split.labels)
    grid = suites.load("standard").eps
    names = ("float, float64", "float, float32", "float, float32, norms only")
    certified = {"real": [0] * len(grid), **{name: [0] * len(grid) for name in names}}
    lost = {name: [] for name in names}
    folders = model_folders(folder)
    for path in folders:
        model = load_model(path)
        radii = {}
        for dtype in ("float64", "float32"):
            network = Network(model.module, model.card.input_shape, device, dtype)
            proof = certificate(network.module, model.card.input_shape, None, network.dtype)
            logits = network.predict(x)
            if dtype == "float64":
                radii["real"] = proof.radii(logits, labels)
                radii[names[0]] = proof.radii(logits, labels, "float")
            else:
                radii[names[1]] = proof.radii(logits, labels, "float", proof.sample_errors(x))
                radii[names[2]] = proof.radii(logits, labels, "float", proof.sample_errors(x, sharp=False))
        for name, radius in radii.items():
            for place, eps in enumerate(grid):
                certified[name][place] += int((radius > eps).sum())
            if name != "real":
                known = radii["real"] > 0
                lost[name] += (1 - radius[known] / radii["real"][known]).tolist()
    print(f"{len(folders)} models, {len(labels)} samples each; certified at eps " + ", ".join(f"{e:g}" for e in grid))
    print(f"{'real':<28}" + "".join(f"{count:>8}" for count in certified["real"]))
    for name in names:
        missing = [real - count for real, count in zip(certified["real"], certified[name], strict=True)]
        shown = "".join(f"{count:>8}" for count in certified[name])
        median, largest = statistics.median(lost[name]), max(lost[name])
        print(f"{name:<28}{shown}   lost {missing}; of a radius: median {median:.2g}, largest {largest:.2g}")


if __name__ == "__main__":
    main()
