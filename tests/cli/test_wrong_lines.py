"""Wrong command lines, as users type them: one line on stderr with the right hint, status 2, nothing left on disk."""

import re

import pytest
from bundled import TAU4

from lipbench import cli

LONG = "x" * 5000
LINES = {  # command line: what its one line must say
    # options that belong elsewhere, or have another name
    "evaluate --norm Linf": "the norm belongs to the suite: --suite quick-linf",
    "evaluate --epsilon 0.1": "no option --epsilon: write --eps",
    "evaluate --attack pgd": "attacks and their arguments belong to a suite.*lipbench list suites",
    "evaluate --steps 20": "belong to a suite",
    "evaluate --model digits": "models are the first argument",
    "evaluate --batch-size 64": "--shard is the number of samples in one task",
    "evaluate --epochs 3": "nothing is trained here: see `lipbench train`",
    "evaluate --gpu": "write --device cuda",
    "evaluate --workers 4": "write --jobs",
    "evaluate --output run": "write --out",
    "evaluate --dataset digits": "write --data",
    "evaluate --num-samples 5": "write --samples",
    "evaluate --seeds 3": "did you mean --seed",
    "evaluate --sample 3": "did you mean --samples",
    "evaluate --radii r.csv": "`lipbench verify` has it",
    "verify digits --eps 0.1": "inside its own certified radius",
    "verify digits --suite quick": "inside its own certified radius",
    "verify --model digits": "first argument",
    "verify digits --jobs 4": "one process",
    "verify digits --radi r.csv": "did you mean --radii",
    "train mnist -o zoo --epochs 3": "belongs to the recipe.*lipbench list recipes",
    "train mnist -o zoo --lr 0.1": "belongs to the recipe",
    "train mnist -o zoo --batch-size 5": "belongs to the recipe",
    "train mnist -o zoo --threads 4": "trained with one thread.*--jobs",
    "train mnist -o zoo --resume": "rerun the same command to resume",
    "report run --output x": "write --out",
    "reproduce": "which experiment\\? give all",
    "reproduce two-moon": "did you mean 'two-moons'",
    "reproduce two-moons all": "unknown experiment 'all'",
    "reproduce two-moons two-moons": "is there twice",
    "reproduce two-moons --scale large": "unknown scale 'large': known are paper, small",
    "reproduce two-moons --epochs 3": "each scale fixes all numbers: write --scale",
    "reproduce two-moons --workers 3": "write --jobs",
    "reproduce two-moons --device gpu": "unknown device 'gpu'",
    "reproduce --name two-moons": "experiments are the first argument",
    "export run --out x.csv": "--samples FILE, --summary FILE, --witnesses FILE",
    "verify digits --num-workers 4": "one process",
    "train mnist -o zoo --num-samples 4": "takes all samples of the data set",
    "--suite quick": "`lipbench` has no option --suite: `lipbench evaluate` has it",
    "--verison": "did you mean --version",
    # commands
    "eval": "unknown command 'eval': use lipbench evaluate",
    "attack digits": "use lipbench evaluate ZOO --suite NAME",
    "certify digits": "lipbench.certify is a function of Python",
    "verfy digits": "did you mean 'verify'",
    f"{LONG} digits": "unknown command",
    # missing and surplus arguments
    "train": "Missing argument 'RECIPE': see `lipbench train --help`",
    "train mnist": "Missing option .*--out",
    "verify": "which model",
    "evaluate digits nothing": "no zoo or model at nothing",
    "evaluate digits digits": "is there twice; names must differ within a run",
    "evaluate digits --num-classes 9": "the data set 'digits' has 10 classes, not 9",
    "evaluate --trust": "requires an argument",
    "add": "Missing argument 'ZOO'",
    "add zoo": "which data was the network trained for",
    "add zoo --weigths w.pt": "did you mean --weights",
    "add zoo --factory nopackage.x:build --data digits": "install the package nopackage, or put the folder",
    "add zoo --architecture mlp --weights none.safetensors --data digits": "no weights at none.safetensors",
    "add zoo --architecture mlp --arg width --weights w.pt --data digits": "--arg takes KEY=VALUE, got 'width'",
    "add zoo --architecture mlp --weights w --data digits --hyperparameter tau=x": "tau must be a number, got 'x'",
    # names
    "evaluate digit": "the zoos that have a name are digits.*did you mean digits",
    f"evaluate {TAU4}9": f"did you mean {TAU4[:-1]}",
    f"evaluate digits/{TAU4}9": "no model .* in digits: did you mean digits/mlp-tau_cross_entropy-tau4-seed",
    "evaluate --suite quik": "unknown suite 'quik': did you mean 'quick'",
    f"evaluate --suite {LONG}": "a suite must be a path, no longer than file systems take, got 'xxx",
    f"evaluate {LONG}": "must be a path",
    "train mnits -o zoo": "unknown recipe 'mnits': did you mean 'mnist'",
    "list attacks gradient/bisect": "did you mean 'gradient/bisection'",
    "list models digitz": "did you mean digits",
    "evaluate --data digts": "did you mean 'digits'",
    "evaluate --reference-attack apgd": "unknown reference_attack 'apgd': known are autoattack",
    # values
    "evaluate --eps 9": "eps 9 is larger than the L2 distance of any two inputs, 8: .* divide by 255: 9/255",
    "evaluate --suite quick-linf --eps 8": "eps 8 is larger than the Linf distance .* 8/255",
    "evaluate --eps 8/0": "eps must be a number, or text such as '36/255', got '8/0'",
    "evaluate --eps 0.1;0.2": "eps must be a number",
    "evaluate --show-eps 8/255": "the run has no eps 8/255; it has 0.1, 0.2, 0.3, 0.4, 0.5",
    "evaluate --device gpu": r"unknown device 'gpu': expected auto, cpu or cuda, or a GPU by its number \(here: ",
    "evaluate --device mps": "has no float64",
    "evaluate --device cuda:99": "device 'cuda:99' was asked for, but torch finds",
    "evaluate --executor ray --device cuda:0": "Ray chooses GPUs",
    "evaluate --samples ten": "'ten' is not a valid int",
    f"evaluate --jobs {LONG}": "not a valid int",
    "evaluate --samples 1e3": "'1e3' is not a valid int",
    "export nowhere --samples a.csv": "no run at nowhere/run.json",
    "export nowhere": "export what",
    "export nowhere --samples a.xlsx": "ends in .parquet or .csv, got a.xlsx",
    "compare": "Missing argument 'RUN': see `lipbench compare --help`",
    "compare a": "one run needs two names of its models or settings .--model A --model B., got 0; or give a second run",
    "compare a --model x": "one run needs two names .*got 1",
    "compare a b --model x --model y --setting z": "two names of models or settings can be compared, got 3",
    "compare a b c": "Got unexpected extra argument .c.",
    "compare a b --out x.csv": "no option --out: write --csv FILE; a page of several runs: `lipbench report RUN RUN -o",
    "compare a b --epsilon 0.1": "write --eps",
    "compare a b --eps lots": "eps must be a number, or text such as '36/255', got 'lots'",
    "compare a b --csv x.txt": "csv must be a file that ends in .csv, got x.txt",
    "compare a b": "no run at a/run.json",
    f"compare {LONG} b": "must be a path, no longer than file systems take",
    "compare a --mdoel x": "did you mean --model",
    "report": "Missing argument 'RUN...'",
    "report a b": "a report of several runs needs a folder of its own: name it with -o",
    "report a b -o out": "no run at a/run.json",
    "diff a b": "use lipbench compare",
    "verify --replay nowhere.safetensors": "no witness .* at nowhere.json",
}


def test_there_are_enough_of_them():
    assert len(LINES) >= 54


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:60])
def test_a_wrong_command_line(line, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    status = cli.run(line.split())
    captured = capfd.readouterr()
    assert status == 2, captured.err
    assert captured.err.startswith("lipbench: ")
    assert captured.err.count("\n") == 1, captured.err
    assert re.search(LINES[line], captured.err), captured.err
    assert max(map(len, captured.err.split())) <= 202
    assert captured.out == ""
    assert not list(tmp_path.iterdir())
