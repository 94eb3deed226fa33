"""The rounding search: certificates at points next to the decision boundary, in float32 and float64.

    python benchmarks/rounding.py [--samples 200] [--seed 0]

For two dense and two convolutional networks of the digits zoo, segments between test samples and adversarial inputs are
bisected to the last float32 number, and to the last point that grade `float` certifies. At each point the certificate
of every grade is attacked: float32 neighbours inside the radius, and the same point in other batch sizes and layouts.
Printed: how many certificates there were (radius above 0), and how many of them are false for the network as it runs.
"""

import argparse
import time

import torch

from lipbench import data
from lipbench._internal import resources
from lipbench.attacks.network import Network
from lipbench.certification.certificate import certificate
from lipbench.certification.grades import GRADES
from lipbench.models.stored import load_model
from lipbench.verification.falsification import MINIMAL_NORM, AttackedSamples
from lipbench.verification.rounding_search import rounding_search
from lipbench.work.execution import resolve_device

MODELS = (
    "mlp-tau_cross_entropy-tau4-seed0",
    "mlp-hkr_multiclass-alpha0.99-min_margin0.2-seed0",
    "cnn-tau_cross_entropy-tau16-seed0",
    "cnn-tau_cross_entropy-tau16-seed1",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    device = resolve_device("cpu")
    split = data.load("digits").test.first(args.samples)
    x, labels = torch.from_numpy(split.x), torch.from_numpy(split.labels)
    print(f"{'model':<50} dtype       points  looked at   broken / certified: " + "  ".join(f"{g:>12}" for g in GRADES))
    total = {}
    for name in MODELS:
        for dtype in ("float32", "float64"):
            start = time.perf_counter()
            model = load_model(resources.folder("digits") / name)
            network = Network(model.module, model.card.input_shape, device, dtype)
            proof = certificate(network.module, model.card.input_shape, 1.0)
            samples = AttackedSamples(network, x, labels, args.seed)
            samples.attack(MINIMAL_NORM[0])
            rows = torch.from_numpy(samples.right & (samples.distance < float("inf")))
            result = rounding_search(network, proof, x[rows], samples.best[rows], seed=args.seed)
            counts = {
                g: (len(result.breaks[g].radius) if g in result.breaks else 0, result.certified[g]) for g in GRADES
            }
            for grade, (broken, certified) in counts.items():
                old = total.get((dtype, grade), (0, 0))
                total[dtype, grade] = (old[0] + broken, old[1] + certified)
            total[dtype, "points"] = total.get((dtype, "points"), 0) + result.points
            shown = "  ".join(f"{broken:>5} /{certified:>5}" for broken, certified in counts.values())
            seconds = time.perf_counter() - start
            head = f"{name:<50} {dtype:<10} {result.points:>7}  {result.evaluated:>9}"
            print(f"{head}   {'':19} {shown}  {seconds:.0f} s")
    for dtype in ("float32", "float64"):
        shown = "  ".join("{:>5} /{:>5}".format(*total[dtype, grade]) for grade in GRADES)
        print(f"{'all':<50} {dtype:<10} {total[dtype, 'points']:>7}  {'':9}   {'':19} {shown}")


if __name__ == "__main__":
    main()
