"""The public surface, name by name: whoever renames a part of it changes a table here as well, on purpose."""

import inspect
from importlib.metadata import entry_points

import click
import pytest

import lipbench
from lipbench import registry
from lipbench.cli.commands import cli

# Callables of the package: their parameters; those behind the star are keywords only.
CALLABLES = {
    "certify": "module x labels * norm claimed device arithmetic",
    "evaluate": "zoo suite * eps data_set data_dir out title samples seeds audit prune strength shard arithmetic "
    "device threads executor jobs address gpus_per_task progress",
    "lipschitz_bound": "module input_shape",
    "verify": "model_or_zoo * data_set data_dir out samples radii seed arithmetic device threads progress",
}
OTHER_NAMES = {"__version__"}

# Commands: their arguments, and their options in alphabetical order.
ARGUMENTS = {
    "evaluate": "zoo",
    "list": "what zoo",
    "report": "run",
    "status": "run",
    "train": "recipe",
    "verify": "model_or_zoo",
}
OPTIONS = {
    "evaluate": "--address --arithmetic --audit --check-strength --data --data-dir --device --eps --executor "
    "--gpus-per-task --jobs --no-prune --out --quiet --samples --seed --shard --suite --threads --title -o -q",
    "list": "",
    "report": "--check --out -o",
    "status": "",
    "train": "--address --data --data-dir --device --executor --gpus-per-task --jobs --out --quiet -o -q",
    "verify": "--arithmetic --data --data-dir --device --json --out --quiet --radii --replay --samples --seed "
    "--threads -o -q",
}
LISTS = "models recipes suites attacks losses architectures datasets checks"  # `lipbench list WHAT`

# Where plugins register what they add, and what is registered there without them.
ENTRY_POINTS = {
    "lipbench.architectures": "cnn mlp resnet vgg",
    "lipbench.backends": "art autoattack gradient",
    "lipbench.datasets": "cifar10 cifar100 digits folder mnist npz",
    "lipbench.losses": "categorical_hinge certificate_regularized_cross_entropy cross_entropy hinge_binary "
    "hinge_multiclass hkr_binary hkr_multiclass kr_binary kr_multiclass lse_hkr_multiclass mcr offset_cross_entropy "
    "soft_hkr_multiclass tau_binary_cross_entropy tau_cross_entropy",
}


def parameters(function) -> str:
    names: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        names.append(name)
    return " ".join(names)


def test_the_package_has_these_names_and_no_others():
    assert set(lipbench.__all__) == CALLABLES.keys() | OTHER_NAMES
    assert len(lipbench.__all__) == len(set(lipbench.__all__))


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_a_callable_takes_these_parameters(name):
    assert parameters(getattr(lipbench, name)) == CALLABLES[name]


def test_the_command_has_these_subcommands():
    assert sorted(cli.commands) == sorted(ARGUMENTS) == sorted(OPTIONS)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_subcommand_takes_these_arguments_and_options(name):
    command = cli.commands[name]
    arguments = [parameter.name for parameter in command.params if isinstance(parameter, click.Argument)]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert " ".join(arguments) == ARGUMENTS[name]
    assert " ".join(sorted(spelt for each in options for spelt in (*each.opts, *each.secondary_opts))) == OPTIONS[name]


def test_list_knows_these_kinds():
    what = next(parameter for parameter in cli.commands["list"].params if parameter.name == "what")
    assert " ".join(what.type.choices) == LISTS


def test_registries_have_these_groups_and_names():
    held = {each.group: each for each in vars(registry).values() if isinstance(each, registry.Registry)}
    assert held.keys() == ENTRY_POINTS.keys()
    for group, names in ENTRY_POINTS.items():
        plugins = {point.name for point in entry_points(group=group)}
        assert set(held[group].names()) == {*names.split(), *plugins}, group
