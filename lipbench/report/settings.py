"""The setting of a model, read off its card.

A setting is everything on a model's card but its name, its seed and its weights. It excludes the claim, which is read
off the weights, and the versions of the libraries that trained the model: a sweep that is resumed after an update is
still one sweep. It includes which libraries these were. Two models of a setting whose weights are equal are one model.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lipbench._internal import files
from lipbench.models.cards import Card
from lipbench.report import columns, notation
from lipbench.runs.results import ModelResults

NOT_SETTING = ("name", "seed", "weights_sha256", "graph_sha256", "module_sha256", "claimed")  # fields of a card
IMPLIED = ("card.loss", "card.versions", "architecture.")  # family and architecture mostly imply these


@dataclass(frozen=True)
class Setting:
    """What a card says of how its model was made."""

    digest: str  # equal where all of it is
    further: dict[str, Any]  # all but the loss's numbers, by column

    @classmethod
    def of(cls, card: Card) -> "Setting":
        """The setting of the model that a card describes."""
        content = {key: value for key, value in card.plain().items() if key not in NOT_SETTING}
        content["versions"] = sorted(card.versions)
        loss = content["loss"]
        further = {"card.loss": loss["name"], "card.loss_label": loss.get("label", "")}
        tables = {column.name for column in columns.FURTHER}
        for key, value in content.items():
            if f"{key}." in tables:
                further |= _flat(f"{key}.", value)
            elif key != "loss":
                further[f"card.{key}"] = value
        return cls(_digest(content), further)


def cells(items: Sequence[ModelResults]) -> dict[str, dict[str, Any]]:
    """The setting of each model as cells, by column: those of ``columns.OF_SETTINGS``."""
    cards, architectures = {item.model: item.card for item in items}, _architectures(items)
    families = [card.loss.name for card in cards.values()]
    hyperparameters = notation.ordered({key for card in cards.values() for key in card.loss.hyperparameters}, families)
    adversarial = sorted({key for card in cards.values() for key in card.loss.adversarial})
    nothing, settings, found = float("nan"), {}, {}
    for model, card in cards.items():
        loss, settings[model] = card.loss, Setting.of(card)
        found[model] = {
            columns.SETTING.name: settings[model].digest,
            columns.FAMILY.name: card.family,
            columns.ARCHITECTURE.name: architectures[model],
            columns.CONSTRAINED.name: card.architecture.constrained,
            **{
                f"{columns.HYPERPARAMETERS.name}{key}": loss.hyperparameters.get(key, nothing)
                for key in hyperparameters
            },
            columns.ADVERSARIAL.name: bool(loss.adversarial),
            **{
                f"{columns.ADVERSARIAL_ARGUMENTS.name}{key}": _plain(loss.adversarial.get(key, nothing))
                for key in adversarial
            },
        }
    for name in dict.fromkeys(name for setting in settings.values() for name in setting.further):
        values = {model: setting.further.get(name, nothing) for model, setting in settings.items()}
        if _differs(name, values, found):
            for model, row in found.items():
                row[name] = _plain(values[model])
    return found


def _differs(name: str, values: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether models differ in the values of a column; of those that family and architecture imply, beyond these."""
    implied_by = [column.name for column in (columns.FAMILY, columns.ARCHITECTURE, columns.CONSTRAINED)]
    different: dict[Any, set[str]] = {}
    for model, cell in found.items():
        alike = [cell[key] for key in implied_by] if name.startswith(IMPLIED) else []
        different.setdefault(tuple(alike), set()).add(_text(values[model]))
    return any(len(texts) > 1 for texts in different.values())


def _architectures(items: Sequence[ModelResults]) -> dict[str, str]:
    """Model to architecture: its label, or its name, with layers and arguments if models of the run differ in them."""
    arguments: dict[str, dict[str, Any]] = {}
    for item in items:
        architecture = item.card.architecture
        layers = {"layers": architecture.layers} if architecture.constrained else {}
        arguments[item.model] = {**layers, **architecture.args}
        arguments[item.model].pop("outputs", None)  # goes with the loss
    by_name: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        by_name.setdefault(item.card.architecture.name, []).append(arguments[item.model])
    differing = {name: _differing(found) for name, found in by_name.items()}
    named = {}
    for item in items:
        name, called = item.card.architecture.name, item.card.architecture.label
        shown = ", ".join(f"{key}={value}" for key, value in arguments[item.model].items() if key in differing[name])
        named[item.model] = called or (f"{name}({shown})" if shown else name)
    return named


def _differing(arguments: Sequence[Mapping[str, Any]]) -> set[str]:
    """The arguments in which models of one architecture differ; in layers, those that have any."""
    found = set()
    for key in {key for each in arguments for key in each}:
        values = [each.get(key) for each in arguments if key != "layers" or key in each]
        if any(value != values[0] for value in values):
            found.add(key)
    return found


def copies(items: Sequence[ModelResults]) -> dict[str, str]:
    """The first model of the run that has the same weights, for each that is not the first.

    Weights are the same if their files are, or if setting and answers are: weights that are stored anew make another
    file.
    """
    first: dict[tuple[str, ...], str] = {}
    originals: dict[str, str] = {}
    for item in items:
        keys: list[tuple[str, ...]] = [(item.card.weights_sha256,)]
        if item.answers is not None:
            keys.append((Setting.of(item.card).digest, item.answers))
        originals.setdefault(item.model, next((first[key] for key in keys if key in first), item.model))
        for key in keys:
            first.setdefault(key, originals[item.model])
    return {model: original for model, original in originals.items() if original != model}


def distinct(summary: pd.DataFrame) -> pd.DataFrame:
    """Without the models whose weights another one of their setting has."""
    original = summary[columns.COPY_OF.name]
    weights = original.where(original != "", summary[columns.MODEL.name])
    once = summary.assign(**{columns.COPY_OF.name: weights})
    return summary[~once.duplicated([columns.SETTING.name, columns.COPY_OF.name, *columns.GROUP, columns.EPS.name])]


def _plain(value: Any) -> Any:
    """A value of a card as a cell: what is neither a number nor text becomes JSON."""
    plain = _canonical(value)
    return plain if isinstance(plain, bool | int | float | str) else json.dumps(plain)


def _canonical(value: Any) -> Any:
    """The same for equal values: 1 and 1.0 are, 1 and True are not."""
    if isinstance(value, dict):
        return {key: _canonical(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(value: Any) -> str:
    """The same for equal values."""
    return json.dumps(_canonical(value), sort_keys=True)


def _digest(value: Any) -> str:
    return files.sha256_bytes(_text(value).encode())[:12]


def _flat(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values of a table and its tables, each with its path: a key with a dot in it is quoted."""
    for key, value in table.items():
        name = prefix + (key if re.fullmatch(r'[^."]+', key) else json.dumps(key))
        if isinstance(value, dict) and value:
            yield from _flat(f"{name}.", value)
        else:
            yield name, value
