"""Where models come from."""

import pickle
from pathlib import Path

import pytest
import torch
from bundled import CNN, TAU4
from torch import nn

from lipbench.errors import LipbenchError
from lipbench.models.model import Model
from lipbench.models.sources import GivenSource, StoredSource, chosen, data_of, module_of, origin_of, sources_of


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def names(models, digits):
    return [source.card.name for source in sources_of(chosen(models), digits)]


def test_folders_zoos_and_networks_may_be_mixed(zoo_of, digits):
    zoo = zoo_of(TAU4, CNN)
    module = net()
    assert names(zoo, digits) == sorted([TAU4, CNN])
    assert names([zoo / CNN, module, Model(module, name="mine")], digits) == [CNN, "Sequential", "mine"]
    assert names({"a": module, "b": module}, digits) == ["a", "b"]
    assert names([net(), net(), net()], digits) == ["Sequential", "Sequential-2", "Sequential-3"]
    assert names(iter([net()]), digits) == ["Sequential"]


def test_names_of_the_callers_own_are_kept(digits):
    twice = [Model(net(), name="mine"), Model(net(), name="mine")]
    assert names(twice, digits) == ["mine", "mine"]  # which an evaluation refuses


@pytest.mark.parametrize(
    ("wrong", "says"), [([], "which model"), (3, "a zoo or model is a torch.nn.Module"), ([None], "a zoo or model is")]
)
def test_what_is_no_model_is_refused(wrong, says):
    with pytest.raises(LipbenchError, match=says):
        chosen(wrong)


def test_data_come_from_cards(zoo_of):
    zoo = zoo_of(TAU4)
    assert data_of([zoo]) == data_of([zoo, Model(net())]) == "digits"
    with pytest.raises(LipbenchError, match=r"which data\? a network of your own has no card.*--data"):
        data_of([Model(net())])


def test_sources_travel_to_other_processes(zoo_of, digits):
    module = net()
    given = GivenSource.of(Model(module), torch.from_numpy(digits.test.first(2).x))
    stored = StoredSource(zoo_of(TAU4) / TAU4)
    for source in (given, stored):
        again = pickle.loads(pickle.dumps(source))
        assert again.load().digest == source.load().digest
    assert pickle.loads(pickle.dumps(stored)) == stored
    assert given != stored


def test_what_is_prepared_from_a_network_in_memory_serves_no_other_one(digits):
    module, x = net(), torch.from_numpy(digits.test.first(2).x)
    assert GivenSource.of(Model(module), x) != GivenSource.of(Model(module), x)


def test_a_folder_or_a_model_as_a_module(zoo_of):
    module = net()
    assert module_of(Model(module, claimed=2.0), (1, 8, 8)) == (module, 2.0)
    loaded, claimed = module_of(zoo_of(TAU4) / TAU4, (1, 8, 8))
    assert claimed == pytest.approx(1.0)
    assert loaded(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_the_origin_in_words():
    assert origin_of([Path("runs/mnist/zoo"), Path("digits"), Model(net())]) == "mnist, digits, given"
