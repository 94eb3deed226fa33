"""Where the data folders are: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path

from lipbench.errors import LipbenchError

PACKAGE = Path(__file__).resolve().parent
_FOLDERS = {  # name: (inside the wheel, in a checkout)
    "attacks": (PACKAGE / "attacks", PACKAGE.parent / "attacks"),
    "recipes": (PACKAGE / "zoos" / "recipes", PACKAGE.parent / "recipes"),
    "digits": (PACKAGE / "zoos" / "digits", PACKAGE.parent / "reports" / "digits" / "zoo"),
}
ZOOS = ("digits",)


def folder(name: str) -> Path:
    """The folder of bundled data called ``name``; raises LipbenchError if the installation lacks it."""
    for path in _FOLDERS[name]:
        if path.is_dir():
            return path
    raise LipbenchError(f"the bundled folder {name!r} is missing from this installation: reinstall lipbench")
