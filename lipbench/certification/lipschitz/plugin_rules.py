"""Rules of other packages, loaded before the first network is traced: each set once, whole or not at all.

An entry point of the group ``lipbench.rules`` is a module that registers rules with ``lipbench.rule`` when it is
imported, or a function without arguments that does. A set that fails, and one that would replace a rule that is there,
is left out with a warning: layers that need it have no rule then, which is said where they are met.
"""

import inspect
import logging

from lipbench._internal.registry import RULES as SETS
from lipbench.certification.lipschitz.table import MAY_RETURN_ITS_INPUT, RULES, dotted
from lipbench.errors import LipbenchError

LOG = logging.getLogger(__name__)
LOADED: dict[str, str | None] = {}  # the sets of this process that were loaded: name to the reason, if left out


def load() -> None:
    """Register the rules of all plugins that were not loaded yet."""
    for name in SETS.names():
        if name not in LOADED and any(origin.is_plugin for origin in SETS.origins(name)):
            LOADED[name] = None  # before it is loaded: it may certify a network itself
            try:
                _load(name)
            except LipbenchError as error:
                LOADED[name] = str(error)
                LOG.warning("%s; its rules are left out", error)


def _load(name: str) -> None:
    before, may_return = dict(RULES), set(MAY_RETURN_ITS_INPUT)
    try:
        found = SETS.get(name)
        if not inspect.ismodule(found):
            with SETS.calling(name):
                found()
        replaced = [target for target, function in before.items() if RULES.get(target) is not function]
        if replaced:
            raise LipbenchError(f"{SETS.said(name)} replaces the rule of {dotted(replaced[0])}, which has one")
    except LipbenchError:
        RULES.clear()
        RULES.update(before)
        MAY_RETURN_ITS_INPUT.clear()
        MAY_RETURN_ITS_INPUT.update(may_return)
        raise
