"""Zoos: folders of models, and the bundled one."""

import pytest

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
