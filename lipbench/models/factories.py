"""Networks that a function of the user's own package builds: the package is imported only where the user trusts it."""

import importlib
from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from lipbench._internal.randomness import keeping_random_numbers
from lipbench.errors import LipbenchError, one_line


def module_name(factory: str) -> str:
    """The module of "package.module:function"."""
    return factory.partition(":")[0]


def is_trusted(factory: str, trust: Collection[str]) -> bool:
    """Whether the module of "package.module:function" is one of the trusted ones, or lies in one."""
    module, trust = module_name(factory), (trust,) if isinstance(trust, str) else trust
    return any(module == name or module.startswith(f"{name}.") for name in trust if name)


def build(factory: str, args: Mapping[str, Any], trust: Collection[str], where: str) -> nn.Module:
    """The network that a factory gives, in eval mode; where: for messages.

    factory: "package.module:function", called with ``args`` by keyword. The module is imported as Python does, from
    what is installed and from PYTHONPATH. Raises LipbenchError for a package that is not trusted, for one that cannot
    be imported, and for a function that fails or gives no ``nn.Module``.
    """
    module, _, name = factory.partition(":")
    package = module.partition(".")[0]
    if not is_trusted(factory, trust):
        raise LipbenchError(
            f"{where}: the network is built by {factory[:200]}, whose code runs when it is loaded: to allow it, pass "
            f'--trust {package[:100]} (in Python trust=["{package[:100]}"])'
        )
    function = getattr(_imported(module, package, where), name, None)
    if not callable(function):
        raise LipbenchError(f"{where}: {module} has no function {name}")
    made_in = getattr(function, "__module__", None)
    if not is_trusted(f"{made_in}:{name}", trust):  # what a trusted module imports is not trusted with it
        raise LipbenchError(f"{where}: {factory} is a function of {made_in}, which is not trusted: pass --trust for it")
    try:
        with keeping_random_numbers():
            network = function(**args)
    except (Exception, SystemExit) as error:  # whatever the factory's own code raises
        raise LipbenchError(f"{where}: {factory} failed: {type(error).__name__}: {one_line(error)[:200]}") from error
    if not isinstance(network, nn.Module):
        raise LipbenchError(f"{where}: {factory} gave a {type(network).__name__}, expected a torch.nn.Module")
    return network.eval()


def _imported(module: str, package: str, where: str) -> Any:
    try:
        with keeping_random_numbers():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise LipbenchError(f"{where}: {module} cannot be imported: {one_line(error)[:200]}") from error
        raise LipbenchError(
            f"{where}: no module {error.name!r} can be imported: install the package {package}, or put the folder that "
            f"holds it on Python's path, such as PYTHONPATH=."
        ) from error
    except (Exception, SystemExit) as error:  # whatever the package's own code raises
        raise LipbenchError(
            f"{where}: {module} cannot be imported: {type(error).__name__}: {one_line(error)[:200]}"
        ) from error
