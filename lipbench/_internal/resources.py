"""The data folders and files: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path

from lipbench.errors import LipbenchError, unknown_name

BUNDLED = Path(__file__).resolve().parent / "bundled"
CHECKOUT = Path(__file__).resolve().parents[2]
_FOLDERS: dict[str, tuple[Path, ...]] = {  # name: (inside the wheel, in a checkout)
    "attacks": (BUNDLED / "suites", CHECKOUT / "attacks"),
    "recipes": (BUNDLED / "recipes", CHECKOUT / "recipes"),
    "digits": (BUNDLED / "digits", CHECKOUT / "reports" / "digits" / "zoo"),
}
_FILES: dict[str, tuple[Path, ...]] = {
    "literature.csv": (BUNDLED / "literature.csv", CHECKOUT / "reports" / "literature.csv"),
}
ZOOS = ("digits",)
PUBLISHED = ("mnist", "cifar10-jpeg")  # with a report, in a checkout alone: a wheel leaves them out for their size
_FOLDERS |= {name: (CHECKOUT / "reports" / name / "zoo",) for name in PUBLISHED}


def zoos() -> tuple[str, ...]:
    """The names of the zoos that this installation has: the bundled one, and in a checkout the published ones."""
    return (*ZOOS, *(name for name in PUBLISHED if any(path.is_dir() for path in _FOLDERS[name])))


def folder(name: str) -> Path:
    """The folder of bundled data called ``name``; raises LipbenchError if the installation lacks it."""
    for path in _FOLDERS[name]:
        if path.is_dir():
            return path
    raise LipbenchError(f"the bundled folder {name!r} is missing from this installation: reinstall lipbench")


def file(name: str) -> Path:
    """The bundled file called ``name``; raises LipbenchError if the installation lacks it."""
    for path in _FILES[name]:
        if path.is_file():
            return path
    raise LipbenchError(f"the bundled file {name!r} is missing from this installation: reinstall lipbench")


def toml_names(of: str) -> list[str]:
    """The names of the TOML files in the bundled folder called ``of``."""
    return sorted(path.stem for path in folder(of).glob("*.toml"))


def find_toml(kind: str, of: str, name_or_path: str) -> Path:
    """A TOML file by its path or by its name in the bundled folder ``of``; raises LipbenchError for an unknown name."""
    path = Path(name_or_path)
    if path.suffix == ".toml" or len(path.parts) != 1:
        return path
    if name_or_path not in toml_names(of):
        raise unknown_name(kind, name_or_path, toml_names(of))
    return folder(of) / f"{name_or_path}.toml"
