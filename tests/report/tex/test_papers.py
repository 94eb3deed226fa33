import dataclasses
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from lipbench.certification.grades import NONE
from lipbench.errors import LipbenchError
from lipbench.report import Results, document, writer
from lipbench.report.choice import choose
from lipbench.report.tex.layout import SCRIPT, width

PAGES = {  # columns of the choice, and pages that its tables are for
    1: (r"\documentclass{article}\usepackage[textwidth=5.5in,textheight=9in]{geometry}", "5.5 inches"),
    2: (r"\documentclass[twocolumn]{article}\usepackage[textwidth=6.75in,columnsep=.25in]{geometry}", "3.25 inches"),
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory, request):
    from ..conftest import sweep, write_run

    return Results.load(write_run(tmp_path_factory.mktemp("swept") / "run", sweep(seeds=3, n=60)))


def source(results, **options) -> str:
    return writer.texts(document.build(results, choice=choose(results, **options)))["tables.tex"]


def tables(text: str) -> list[str]:
    return re.findall(r"\\begin\{table\*?\}.*?\\end\{table\*?\}", text, re.DOTALL)


def body(table: str) -> list[list[str]]:
    """The cells of each row, without commands of layout."""
    inside = table.partition("\\midrule")[2].partition("\\bottomrule")[0].replace("\\addlinespace", "")
    lines = [line.strip().removesuffix("\\\\") for line in inside.split("\n") if line.strip()]
    bare = [
        re.sub(r"\\(raggedright|hspace\*?\{[^}]*\}|fontsize\{\d+\}\{[\d.]+\}\\selectfont) ?", "", line)
        for line in lines
    ]
    return [[cell.strip() for cell in line.split(" & ")] for line in bare]


def test_every_number_is_that_of_the_frames(swept):
    eps = 0.2
    at = swept.hyperparameters(eps).set_index("loss.tau")
    found = body(tables(source(swept, eps=eps, family="CE", metric=["certified", "gap", "tightness"]))[0])
    assert found[0] == ["CE", "", "", ""]
    for row, tau in zip(found[1:], (1.0, 4.0, 16.0, 64.0), strict=True):
        assert row[0] == rf"$\tau={tau:g}$"
        for cell, name, scale, digits in zip(
            row[1:], ("certified", "gap", "tightness"), (100, 100, 1), (1, 1, 2), strict=True
        ):
            mean, low, high = (f"{scale * at.loc[tau, f'{name}_{end}']:.{digits}f}" for end in ("mean", "lo", "hi"))
            bare = re.sub(r"\\(mathbf|underline)\{(.*?)\}", r"\2", cell)
            assert bare == f"${mean}_{{{low}}}^{{{high}}}$".replace("-0.0", "0.0")


def test_the_best_is_bold_and_what_cannot_be_told_apart_from_it_is_underlined(swept):
    compared = swept.comparisons(0.2).query("metric == 'certified'")
    assert len(compared) == 15
    rows = [row for row in body(tables(source(swept, eps=0.2, metric="certified"))[0]) if row[1]]
    marks = [next((mark for mark in ("mathbf", "underline") if mark in row[1]), "") for row in rows]
    near = ((compared["difference_lo"] <= 0) & (compared["difference_hi"] >= 0)).sum()
    assert marks.count("mathbf") == 1
    assert marks.count("underline") == near - 1
    assert 1 < near < 15
    best = swept.hyperparameters(0.2)["certified_mean"].max()
    assert f"\\mathbf{{{100 * best:.1f}}}" in next(row[1] for row in rows if "mathbf" in row[1])


def test_the_best_is_that_of_what_is_shown(swept):
    at = swept.hyperparameters(0.2).query("family == 'hinge_multiclass'")
    shown = tables(source(swept, eps=0.2, family="hinge", metric=["certified", "gap"]))[0]
    assert f"$\\mathbf{{{100 * at['certified_mean'].max():.1f}}}_" in shown
    assert f"$\\mathbf{{{100 * at['gap_mean'].min():.1f}}}_" in shown  # the smallest gap is the best
    assert "chosen among 3 settings" in shown
    assert r"\tau" not in shown


