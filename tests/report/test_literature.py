"""Others' numbers: the file, read as an untrusted one, and beside the best settings of a run."""

import csv
import tomllib
from pathlib import Path

import numpy as np
import pytest

from lipbench._internal import resources
from lipbench.errors import LipbenchError
from lipbench.report import Results, columns, document, literature, writer

HEAD = "paper,model,loss,hyperparameters,data,norm,eps,clean,certified,robust,cost,source,note"
LINE = "P,M,,,cifar10,L2,36/255,0.9,0.5,,1 h,S,"
JPEG = {"data": "npz:some/cifar10-jpeg.npz"}
ROOT = Path(__file__).resolve().parents[2]


def test_the_file_has_the_numbers_of_the_papers():
    rows = {(one.model, one.eps.shown): one for one in literature.read()}
    assert len(rows) == len(literature.read()) == 41
    soc = [rows["ConvNetM, SOC", f"{k}/255"] for k in (36, 72, 108)]
    assert [(one.clean, one.certified, one.robust) for one in soc] == [
        (0.769, each, None) for each in (0.663, 0.534, 0.4)
    ]
    assert rows["LiResNet, Cholesky dense", "108/255"].certified == 0.535
    assert rows["ConvNetXS, LOT", "36/255"].certified == 0.635
    hkr = rows["VGG, HKR, m 20, alpha 5", "36/255"]
    assert (hkr.clean, hkr.certified, hkr.loss) == (0.575, 0.437, "hkr_multiclass")
    # the paper's values are for pixels in 0..255, and its alpha weighs the hinge against 1
    assert hkr.hyperparameters == {"alpha": 5 / 6, "min_margin": 40 / 255}
    assert rows["VGG, hinge, m 36", "36/255"].hyperparameters == {"min_margin": 72 / 255}
    assert rows["VGG, cross-entropy, tau 0.05", "36/255"].hyperparameters == {"tau": 12.75}
    assert {one.data for one in rows.values()} == {"cifar10"}
    assert all(one.source for one in rows.values())


def test_a_row_is_read_as_it_is_written(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(f'{HEAD}\n"a, b",M,tau_cross_entropy,tau=51/4,mnist,Linf,0.1,,,0.25,,S,"n ""q"" α"\n')
    (one,) = literature.read(path)
    assert (one.paper, one.note, one.cost) == ("a, b", 'n "q" α', "")
    assert (one.clean, one.certified, one.robust, float(one.eps)) == (None, None, 0.25, 0.1)
    assert one.hyperparameters == {"tau": 12.75}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("36/255", "36/0", "eps: .*'36/255', got '36/0'"),
        ("36/255", "-0.1", "eps above 0"),
        ("0.9", "90", "row 2 of .*clean: .*less than or equal to 1, got '90'"),
        ("0.5", "-0.1", "certified: .*greater than or equal to 0"),
        ("0.5", "nan", "certified: .*finite"),
        ("0.5", "half", "certified: .*number"),
        ("0.5", "0.95", "certified <= robust <= clean"),
        ("0.9,0.5", ",", "one of them at least"),
        ("L2", "L1", "norm: .*'L2' or 'Linf', got 'L1'"),
        ("P,", ",", "paper: .*at least 1 character"),
        ("M,", "\x1b[31m,", "model: .*printable text"),
        ("M,", '"two\nlines",', "model: .*printable text"),
        ("M,", "x" * 301 + ",", "model: .*at most 300 characters"),
        ("M,,,", "M,hinge,min_margin,", "hyperparameters: .*such as 'alpha=5/6"),
        ("M,,,", "M,hinge,a=1/0,", "hyperparameters: .*such as 'alpha=5/6"),
        ("P,", "P,more,", "row 2 of .* has 14 cells, expected 13"),
        ("P,", '"P,', "is not a CSV file in UTF-8"),
    ],
)
def test_a_malformed_row_is_an_error_of_one_line(tmp_path, old, new, said):
    refused(tmp_path / "own.csv", f"{HEAD}\n{LINE.replace(old, new, 1)}\n".encode(), said)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not a table of literature: expected paper,model,"),
        (f"{HEAD.replace('norm', 'p')}\n{LINE}".encode(), "is not a table of literature: expected paper,model,"),
        (b"\xff\xfe", "is not a CSV file in UTF-8"),
        (f"{HEAD}\n{LINE}\n{LINE.replace('0.9', 'x')}".encode(), "row 3 of"),
        (f"{HEAD}\n{10_001 * (LINE + chr(10))}".encode(), "at most 10000 rows"),
    ],
    ids=["empty", "head", "bytes", "third", "long"],
)
def test_a_malformed_file_is_an_error_of_one_line(tmp_path, data, said):
    refused(tmp_path / "own.csv", data, said)


