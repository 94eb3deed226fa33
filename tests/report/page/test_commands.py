import shlex
from dataclasses import replace

import pytest

from lipbench.report.page import commands


@pytest.fixture
def run(make_run, make_model):
    return make_run(make_model(correct=[1, 0], real=[0.3, 0], distance=[0.5, 0])).evaluated()


def words(run, **settings):
    provenance = {key: settings.pop(key) for key in ("zoo",) if key in settings}
    changed = replace(run, settings=run.settings | settings, provenance=run.provenance | provenance)
    return shlex.split(commands.evaluate(changed, changed.suites[0], "model"))


def option(given, name):
    return given[given.index(name) + 1]


def test_it_names_model_suite_samples_and_eps(run):
    given = words(run, audit=0.01)
    assert given[:3] == ["lipbench", "evaluate", "zoo/model"]
    assert option(given, "--suite") == "quick"
    assert option(given, "--data") == "digits"
    assert option(given, "--samples") == "2"
    assert option(given, "--eps") == "0.1,0.2,0.4"
    assert option(given, "--seed") == "7"  # that of the run, which is not the usual one
    assert not {"--audit", "--dtype", "--no-prune", "--shard"} & {*given}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"dtype": "float32"}, ["--dtype", "float32"]),
        ({"audit": 0.05}, ["--audit", "0.05"]),
        ({"prune": False}, ["--no-prune"]),
        ({"shard": 10}, ["--shard", "10"]),
    ],
)
def test_it_says_what_is_not_usual(run, setting, said):
    text = shlex.join(words(run, **({"audit": 0.01} | setting)))
    assert shlex.join(said) in text


def test_names_of_files_stay_one_word(run):
    assert words(run, zoo="my zoo; rm -rf", data="npz:a b.npz")[2] == "my zoo; rm -rf/model"


def test_a_zoo_of_one_model_is_that_model(run):
    assert words(run, zoo="model")[2] == "model"


@pytest.mark.parametrize("settings", [{"data": "given"}, {"zoo": "digits, given"}, {"zoo": ""}])
def test_there_is_none_for_what_was_in_memory(run, settings):
    assert words(run, **settings) == []


def test_the_command_is_one_that_lipbench_takes(run):
    from lipbench.cli.evaluate import command

    given = words(run)
    context = command.make_context("evaluate", given[2:])
    assert context.params["models"] == ("zoo/model",)
    assert context.params["samples"] == 2
    assert context.params["seeds"] == (7,)
