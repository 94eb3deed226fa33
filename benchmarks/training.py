"""What a 1-Lipschitz training step costs beside that of its unconstrained twins, and what the trainer adds to it.

    python benchmarks/training.py steps [--architectures mlp,cnn,vgg,resnet] [--batch 256]      against both twins
    python benchmarks/training.py throughput [--samples 5120]      whole epochs against a plain PyTorch loop
    python benchmarks/training.py sweep [--jobs N]      16 small models by one worker and by N
    python benchmarks/training.py profile [--architecture cnn] [--layers torchlip]      the operations of a step

All of them take --device auto|cpu|cuda. Images are random, 3x32x32, and networks have default arguments. Steps are the
trainer's own (``Fit.epoch``, several steps in a row), with one thread, in float32, TF32 off, in the deterministic mode
that `lipbench train` sets. ``twin`` has plain linear layers and convolutions, and the same activations, pools and
shortcuts; ``relu`` is the twin that recipes call unconstrained. Networks are first trained for some steps: Björck's
iterations begin at orthogonal weights and stop after one there, later after three to six. Candidates take turns, and
ratios are medians over the rounds. ``cpu`` is the time of the process itself, which other processes disturb less.
"""

import argparse
import copy
import functools
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity
from torch.utils.data import DataLoader, TensorDataset

from lipbench import data
from lipbench.models import architectures, cards
from lipbench.models.zoo import model_folders
from lipbench.training import losses
from lipbench.training.fit import DeviceSplit, Fit, PlainLoss
from lipbench.training.recipes import Augmentation, Training
from lipbench.training.sweep import train
from lipbench.training.trainer import deterministic
from lipbench.work import executors
from lipbench.work.execution import Execution, resolve_device

SHAPE, CLASSES = (3, 32, 32), 10
TRAINED = ("torchlip", "orthogonium")
SETS = {
    **{name: functools.partial(architectures.layers_of, name, True) for name in TRAINED},
    "twin": lambda: replace(architectures.CONSTRAINED, linear=nn.Linear, conv=nn.Conv2d),
    "relu": lambda: architectures.UNCONSTRAINED,
}
HOW = Training(epochs=1, learning_rate=1e-3, schedule="constant")
FLIP_AND_CROP = Augmentation(flip=True, crop=4)
SETTLE, FEW = 64, 8  # steps before a network is timed, and their batch size
STEPS = {"cpu": 2, "cuda": 50}  # in a row: an epoch's last checks, for which it waits, should not count
CUDA_JOBS = 8

RECIPE = """data = "digits"
seeds = [0, 1, 2, 3]
training = {{ epochs = {epochs}, batch_size = 128, learning_rate = 2e-3 }}

[[architecture]]
name = "mlp"

[[loss]]
name = "tau_cross_entropy"
hyperparameters = {{ tau = [1, 4, 16, 64] }}
"""