def test_the_caption_says_what_a_reader_has_to_know(swept):
    caption = re.search(r"\\caption\{(.*)\}\n", tables(source(swept, eps=0.2))[0])[1]
    for words in (
        "$n=60$ samples",
        r"$\ell_2$",
        r"$\varepsilon=0.2$",
        "grade float",
        "suite quick",
        "3 seeds",
        "95\\,\\% interval over seeds and samples.",
        "not corrected",
        r"$\alpha$ is alpha",
    ):
        assert words in caption


def test_with_one_seed_the_interval_covers_samples_alone(make_run, sweep):
    results = Results.load(make_run(sweep(seeds=1, n=40)))
    for caption in re.findall(r"\\caption\{(.*)\}\n", source(results)):
        assert "over samples alone" in caption
        assert "seeds" not in caption


def test_seeds_are_a_column_where_settings_have_different_numbers(make_run, sweep):
    results = Results.load(make_run(sweep(seeds=2, n=40)[:5]))
    table = tables(source(results))[0]
    assert "loss & seeds & " in table
    assert [row[1] for row in body(table)] == ["", "2", "2", "1"]
    assert "where there is one seed over samples alone" in table


def test_effects_are_those_of_the_frame(swept):
    frame = swept.effects(0.2).query("hyperparameter == 'tau' and metric == 'certified'").iloc[0]
    table = tables(source(swept, eps=0.2, family="CE", metric="certified"))[1]
    numbers, shape = body(table)[1:3]
    low, mid, high = (f"{100 * frame[name]:+.1f}" for name in ("per_step_lo", "per_step", "per_step_hi"))
    assert numbers == [r"$\tau$", f"${mid}_{{{low}}}^{{{high}}}$"]
    sign = {"rises": r"\nearrow", "falls": r"\searrow", "peaks": r"\wedge", "dips": r"\vee"}[frame["shape"]]
    assert shape[0] == "1 to 64"
    assert shape[1].startswith(f"${sign}")
    assert shape[1].endswith(rf"$ {100 * frame['shape_probability']:.0f}\,\%")


def test_an_eps_stands_as_the_suite_has_it(make_run, make_model, suite):
    run = make_run([make_model([1], [0.1], [0.2])], [suite(norm="Linf", eps=["8/255", "2/255"])])
    text = source(Results.load(run), eps="8/255")
    assert r"$\varepsilon=8/255$" in text
    assert r"$\ell_\infty$" in text


def without_certificate(item):
    """The results of a model as they would be if its network had no Lipschitz bound."""
    bounds = item.bounds.copy()
    bounds.certified_radius[:] = np.nan
    return dataclasses.replace(item, grade=NONE, bounds_by_grade={NONE: bounds}, mcr=np.nan)


def test_a_run_without_certificates_has_the_robust_accuracy_alone(make_run, make_model):
    results = Results.load(make_run(make_model([1, 1], [0.0, 0.0], [0.15, 0.3], constrained=False)))
    results = dataclasses.replace(results, items=tuple(map(without_certificate, results.items)))
    rows = body(tables(source(results, eps=0.2, metric=["certified", "robust", "gap"]))[0])
    assert [cell.partition("_")[0] for cell in rows[0][1:]] == ["n/a", r"$\mathbf{50.0}", "n/a"]
    assert "no certificate" in source(results)