def refused(path, data, said):
    path.write_bytes(data)
    with pytest.raises(LipbenchError, match=said) as caught:
        literature.read(path)
    assert str(caught.value).isprintable()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(LipbenchError, match=r"no literature at .*: the file does not exist"):
        literature.read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("cifar10", ("cifar10", "")),
        ("npz:cifar10-jpeg.npz", ("cifar10", "ours: CIFAR-10 after JPEG compression")),
        ("npz:a/b/cifar10-jpeg.npz", ("cifar10", "ours: CIFAR-10 after JPEG compression")),
        ("npz:other.npz", ("npz:other.npz", "")),
        ("mnist", ("mnist", "")),
    ],
)
def test_a_data_set_counts_as_itself_or_as_what_it_was_made_from(spec, expected):
    assert literature.data_set(spec) == expected


@pytest.fixture
def run(make_run, make_model, suite):
    """Two settings: the second one is better at 36/255, the first one at 72/255."""
    models = [
        make_model([1] * 4, [0.1, 0.3, 0.3, 0.3], [0.2, 0.4, 0.4, 0.4], name="a"),
        make_model([1, 1, 1, 1], [0.2] * 4, [0.25] * 4, name="b", hyperparameters={"tau": 1.0}),
    ]

    def make(data, norm="L2"):
        grid = suite(norm=norm, eps=["36/255", "72/255", 0.4])
        return Results.load(make_run(models, [grid], changed={"data": data}))

    return make


@pytest.mark.parametrize(("data", "apart"), [("cifar10", ""), (JPEG["data"], "ours: CIFAR-10 after JPEG compression")])
def test_every_published_number_stands_beside_our_best_setting_there(run, data, apart):
    results = run(data)
    frame = results.literature()
    assert frame.columns.tolist() == [column.name for column in literature.LITERATURE]
    read = literature.read()
    best = {36 / 255: ("tau_cross_entropy, tau 1", 1.0, 1.0), 72 / 255: ("tau_cross_entropy, tau 4", 0.75, 0.75)}
    for eps, ours in best.items():
        part = frame[frame["eps"] == eps]
        theirs = [one for one in read if float(one.eps) == eps]
        assert part["model"].tolist() == [one.model for one in theirs]
        assert part["certified"].tolist() == [one.certified for one in theirs]
        assert part["robust"].isna().all()
        assert set(zip(part["ours"], part["ours_certified"], part["ours_robust"], strict=True)) == {ours}
    assert set(frame["eps"]) == {36 / 255, 72 / 255}  # 108/255 is not of the run, .4 of no paper
    assert set(frame["ours_data"]) == {apart}
    assert columns.typed(frame, literature.LITERATURE).dtypes.equals(frame.dtypes)


@pytest.mark.parametrize(("data", "norm"), [("digits", "L2"), ("cifar10", "Linf"), ("npz:mine.npz", "L2")])
def test_other_data_and_norms_have_none(run, data, norm):
    results = run(data, norm)
    assert results.literature().empty
    assert literature.TITLE not in writer.texts(document.build(results))["report.md"]


def test_the_report_shows_them_in_a_table_of_their_own(run):
    results = run(JPEG["data"])
    report = document.build(results)
    text = writer.texts(report)
    (section,) = report.sections
    apart = "ours: CIFAR-10 after JPEG compression"
    title = f"{literature.TITLE}: in percent, as they print them (L2, input range [0, 1]); {apart}"
    assert section.literature.title == title
    assert f"### {writer.markdown(title)}" in text["report.md"]
    row = next(row for row in section.literature.rows if row[1] == "ConvNetM, SOC" and row[2] == "72/255")
    paper, _, _, clean, certified, robust, cost, ours, *rest = row
    assert paper.startswith("Prach et al. 2024")
    assert (clean, certified, robust, cost) == ("76.9", "53.4", "n/a", "24 h on one GPU")
    assert (ours, *rest[:3]) == ("tau_cross_entropy, tau 4", "100.0", "75.0", "75.0")
    assert "arXiv 2311.16833" in rest[3]
    # no ranking of ours holds them
    assert not any("ConvNet" in cell for cells in section.main.rows for cell in cells)
    assert not any("ConvNet" in text[name] for name in text if name.endswith(".csv"))


def test_networks_without_certificates_are_chosen_by_robust_accuracy(run):
    results = run("cifar10")
    (group,) = [section.group for section in document.build(results).sections]
    robust = np.where(group.settings["loss.tau"] == 4, 0.9, 0.1)  # the settings are listed by tau
    bare = group.settings.assign(grade="none", certified_mean=np.nan, robust_mean=robust)
    found = literature.frame([document.Group(**{**vars(group), "settings": bare})], "cifar10")
    assert found[found["eps"] == 36 / 255]["ours"].unique().tolist() == ["tau_cross_entropy, tau 4"]
    assert found["ours_certified"].isna().all()


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout")
def test_the_file_is_in_the_wheel_and_in_the_checkout():
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["force-include"]["reports/literature.csv"] == "lipbench/_internal/bundled/literature.csv"
    assert "reports/literature.csv" in targets["sdist"]["include"]
    assert resources.file(literature.NAME).samefile(ROOT / "reports" / "literature.csv")
    with (ROOT / "reports" / "literature.csv").open(newline="") as file:
        assert ",".join(next(csv.reader(file))) == HEAD
