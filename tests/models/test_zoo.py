"""Zoos: folders of models, and the bundled one."""

from pathlib import Path

import pytest
from bundled import TAU4

from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.models.zoo import find_zoo, model_folders


def test_the_bundled_zoo(digits_zoo):
    """Every model has a card and weights; at least 12 settings over 4 families, the twins, 3 seeds each."""
    found = [cards.read(folder) for folder in model_folders(digits_zoo)]
    seeds: dict[str, set[int]] = {}
    for card in found:
        assert (digits_zoo / card.name / cards.WEIGHTS).is_file()
        seeds.setdefault(card.name.rsplit("-", 1)[0], set()).add(card.seed)
    assert all(len(values) == 3 for values in seeds.values())
    constrained = [name for name in seeds if "unconstrained" not in name]
    assert len(constrained) >= 12
    families = {card.family for card in found}
    assert families >= {"tau_cross_entropy", "hkr_multiclass", "hinge_multiclass", "kr_multiclass"}
    assert families >= {"unconstrained", "adversarial training"}
    assert sum(path.stat().st_size for path in digits_zoo.rglob("*") if path.is_file()) < 8e6


def test_a_file_is_no_zoo(tmp_path):
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(LipbenchError, match="it is a file; give the folder that holds it"):
        find_zoo(str(tmp_path / "recipe.toml"))


def test_models_of_the_bundled_zoo_have_names(digits_zoo, tmp_path, monkeypatch):
    assert find_zoo("digits") == digits_zoo
    assert find_zoo(f"digits/{TAU4}") == find_zoo(TAU4) == digits_zoo / TAU4
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits" / TAU4).mkdir(parents=True)  # a folder of that path comes first
    assert find_zoo("digits") == Path("digits")
    assert find_zoo(f"digits/{TAU4}") == Path("digits") / TAU4
    assert find_zoo(TAU4) == digits_zoo / TAU4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("digit", "the zoos that have a name are digits.*did you mean digits"),
        (f"{TAU4}1", "did you mean mlp-tau_cross_entropy-tau4-seed[012].$"),
        ("digits/mlp-tau", r"no model 'mlp-tau' in digits: .*`lipbench list models digits` lists them"),
        ("digits/../x", "the folder does not exist"),
        ("elsewhere/zoo", "the folder does not exist$"),
    ],
)
def test_a_name_that_is_not_known_has_the_closest_one(name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LipbenchError, match=said):
        model_folders(find_zoo(name))


def test_a_model_of_a_zoo_of_ones_own_has_the_closest_one(zoo_of):
    zoo = zoo_of(TAU4)
    with pytest.raises(LipbenchError, match=rf"did you mean {zoo / TAU4}.$"):
        model_folders(zoo / f"{TAU4}9")
    with pytest.raises(LipbenchError, match=rf"did you mean {zoo}.$"):
        model_folders(zoo.with_name("zo"))
