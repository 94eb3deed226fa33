"""The documents agree with the code: links, paths, commands, options, columns, numbers, examples."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import click
import pandas as pd
import pytest

from lipbench.attacks import suites
from lipbench.cli.commands import cli
from lipbench.training import recipes

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "reports/README.md", *DOCS.glob("*.md")])
PAGES += [ROOT / "attacks/README.md", ROOT / "recipes/README.md", ROOT / "examples/README.md"]
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]
EPS = 108 / 255  # of the README's table
FOLDERS = (
    "lipbench",
    "tests",
    "docs",
    "benchmarks",
    "attacks",
    "recipes",
    "reports",
    "examples",
)  # what a path may begin with
WRITTEN = ("records/", "witnesses/", "verification/", "leases/", "journal/", "report/", "report.md")  # in run folders


def without_code(text: str) -> str:
    """The text without its blocks of code, indented or fenced."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


def anchor(heading: str) -> str:
    """The anchor that GitHub and MkDocs make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_links_between_documents_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if "://" in target:
            continue
        path, _, fragment = unquote(target).partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{page.name}: {target}"
        assert other.is_relative_to(ROOT)
        if fragment:
            assert fragment in anchors(other), f"{page.name}: {target}"


def test_every_page_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "index.md").read_text()))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_files_that_are_named_exist(page: Path) -> None:
    """In structure.md paths are below lipbench/, elsewhere below the root."""
    missing = []
    base = ROOT / "lipbench" if page.name == "structure.md" else ROOT
    for path in re.findall(r"`([\w./-]+\.(?:py|toml|md)|[\w./-]+/)`", page.read_text()):
        first = path.split("/")[0]
        if page.name == "structure.md":
            known = path not in WRITTEN and "<" not in path
        else:
            known = first in FOLDERS and path not in WRITTEN and "/" in path
        if known and not (base / path).exists() and not (ROOT / path).exists():
            missing.append(path)
    assert not missing


def test_documents_that_the_code_names_exist() -> None:
    sources = [*(ROOT / "lipbench").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    named = [(path, name) for path in sources for name in re.findall(r"(?:docs/)?[\w-]+\.md\b", path.read_text())]
    known = {"report.md", "README.md"}  # the one that reports have; the one that people keep in any folder
    assert [(path.name, name) for path, name in named if name not in known and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_tables_are_whole(page: Path) -> None:
    """Every row of a table has as many cells as its head."""
    lines = without_code(page.read_text()).split("\n")
    width = 0
    for line in lines:
        cells = len(re.findall(r"(?<!\\)\|", line))
        width = (width or cells) if line.startswith("|") else 0
        assert not width or cells == width, f"{page.name}: {line}"


def command_lines(page: Path) -> list[list[str]]:
    """The words of every `lipbench ...` in a block of code or between backticks."""
    text = page.read_text()
    found = re.findall(r"^ {4}(?:srun |PYTHONPATH=\. |.*&& )?lipbench (.+)$", text, re.MULTILINE)
    found += re.findall(r"`lipbench ([^`]+)`", text)
    return [line.split("#")[0].split() for line in found]


def options_of(name: str) -> set[str]:
    parameters = [parameter for parameter in cli.commands[name].params if isinstance(parameter, click.Option)]
    return {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_commands_exist_with_their_options(page: Path) -> None:
    unknown = []
    for name, *words in command_lines(page):
        assert name in cli.commands, f"{page.name}: lipbench {name}"
        known = options_of(name) | {"--help", "-h"}
        unknown += [f"{name} {word}" for word in words if word.startswith("-") and word not in known]
    assert not unknown


@pytest.mark.parametrize("name", ["add", "evaluate", "verify", "train", "report"])
def test_each_page_names_every_option_of_its_command_and_no_other(name: str) -> None:
    page = (DOCS / {"report": "reports.md", "add": "models.md"}.get(name, f"{name}.md")).read_text()
    options = options_of(name)
    missing = [option for option in options if option.startswith("--") and not re.search(rf"{option}(?![\w-])", page)]
    assert not missing
    rows = [line for line in page.split("\n") if re.match(r"\| `-", line)]
    named = {option for row in rows for option in re.findall(r"`(--?[\w-]+)", row.split("|")[1])}
    assert named <= options


@pytest.mark.parametrize("zoo", ["digits", "mnist", "cifar10-jpeg"])
@pytest.mark.parametrize("file", ["summary.csv", "hyperparameters.csv"])
def test_every_column_of_a_published_report_is_documented(zoo: str, file: str) -> None:
    page = (DOCS / "columns.md").read_text()
    (section,) = re.findall(rf"^## {file}\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    documented = {name for line in rows(section) for name in re.findall(r"`([^`]+)`", line.split("|")[1])}
    prefixes = tuple(name for name in documented if name[-1] in ".:")
    columns = pd.read_csv(ROOT / "reports" / zoo / "report" / file, nrows=0).columns
    assert [name for name in columns if name not in documented and not name.startswith(prefixes)] == []


def rows(text: str) -> list[str]:
    """The rows of a page's tables, without heads."""
    return [line for line in text.split("\n") if line.startswith("| `")]


