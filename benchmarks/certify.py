"""What a certificate costs beside the prediction that it comes with.

    python benchmarks/certify.py [--inputs 10000] [--repeats 3]

A convolutional network of CIFAR shape (3x32x32, the architecture `cnn`) classifies the inputs, in batches; then the
same with certified radii of every grade. The Lipschitz bound is computed once and kept (its time is printed apart). In
float64 the error analysis holds for the whole input range at once; in float32 it is also done sample by sample, by the
norms of the activations, and sharply, by |W| |h|. Ratios are medians over repeats taken in turns, in one run.
"""

import argparse
import statistics
import time

import torch

from lipbench.attacks.network import Network
from lipbench.certification.certificate import certificate
from lipbench.models import architectures
from lipbench.work.execution import resolve_device

SHAPE = (3, 32, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    device = resolve_device("auto", args.threads)
    torch.manual_seed(0)
    x = torch.rand(args.inputs, *SHAPE).to(device)
    module = architectures.build("cnn", architectures.EXPORTED, SHAPE, 10, {"channels": [32, 64, 128], "widths": [128]})
    for dtype in ("float64", "float32"):
        network = Network(module, SHAPE, device, dtype)
        start = time.perf_counter()
        proof = certificate(network.module, SHAPE, 1.0)
        bound = time.perf_counter() - start

        def predict(network=network):
            return network.predict(x)

        def static(network=network, proof=proof):
            logits = network.predict(x)
            labels = logits.argmax(dim=1)
            return {grade: proof.radii(logits, labels, grade) for grade in ("float", "real", "nominal")}

        def by_sample(sharp, network=network, proof=proof):
            logits = network.predict(x)
            return proof.radii(logits, logits.argmax(dim=1), "float", proof.sample_errors(x, sharp=sharp))

        runs = {"predict": predict, "certify": static}
        if dtype == "float32":
            runs |= {"by sample, norms": lambda: by_sample(False), "by sample, sharp": lambda: by_sample(True)}
        seconds = {name: [] for name in runs}
        for _ in range(args.repeats):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        plain = min(seconds["predict"])
        print(f"{dtype}: bounds, once: {bound:.2f} s; {args.inputs} inputs predicted: {plain:.2f} s")
        for name in list(runs)[1:]:
            ratios = [a / b for a, b in zip(seconds[name], seconds["predict"], strict=True)]
            print(f"  {name:<18} / predict: {statistics.median(ratios):.3f} (median of {args.repeats})")


if __name__ == "__main__":
    main()
