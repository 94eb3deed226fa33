"""The public surface, name by name: to rename a part of it is to change a table here as well, on purpose."""

import inspect
from importlib.metadata import entry_points

import click
import pytest

import lipbench
from lipbench import errors, testing
from lipbench._internal import registry
from lipbench.attacks.base import Attack
from lipbench.cli.commands import cli
from lipbench.data import given
from lipbench.data.sets import npz
from lipbench.errors import LipbenchError

# Callables of the package: their parameters; those behind the star are keywords only.
CALLABLES = {
    "add": "zoo * data factory architecture graph weights args form name loss hyperparameters claimed constrained "
    "data_dir num_classes",
    "certify": "model x labels * norm claimed trust device dtype",
    "compare": "run other * models settings eps csv",
    "evaluate": "models suite * eps data data_dir num_classes trust out title samples seeds audit prune "
    "reference_attack shard dtype device threads executor jobs address gpus_per_task progress show_eps",
    "export": "run * samples summary witnesses force",
    "lipschitz_bound": "module input_shape",
    "list": "what name",
    "load": "run",
    "replay": "witness model * trust device threads",
    "reproduce": "names out * scale data_dir device jobs progress done",
    "report": "run out * check columns eps family metric",
    "save": "model folder * data data_dir inputs input_shape num_classes form factory args",
    "rule": "targets * may_return_its_input",
    "train": "recipe out * data data_dir executor jobs address gpus_per_task device progress",
    "verify": "models * data data_dir num_classes trust out samples radii seed dtype device threads progress done",
}
OTHER_NAMES = {"__version__", "Comparison", "LipbenchError", "Model", "Results", "Suite", "VerificationResult"}

# Errors and warnings that a user may catch, of ``lipbench.errors``.
ERRORS = {
    "AttackError": LipbenchError,
    "CannotWriteError": LipbenchError,
    "ChangedDataError": LipbenchError,
    "LeftOutWarning": UserWarning,
    "LipbenchError": Exception,
    "MissingDataError": LipbenchError,
    "NetworkError": LipbenchError,
    "UnsupportedError": LipbenchError,
}

# The checks of lipbench.testing: their parameters.
TESTING = {
    "check_architecture": "architecture args * layers input_shape num_classes claimed twin",
    "check_attack": "attack args * samples finds",
    "check_dataset": "spec data_dir * shared",
    "check_executor": "executor * jobs",
    "check_layers": "layers * claimed",
    "check_loss": "loss hyperparameters * refused num_classes largest_gradient slopes",
    "check_optimizer": "optimizer args * learning_rate",
    "check_rule": "make input_shape * instances tight",
}

# Commands: their arguments, and their options in alphabetical order.
ARGUMENTS = {
    "add": "zoo",
    "compare": "run other",
    "evaluate": "models",
    "export": "run",
    "list": "what name",
    "report": "run",
    "reproduce": "names",
    "status": "run",
    "train": "recipe",
    "verify": "models",
}
OPTIONS = {
    "add": "--architecture --arg --claimed --constrained --data --data-dir --factory --form --graph --hyperparameter "
    "--loss --name --num-classes --unconstrained --weights",
    "compare": "--csv --eps --model --setting",
    "evaluate": "--address --audit --data --data-dir --device --dtype --eps --executor --gpus-per-task --jobs "
    "--no-prune --num-classes --out --progress --prune --quiet --reference-attack --samples --seed --shard --show-eps "
    "--suite --threads --title --trust -o -q",
    "export": "--force --samples --summary --witnesses",
    "list": "",
    "report": "--check --columns --eps --family --metric --out -o",
    "reproduce": "--data-dir --device --jobs --list --out --progress --quiet --scale -o -q",
    "status": "",
    "train": "--address --data --data-dir --device --executor --gpus-per-task --jobs --out --progress --quiet -o -q",
    "verify": "--data --data-dir --device --dtype --json --num-classes --out --progress --quiet --radii --replay "
    "--samples --seed --threads --trust -o -q",
}
ONLY_PRINTED = {"as_json", "listed"}  # how a command prints what the function returns, or that it only lists
OF_REPLAY = {"replay"}  # `lipbench verify --replay` is the function ``replay``
# `lipbench list WHAT`
LISTS = "models recipes suites attacks losses architectures layers datasets rules optimizers executors checks"

# What an attack declares, and the keys of samples in a dictionary or an archive.
ATTACK = "exact max_classes min_classes minimal_norm name norms per_sample_eps ranks summary"
DATA_KEYS = "x_test y_test x_train y_train num_classes"
ARCHIVE_KEYS = f"{DATA_KEYS} input_shape targets_train"