def test_numbers_of_the_readme_are_those_of_the_published_report() -> None:
    folder = ROOT / "reports/mnist/report"
    settings = pd.read_csv(folder / "summary.csv").drop_duplicates("model").set_index("model")["setting"]
    found = pd.read_csv(folder / "hyperparameters.csv")
    assert set(found["n"]) == {1000}
    at = found[(found["eps"] - EPS).abs() < 1e-9].set_index("setting")
    table = rows((ROOT / "README.md").read_text())
    for line in table:
        name, *shown = [cell.strip(" `") for cell in line.strip("|").split("|")]
        row = at.loc[settings[f"{name}-seed0"]]
        percent = {key: f"{100 * value:.1f}" for key, value in row.items() if isinstance(value, float)}
        mean = {key: percent[f"{key}_mean"] for key in ("clean", "certified", "robust", "gap", "mean_gap")}
        ends = {key: f"{mean[key]} [{percent[f'{key}_lo']}, {percent[f'{key}_hi']}]" for key in ("certified", "gap")}
        numbers = [*(mean | ends).values(), f"{row['tightness_mean']:.2f}"]
        assert shown == [str(row["n_seeds"]), *numbers], name
    assert len(table) == 8


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split("\n")) <= 95


def test_the_python_example_of_the_readme_runs(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    (tmp_path / "reports").symlink_to(ROOT / "reports")  # what it writes beside that must not land in the checkout
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "tau_cross_entropy" in done.stdout


def test_the_guide_to_a_network_of_ones_own_runs_as_it_is_printed(tmp_path: Path) -> None:
    """Its first block is the file mynets.py, its last one another network; the others run in order, then `add`.

    What is printed has the words of the page. The numbers depend on the machine that trained the network.
    """
    page = DOCS / "own-network.md"
    network, *steps, _ = blocks(page, "python")
    (tmp_path / "mynets.py").write_text(network)
    settings = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    ran = {"cwd": tmp_path, "env": settings, "capture_output": True, "text": True, "timeout": 250}
    done = subprocess.run([sys.executable, "-c", "\n".join(steps)], **ran)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr[-2000:]
    shown = [line.strip() for line in re.findall(r"^ {4}(.+)$", without_python(page), re.MULTILINE)]
    printed = {without_numbers(line) for line in done.stdout.split("\n")}
    assert [line for line in shown if without_numbers(line) not in printed and "lipbench " not in line] == []
    assert (tmp_path / "report" / "report.html").exists()
    (added,) = [words for words in command_lines(page) if words[0] == "add" and "--weights" in words]
    done = subprocess.run([sys.executable, "-m", "lipbench", *added], **ran)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr[-2000:]
    assert {folder.name for folder in (tmp_path / "zoo").iterdir()} == {"mine", "residual"}


def without_numbers(line: str) -> str:
    return " ".join(re.sub(r"[\d.]+", "0", line).split())


def without_python(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_python_in_documents_compiles(page: Path) -> None:
    for code in blocks(page, "python"):
        compile(code, page.name, "exec")


@pytest.mark.parametrize("page", ["quickstart", "train"])
def test_recipes_of_documents_are_read(page: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join(blocks(DOCS / f"{page}.md", "toml")))  # later blocks add losses to the first
    recipe = recipes.load(path)
    models = {"quickstart": 4, "train": 15 + 3 + 3}[page]
    assert len(recipe.training_jobs()) == models


def test_the_suite_of_the_documents_is_read(tmp_path: Path) -> None:
    (block,) = blocks(DOCS / "evaluate.md", "toml")
    path = tmp_path / "mine.toml"
    path.write_text(block)
    suite = suites.load(str(path))
    assert [str(attack) for attack in suite.attacks] == ["gradient/bisection", "autoattack/fab-t"]


@pytest.mark.parametrize("page", ["definitions", "columns", "structure", "art", "paper"])
def test_generated_pages_are_up_to_date(page: str) -> None:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (DOCS / f"{page}.md").read_text() == getattr(generate, page)(), "run python docs/generate.py"
