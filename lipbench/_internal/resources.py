"""The data folders: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path

from lipbench.errors import LipbenchError

BUNDLED = Path(__file__).resolve().parent / "bundled"
CHECKOUT = Path(__file__).resolve().parents[2]
_FOLDERS = {  # name: (inside the wheel, in a checkout)
    "attacks": (BUNDLED / "suites", CHECKOUT / "attacks"),
    "recipes": (BUNDLED / "recipes", CHECKOUT / "recipes"),
    "digits": (BUNDLED / "digits", CHECKOUT / "reports" / "digits" / "zoo"),
}
ZOOS = ("digits",)


def folder(name: str) -> Path:
    """The folder of bundled data called ``name``; raises LipbenchError if the installation lacks it."""
    for path in _FOLDERS[name]:
        if path.is_dir():
            return path
    raise LipbenchError(f"the bundled folder {name!r} is missing from this installation: reinstall lipbench")