def spent(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Wall and CPU seconds of some work, until the device is done with it."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wait()
    return time.perf_counter() - wall, time.process_time() - cpu


def in_turns(candidates: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list]:
    """Wall and CPU seconds of each candidate in each round, after one that does not count."""
    found = {name: [] for name in candidates}
    for _ in range(1 + rounds):
        for name, work in candidates.items():
            found[name].append(spent(work, device))
    return {name: times[1:] for name, times in found.items()}


def ratio(some: list, others: list, which: int) -> float:
    """The median over rounds; which: 0 for wall, 1 for CPU seconds."""
    return statistics.median(a[which] / b[which] for a, b in zip(some, others, strict=True))


def images(n: int, device: torch.device) -> DeviceSplit:
    x = torch.randint(256, (n, *SHAPE), dtype=torch.uint8)
    return DeviceSplit(x.to(device), torch.randint(CLASSES, (n,)).to(device))


def fit_of(model: nn.Sequential, samples: DeviceSplit, batch: int, augmentation: Augmentation | None = None) -> Fit:
    how = HOW.model_copy(update={"batch_size": batch, "augmentation": augmentation or Augmentation()})
    generator = torch.Generator(samples.labels.device)
    return Fit(model, PlainLoss(losses.build("cross_entropy", {})), how, samples, 0, generator)


def settled(architecture: str, layers: str, device: torch.device) -> nn.Sequential:
    """A network that has been in training for a while."""
    torch.manual_seed(0)
    network = architectures.build(architecture, SETS[layers](), SHAPE, CLASSES, {})
    model = nn.Sequential(nn.Identity(), network).to(device)
    fit_of(model, images(SETTLE * FEW, device), FEW).epoch()
    return model


def steps(args: argparse.Namespace, device: torch.device) -> None:
    number = args.steps or STEPS[device.type]
    print(f"batch {args.batch}, {device}; wall ms a step, and ratios: wall (cpu)")
    for architecture in args.architectures.split(","):
        with deterministic(0, device):
            samples = images(args.batch * number, device)
            fits = {name: fit_of(settled(architecture, name, device), samples, args.batch) for name in SETS}
            found = in_turns({name: fit.epoch for name, fit in fits.items()}, args.rounds, device)
        ms = {name: statistics.median(wall for wall, _ in times) * 1000 / number for name, times in found.items()}
        print(f"{architecture:<8}" + "  ".join(f"{name} {value:.1f}" for name, value in ms.items()), flush=True)
        for layers in TRAINED:
            shown = [
                f"/ {twin} {ratio(found[layers], found[twin], 0):5.2f} ({ratio(found[layers], found[twin], 1):5.2f})"
                for twin in ("twin", "relu")
            ]
            print(f"  {layers:<12}" + "   ".join(shown), flush=True)


def plain_loop(model: nn.Module, samples: DeviceSplit, batch: int) -> Callable[[], None]:
    """An epoch as tutorials write it, without augmentation, in torch's default mode; images are float32 on the CPU."""
    x, labels, device = samples.x(slice(None)).cpu(), samples.labels.cpu(), samples.labels.device
    loader = DataLoader(TensorDataset(x, labels), batch, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=HOW.learning_rate, weight_decay=0.0)
    loss = nn.CrossEntropyLoss()

    def epoch() -> None:
        model.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss(model(inputs.to(device)), targets.to(device)).backward()
            optimizer.step()

    return epoch


def throughput(args: argparse.Namespace, device: torch.device) -> None:
    def as_trained(fit: Fit) -> Callable[[], None]:
        def epoch() -> None:
            with deterministic(0, device):
                fit.epoch()

        return epoch

    print(f"cnn, batch {args.batch}, {device}; samples a second, and over the plain loop's: wall (cpu)")
    for layers in ("relu", "torchlip"):
        model, samples = settled("cnn", layers, device), images(args.samples // args.batch * args.batch, device)
        candidates = {
            "plain loop": plain_loop(copy.deepcopy(model), samples, args.batch),
            "trainer": as_trained(fit_of(copy.deepcopy(model), samples, args.batch)),
            "trainer, flip and crop": as_trained(fit_of(copy.deepcopy(model), samples, args.batch, FLIP_AND_CROP)),
        }
        found = in_turns(candidates, args.rounds, device)
        for name, times in found.items():
            rate = len(samples.labels) / statistics.median(wall for wall, _ in times)
            wall, cpu = (ratio(found["plain loop"], times, which) for which in (0, 1))
            print(f"  {layers:<10}{name:<24}{rate:>10,.0f}   {wall:.2f} ({cpu:.2f})", flush=True)


def sweep(args: argparse.Namespace, device: torch.device) -> None:
    """From the start of the workers to the last model, as `lipbench train` does it."""
    jobs = args.jobs or (CUDA_JOBS if device.type == "cuda" else os.cpu_count())
    with tempfile.TemporaryDirectory() as temporary:
        recipe = Path(temporary) / "recipe.toml"
        recipe.write_text(RECIPE.format(epochs=args.epochs))
        seconds, weights, dataset = [], [], data.load("digits")
        for workers in (1, jobs):
            out, executor = Path(temporary) / f"zoo{len(weights)}", executors.build("local", jobs=workers)
            start = time.perf_counter()
            train(recipe, out, dataset, Execution(device.type, executor), progress=False)
            seconds.append(time.perf_counter() - start)
            weights.append([(folder / cards.WEIGHTS).read_bytes() for folder in model_folders(out)])
            print(f"{len(weights[-1])} models, {device}, {workers} workers: {seconds[-1]:.1f} s", flush=True)
        equal = sum(a == b for a, b in zip(*weights, strict=True))
        print(f"{jobs} workers {seconds[0] / seconds[1]:.2f} times one; models equal to the byte: {equal}")


def profile(args: argparse.Namespace, device: torch.device) -> None:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with deterministic(0, device):
        fit = fit_of(settled(args.architecture, args.layers, device), images(args.batch, device), args.batch)
        x, labels = fit.samples.x(slice(None)), fit.samples.labels
        fit.step(x, labels)
        with torch.profiler.profile(activities=activities) as profiler:
            for _ in range(args.steps):
                fit.step(x, labels)
    key = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=key, row_limit=15, max_name_column_width=48))
    if device.type == "cuda":
        names = Counter(event.name for event in profiler.events())
        copies = sum(count for name, count in names.items() if name.startswith("Memcpy DtoH"))
        waits = names["cudaStreamSynchronize"]
        print(f"a step: {waits / args.steps:g} times cudaStreamSynchronize, {copies / args.steps:g} copies to the host")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    defaults = {
        steps: {"architectures": "mlp,cnn,vgg,resnet", "batch": 256, "steps": 0, "rounds": 5},
        throughput: {"samples": 5120, "batch": 128, "rounds": 5},
        sweep: {"jobs": 0, "epochs": 40},
        profile: {"architecture": "cnn", "layers": "torchlip", "batch": 256, "steps": 3},
    }
    for function, arguments in defaults.items():
        command_parser = commands.add_parser(function.__name__)
        command_parser.set_defaults(function=function)
        for name, default in {**arguments, "device": "auto"}.items():
            command_parser.add_argument(f"--{name}", type=type(default), default=default)
    args = parser.parse_args()
    args.function(args, resolve_device(args.device))


if __name__ == "__main__":
    main()
