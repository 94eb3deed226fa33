"""The folder that a sweep trains into: what may be there, and the recipe that it keeps."""

import os
from pathlib import Path

from lipbench._internal import files
from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.training import recipes
from lipbench.training.checkpoint import UNFINISHED, is_checkpoint
from lipbench.training.recipes import Recipe
from lipbench.training.storing import difference
from lipbench.work.lease import is_lease

LEASES = ".leases"  # folder in the zoo: which process trains which model; empty where none does


def refuse_foreign(out: Path) -> None:
    """Raise LipbenchError unless ``out`` is a zoo, or may become one.

    A zoo is a folder with a recipe, or one that holds nothing but models and what training leaves on the way to them: a
    killed process may have left any part of the latter.
    """
    if not _recipe_of(out):
        foreign = files.foreign(out, _made)
        if foreign is not None and not _recipe_of(out):  # another process may have been first
            raise LipbenchError(
                f"{out} is not empty and not a zoo: it holds {foreign.name} and no {cards.RECIPE}; choose another "
                "folder with -o"
            )
    for name in (LEASES, UNFINISHED):
        files.refuse_link(out / name)


def keep_recipe(recipe: Recipe, content: bytes, out: Path) -> None:
    """Write the recipe into its zoo; raises LipbenchError if a different one is there: it says how models were made."""
    if not files.write_new(out / cards.RECIPE, content) and _recipe_of(out) != recipe:
        raise LipbenchError(
            f"{out} was made from another recipe ({_recipes_differ(out, recipe)}): train into another folder with -o, "
            f"or, to extend {out}, move {out / cards.RECIPE} away and run this command again"
        )


def _recipe_of(out: Path) -> Recipe | None:
    """The recipe in a zoo, if there is one; raises LipbenchError for something else of its name."""
    path = out / cards.RECIPE
    if not os.path.lexists(path):
        return None
    try:
        if not path.is_file():  # reading a pipe would block for ever
            raise LipbenchError("it is no file")
        return recipes.load(path)
    except LipbenchError as error:
        raise LipbenchError(
            f"{out} holds a {cards.RECIPE} that is no recipe of lipbench ({error}); choose another folder with -o"
        ) from error


def _made(path: Path) -> bool:
    """Whether it is a model, or something that a sweep makes on the way to one."""
    known = {LEASES: is_lease, UNFINISHED: is_checkpoint}.get(path.name)
    if known is None:
        return files.is_harmless(path) or (path / cards.CARD).is_file()
    return files.is_own_folder(path) and files.foreign(path, known) is None


def _recipes_differ(out: Path, recipe: Recipe) -> str:
    there = _recipe_of(out)
    if there is None:
        return "which is gone by now"
    old, new = (one.model_dump(mode="json", by_alias=True) for one in (there, recipe))
    return difference(old, new, now="here")