# Where plugins register what they add, and what is registered there without them.
ENTRY_POINTS = {
    "lipbench.architectures": "cnn mlp resnet vgg",
    "lipbench.attacks": "adv_lib/alma adv_lib/apgd adv_lib/apgd_targeted adv_lib/ddn adv_lib/fmn adv_lib/pdgd "
    "adv_lib/pdpgd adv_lib/sdf art/auto_pgd art/deepfool art/fgm art/pgd art/square "
    "autoattack/apgd-ce autoattack/apgd-dlr autoattack/apgd-t autoattack/fab-t autoattack/square "
    "autoattack/standard foolbox/brendel_bethge foolbox/ddn foolbox/deepfool foolbox/fmn "
    "foolbox/pgd_adam gradient/bisection gradient/pgd",
    "lipbench.datasets": "cifar10 cifar100 digits folder mnist npz",
    "lipbench.executors": "local ray",
    "lipbench.layers": "fullsort groupsort8 orthogonium torchlip",
    "lipbench.losses": "categorical_hinge certificate_regularized_cross_entropy cross_entropy hinge_binary "
    "hinge_multiclass hkr_binary hkr_multiclass kr_binary kr_multiclass lse_hkr_multiclass mcr offset_cross_entropy "
    "soft_hkr_multiclass tau_binary_cross_entropy tau_cross_entropy",
    "lipbench.optimizers": "adam sgd",
    "lipbench.rules": "activations convolutions dense functions normalization padding pools residual transposed",
}


def parameters(function) -> str:
    names: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        names.append(name)
    return " ".join(names)


def test_the_package_has_these_names_and_no_others():
    assert {*lipbench.__all__, "list"} == CALLABLES.keys() | OTHER_NAMES  # `import *` leaves Python's own list
    assert len(lipbench.__all__) == len(set(lipbench.__all__))


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_a_callable_takes_these_parameters(name):
    assert parameters(getattr(lipbench, name)) == CALLABLES[name]


def test_errors_have_these_names_and_bases():
    found = {kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__}
    assert {kind.__name__: kind.__base__ for kind in found} == ERRORS


def test_the_checks_for_authors_take_these_parameters():
    assert sorted(testing.__all__) == sorted(TESTING)
    for name, expected in TESTING.items():
        check = getattr(testing, name)
        assert parameters(check) == expected
        assert all(parameter in inspect.getdoc(check) for parameter in inspect.signature(check).parameters), name
    with pytest.raises(AttributeError):
        testing.check_nothing  # noqa: B018


def test_the_command_has_these_subcommands():
    assert sorted(cli.commands) == sorted(ARGUMENTS) == sorted(OPTIONS)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_subcommand_takes_these_arguments_and_options(name):
    command = cli.commands[name]
    arguments = [parameter.name for parameter in command.params if isinstance(parameter, click.Argument)]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert " ".join(arguments) == ARGUMENTS[name]
    assert " ".join(sorted(spelt for each in options for spelt in (*each.opts, *each.secondary_opts))) == OPTIONS[name]


@pytest.mark.parametrize(
    "name", ["add", "compare", "evaluate", "export", "list", "report", "reproduce", "train", "verify"]
)
def test_every_option_of_a_command_is_a_keyword_of_the_function_under_its_own_name(name):
    options = {parameter.name for parameter in cli.commands[name].params}
    assert options - ONLY_PRINTED - OF_REPLAY <= set(inspect.signature(getattr(lipbench, name)).parameters)


def test_dir_shows_the_interface():
    assert set(dir(lipbench)) == CALLABLES.keys() | OTHER_NAMES


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_each_parameter_is_described(name):
    """In the docstring of the function, or of the class that its parameters are fields of."""
    described = inspect.getdoc(getattr(lipbench, name)) or inspect.getdoc(lipbench.report.report_run)
    for parameter in inspect.signature(getattr(lipbench, name)).parameters:
        assert parameter in described, parameter


def test_list_knows_these_kinds():
    what = next(parameter for parameter in cli.commands["list"].params if parameter.name == "what")
    assert " ".join(what.type.choices) == LISTS


def test_an_attack_declares_these():
    held = {name for name in {*vars(Attack), *Attack.__annotations__} if not name.startswith("_")}
    assert held - {"defaults", "obstacle", "parameters", "run"} == set(ATTACK.split())


def test_samples_have_these_keys():
    assert " ".join(given.KEYS) == DATA_KEYS
    assert f"{DATA_KEYS} {npz.INPUT_SHAPE} {npz.TARGETS}" == ARCHIVE_KEYS


def test_registries_have_these_groups_and_names():
    held = {each.group: each for each in vars(registry).values() if isinstance(each, registry.Registry)}
    assert held.keys() == ENTRY_POINTS.keys()
    for group, names in ENTRY_POINTS.items():
        plugins = {point.name for point in entry_points(group=group)}
        assert set(held[group].names()) == {*names.split(), *plugins}, group


# The module for ART, and what its classes take.
ESTIMATOR = {
    "LipschitzClassifier": "model input_shape * claimed dtype device_type",
    "BisectionAttack": "estimator norm rounds steps targets batch_size",
}


def test_the_module_for_art_has_these_classes():
    from lipbench import estimator

    assert {*ESTIMATOR, "LipschitzCertificateMixin"} == {*estimator.__all__}
    for name, expected in ESTIMATOR.items():
        assert parameters(getattr(estimator, name)) == expected
    assert parameters(estimator.LipschitzClassifier.certify) == "self x norm grade"
