"""Model cards, written and read."""

from lipbench.models import cards
from lipbench.models.zoo import model_folders


def test_cards_survive_writing_and_reading(tmp_path, digits_zoo):
    card = cards.read(model_folders(digits_zoo)[0])
    cards.write(tmp_path, card)
    assert cards.read(tmp_path) == card
