"""The suite `standard`, pruned, against AutoAttack standard alone on all samples: accuracy, evaluations, seconds.

    python benchmarks/pruning.py [--models '*-seed0'] [--samples N] [-o FOLDER] [--jobs 2]

Both see the same network (float64 inside), the same samples, the same eps and the same seed. AutoAttack is called
directly and believed: its robust accuracy is that of the inputs that it returns. What is measured is
kept in FOLDER, by model, suite and samples, so that a killed benchmark goes on; delete it after a change of the code.
Evaluations are exact counts of samples through the network, forward plus backward.
"""

import argparse
import fnmatch
import json
import logging
import multiprocessing
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pyautoattack import AutoAttack

from lipbench import cards, data, evaluation, files, records, suites, zoo
from lipbench.network import Network


def pruned(folder: Path, suite: suites.Suite, dataset: data.Dataset, out: Path, samples: int | None) -> dict:
    """What `lipbench evaluate` finds, and what it costs."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    options = evaluation.Options(samples=samples)
    run_folder = evaluation.evaluate(
        folder, [suite], dataset, out, options=options, device=torch.device("cpu"), progress=False
    )
    seconds = time.perf_counter() - start
    run = run_folder.read()
    certify, info = run_folder.load(run.certify_unit(run.models[0]))
    ledger = records.ledger(certify, suite.norm, info["dimension"], records.grade(certify))
    evaluations = info["forward"]
    for unit in run.attack_units(run.models[0], run.suites[0]):
        found, info = run_folder.load(unit)
        ledger.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())
        evaluations += info["forward"] + info["backward"]
    return {
        "robust": [int((~ledger.broken(eps)).sum()) for eps in suite.eps],
        "certified": [int(ledger.certified(eps).sum()) for eps in suite.eps],
        "violations": int(ledger.violations().sum()),
        "tightness": float(torch.tensor(ledger.tightness()).median()),
        "evaluations": evaluations,
        "seconds": seconds,
    }


def alone(folder: Path, suite: suites.Suite, dataset: data.Dataset, samples: int | None) -> dict:
    """AutoAttack standard on all samples at each eps."""
    model = zoo.load(folder)
    network = Network(model.module, model.card.input_shape)
    split = dataset.test.first(samples)
    x, y = torch.from_numpy(split.x), torch.from_numpy(split.labels)
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    robust, start = [], time.perf_counter()
    for eps in suite.eps:
        attack = AutoAttack(network, norm=suite.norm.value, eps=eps, seed=0, version="standard", device="cpu")
        adversarial, _ = attack.run_standard_evaluation(x, y, batch_size=250)
        with torch.no_grad():
            robust.append(int((network(adversarial).argmax(1) == y).sum()))
    return {
        "robust": robust,
        "evaluations": network.evaluations.total,
        "seconds": time.perf_counter() - start,
    }


def kept(path: Path, compute: Callable[[], dict]) -> dict:
    """A result that is computed once."""
    if not path.exists():
        files.write_json(path, compute())
    return json.loads(path.read_text())


def measure(job: tuple[Path, str, Path, int | None]) -> dict:
    """Both, for one model."""
    folder, suite_name, out, samples = job
    torch.set_num_threads(1)
    suite, dataset = suites.load(suite_name), data.load(cards.read(folder).data)
    key = files.sha256_json({"model": zoo.load(folder).digest, "suite": suite.plain(), "samples": samples})[:8]
    name = f"{folder.name}-{key}"
    theirs = kept(out / f"alone-{name}.json", lambda: alone(folder, suite, dataset, samples))
    ours = kept(out / f"pruned-{name}.json", lambda: pruned(folder, suite, dataset, out / "runs" / name, samples))
    return {"model": folder.name, "pruned": ours, "alone": theirs}


def line(result: dict) -> str:
    """One row: robust samples at each eps (AutoAttack's in brackets where they differ), ratios."""
    ours, theirs = result["pruned"], result["alone"]
    robust = "  ".join(
        f"{a:3d}" + (f"({b:3d})" if a != b else "     ") for a, b in zip(ours["robust"], theirs["robust"], strict=True)
    )
    return (
        f"{result['model']:<52} {robust}  {theirs['evaluations'] / ours['evaluations']:6.1f}x "
        f"{theirs['seconds'] / ours['seconds']:6.1f}x  {ours['evaluations']:>10,} {theirs['evaluations']:>12,} "
        f"{ours['seconds']:7.1f} {theirs['seconds']:8.1f}  {ours['tightness']:.3f}  {ours['violations']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", default="digits")
    parser.add_argument("--models", default="*-seed0")
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--samples", type=int)
    parser.add_argument("-o", "--out", type=Path, default=Path("build/pruning"))
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    folders = [f for f in cards.model_folders(cards.find_zoo(args.zoo)) if fnmatch.fnmatch(f.name, args.models)]
    folders.sort(key=lambda folder: cards.read(folder).architecture.name != "mlp")  # the dear ones last
    jobs = [(folder, args.suite, args.out, args.samples) for folder in folders]
    print(f"{'model':<52} robust samples at each eps (alone)  evaluations, seconds: alone / pruned; the four numbers;")
    print(f"{'':<52} median tightness; violations")
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.jobs) as pool:
        results = []
        for result in pool.imap(measure, jobs):
            print(line(result), flush=True)
            results.append(result)
    worst = max(a - b for r in results for a, b in zip(r["pruned"]["robust"], r["alone"]["robust"], strict=True))
    total = {
        key: [sum(r[who][key] for r in results) for who in ("alone", "pruned")] for key in ("evaluations", "seconds")
    }
    print(f"\n{len(results)} models: robust samples at most {worst} above AutoAttack's at any eps")
    for key, (theirs, ours) in total.items():
        print(f"{key}: alone {theirs:,.0f}, pruned {ours:,.0f}, ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