# --- options ---


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": 3}, "columns must be 1 or 2, those of a page of the paper, got 3"),
        ({"columns": "2"}, "columns must be a whole number of at least 1, got '2'"),
        ({"columns": True}, "columns must be a whole number of at least 1, got True"),
        ({"eps": 0.3}, "the run has no eps 0.3; it has 0.1, 0.2, 0.4"),
        ({"eps": "x"}, "eps must be a number"),
        ({"family": "hk"}, "unknown family 'hk': .*known are .*hinge_multiclass, hkr_multiclass, tau_cross_entropy"),
        (
            {"metric": ["gap", "mcr"]},
            "unknown metric 'mcr': .*known are certified, clean, gap, mean_gap, robust, tight",
        ),
        ({"metric": 3}, "metric must be a name or a list of names, got 3"),
        ({"family": [3]}, "family must be a string, got 3"),
    ],
)
def test_what_a_run_does_not_have_is_refused_in_one_line(swept, tmp_path, options, said):
    for refused in (
        lambda: swept.report(tmp_path / "out", **options),
        lambda: writer.report_run(swept.run_folder.path, tmp_path / "out", **options),
    ):
        with pytest.raises(LipbenchError, match=said) as caught:
            refused()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_check_compares_with_the_same_options(swept, tmp_path, monkeypatch):
    monkeypatch.setattr("lipbench.report.style.encode", lambda figure, kind: b"a picture")
    options = {"columns": 2, "eps": "0.2", "family": ["HKR", "CE"], "metric": ["gap"]}
    swept.report(tmp_path, **options)
    assert writer.report_run(swept.run_folder.path, tmp_path, check=True, **options) == []
    made = "--columns 2 --eps 0.2 --family hkr_multiclass --family tau_cross_entropy --metric gap"
    assert f"\n% Options: {made}\n" in (tmp_path / "tables.tex").read_text()
    with pytest.raises(LipbenchError, match=rf"tables.tex \(line 2, made with '{made}'\) differ"):
        writer.report_run(swept.run_folder.path, tmp_path, check=True)


# --- does it fit ---


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex, of Debian's texlive-latex-base")
@pytest.mark.parametrize(("columns", "page"), [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("what", ["a sweep", "every metric", "hostile names"])
def test_no_box_is_overfull(swept, make_run, make_model, sweep, tmp_path, columns, page, what):
    results, options = swept, {}
    if what == "every metric":
        options["metric"] = ["tightness", "mean_gap", "gap", "robust", "certified", "clean"]
    if what == "hostile names":
        names = {"architecture": "W" * 40 + "_&%$#{}~^\\", "loss": r"\input{/etc/passwd}" + "loss" * 12, "data": "x"}
        models = sweep(seeds=1, n=20)
        models += [
            make_model(
                [1] * 20,
                [0.15] * 20,
                [0.3] * 20,
                name=f"m{value}",
                architecture=names["architecture"],
                loss=names["loss"],
                hyperparameters={"^_hyper_parameter_with_a_long_name漢": value, "m": 1e-7},
            )
            for value in (1.0, 123456.0)
        ]
        results = Results.load(make_run(models, title="100 % & more_of_the_same" + "e" * 60))
    (tmp_path / "tables.tex").write_text(source(results, columns=columns, **options))
    start = PAGES[page][0] + r"\usepackage[T1]{fontenc}\usepackage{booktabs}\begin{document}"
    (tmp_path / "paper.tex").write_text(start + r"\input{tables}Text.\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=False,
        env=os.environ | {"max_print_line": "1000"},
    )
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull \\hbox" not in log, re.findall(r"Overfull.*\n.*", log)
    assert "Missing character" not in log
    assert "Output written on paper.pdf" in log


def test_widths_are_estimated_no_smaller_than_they_are():
    assert width("88.0") >= 3 * 4.25 + 2.36  # cmr8, in pt
    assert width("88.0", SCRIPT) >= 3 * 3.67 + 2.04  # cmr6


def test_what_does_not_fit_side_by_side_comes_in_further_tables(swept):
    every = ["clean", "certified", "robust", "gap", "mean_gap", "tightness"]
    wide, narrow = (tables(source(swept, columns=columns, metric=every)) for columns in (1, 2))
    assert len(wide) == 2
    assert all("table*" in table for table in wide)
    assert len(narrow) > 2
    assert not any("table*" in table for table in narrow)
    labels = [re.search(r"\\label\{(.*?)\}", table)[1] for table in narrow]
    assert len(set(labels)) == len(labels)
    heads = [re.search(r"\\toprule\n(.*)\\\\", table)[1] for table in narrow if "label{tab:accuracies" in table]
    assert sum(head.count(" & ") for head in heads) == len(every)
