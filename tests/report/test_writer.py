import functools
import itertools
import os
import re

import numpy as np
import pandas as pd
import pytest
from hand_made import FAILING, SQUARE

from lipbench import report
from lipbench._internal import files
from lipbench.errors import LipbenchError
from lipbench.report import Results, document, style
from lipbench.report import writer as page
from lipbench.report.document import PICTURES as ENDINGS
from lipbench.report.writer import markdown

TEXT = [*page.FRAMES, "report.md", "tables.tex"]
FIGURES = ("settings", "sandwich", "pareto", "effects")
PICTURES = [f"{name}{ending}" for name in FIGURES for ending in ENDINGS]


@pytest.fixture
def small(make_run, sweep):
    return Results.load(make_run(sweep(seeds=2, n=30)[::3]))


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are drawn but not saved, which takes most of the time of a report."""
    monkeypatch.setattr(style, "encode", lambda figure, kind: b"a picture")


def test_the_same_run_gives_the_same_bytes(small, tmp_path):
    first, second = (report.write(small, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [*TEXT, "report.html", *PICTURES, *(f"heat{ending}" for ending in ENDINGS)]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name
        assert one.stat().st_size > 100


def test_pictures_carry_neither_date_nor_version(small, tmp_path):
    for path in report.write(small, tmp_path / "out"):
        if path.suffix in (".png", ".pdf"):
            data = path.read_bytes()
            assert not any(word in data for word in (b"CreationDate", b"Producer", b"Software", b"Matplotlib"))


@pytest.mark.usefixtures("undrawn")
def test_the_page_needs_nothing_from_outside(small, tmp_path):
    out = tmp_path / "out"
    report.write(small, out)
    text, beside = (out / "report.html").read_text(), {path.name for path in out.iterdir()}
    links = re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)([^"']*)""", text)
    assert set(links) == beside - {"report.html", files.WRITTEN}
    assert set(re.findall(r"https?://[^'\"\s]+", text)) == {"http://www.w3.org/2000/svg"}  # the name of a namespace
    assert not re.search(r"@import|url\(|<link|<iframe|<script src", text)


@pytest.mark.usefixtures("undrawn")
def test_check_accepts_what_was_written(small, tmp_path):
    report.write(small, tmp_path / "out")
    assert report.check(small, tmp_path / "out") == []


@pytest.fixture
def undrawn(unsaved, monkeypatch):
    """Figures are not drawn either, and what a run holds is counted once."""

    def draw(report):
        names = [name for section in report.sections for name in section.files.values()]
        return dict.fromkeys(f"{name}{size}" for name in names for size in ("", "-column"))

    monkeypatch.setattr(page, "draw", draw)
    monkeypatch.setattr(document, "build", functools.cache(document.build))


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def longer(make_run, sweep):
    """Another run: its report has the same files with other contents."""
    return Results.load(make_run(sweep(seeds=2, n=40)[::3]))


@pytest.mark.usefixtures("undrawn")
def test_a_report_is_written_again_over_the_last_one(small, longer, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    report.write(small, out)
    first = contents(out)
    stamps = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    report.write(small, out)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == stamps  # nothing was to be done
    report.write(longer, out)
    assert contents(out).keys() == first.keys()
    assert contents(out)["report.md"] != first["report.md"]
    assert contents(out)["thesis.tex"] == b"mine"
    assert report.check(longer, out) == []
    report.write(small, out)
    assert contents(out) == first
    report.write(small, tmp_path / "fresh")
    assert contents(tmp_path / "fresh") == {name: data for name, data in first.items() if name != "thesis.tex"}


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("written", [False, True], ids=["nothing written yet", "over a report"])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        *(
            (name, lambda path: path.write_text("edited by hand"))
            for name in ["summary.csv", "report.md", "effects.png"]
        ),
        ("summary.csv", lambda path: path.mkdir()),
        ("tables.tex", lambda path: os.mkfifo(path)),
        ("report.md", lambda path: path.symlink_to(path.parent.parent / "elsewhere.md")),
        ("report.md", lambda path: path.symlink_to("nowhere")),
        (files.WRITTEN, lambda path: path.write_text("{")),
        (files.WRITTEN, lambda path: path.write_text("[]")),
        (files.WRITTEN, lambda path: path.write_text("{}")),  # somebody else's
        (files.WRITTEN, lambda path: path.mkdir()),
        (files.WRITTEN, lambda path: os.mkfifo(path)),
    ],
)
def test_a_file_that_is_not_of_a_report_is_not_overwritten(small, longer, tmp_path, written, name, make):
    out = tmp_path / "out"
    (tmp_path / "elsewhere.md").write_text("mine")
    if written:
        report.write(small, out)
        (out / name).unlink()
    out.mkdir(exist_ok=True)
    make(out / name)
    before = contents(out)
    said = rf"{re.escape(name)} (is there, and no|was changed|is not lipbench's list) .*[:;] move it away (or|and)"
    with pytest.raises(LipbenchError, match=said) as caught:
        report.write(longer, out)
    assert "\n" not in str(caught.value)
    assert contents(out) == before
    assert (tmp_path / "elsewhere.md").read_text() == "mine"
    (out / name).rmdir() if (out / name).is_dir() and name != "report.md" else (out / name).unlink()
    if name == files.WRITTEN and written:  # then the others are unknown, too
        with pytest.raises(LipbenchError, match=r"summary.csv is there, and no .*lipbench.json"):
            report.write(longer, out)
    else:
        report.write(longer, out)
        assert report.check(longer, out) == []


@pytest.mark.usefixtures("undrawn")
def test_a_file_with_the_right_content_is_taken_for_ours(small, tmp_path):
    """A report that was copied without the list of its files can be written once more."""
    report.write(small, tmp_path / "out")
    (tmp_path / "out" / files.WRITTEN).unlink()
    first = contents(tmp_path / "out")
    report.write(small, tmp_path / "out")
    assert contents(tmp_path / "out").items() > first.items()


@pytest.mark.usefixtures("undrawn")
def test_a_report_that_was_killed_half_way_is_written_again(small, longer, tmp_path, monkeypatch):
    """At each of its writes, over another report; and then by a run that gives a third one, or the first again."""
    original, out = files.write_bytes, tmp_path / "out"
    for moment in itertools.count():
        report.write(small, out)
        left = [moment]

        def killed(path, data, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            original(path, data)

        monkeypatch.setattr(files, "write_bytes", killed)
        try:
            report.write(longer, out)
            break
        except KeyboardInterrupt:
            pass
        finally:
            monkeypatch.setattr(files, "write_bytes", original)
        report.write(small if moment % 2 else longer, out)
        assert report.check(small if moment % 2 else longer, out) == []
    assert moment > len(TEXT)


@pytest.mark.usefixtures("undrawn")
def test_a_link_called_report_in_a_run_is_not_followed(small, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (small.run_folder.path / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LipbenchError, match=r"report: it is a symbolic link"):
        report.write(small, small.run_folder.path / "report")
    assert not list((tmp_path / "elsewhere").iterdir())
    report.write(small, tmp_path / "elsewhere")  # this one the user named
    assert report.check(small, tmp_path / "elsewhere") == []


@pytest.mark.usefixtures("undrawn")
def test_check_finds_an_edited_number_and_missing_files(small, tmp_path):
    report.write(small, tmp_path / "out")
    csv = tmp_path / "out" / "summary.csv"
    lines = csv.read_text().splitlines()
    lines[2] = lines[2].replace("0.9", "0.8", 1)
    csv.write_text("\n".join([*lines, ""]))
    short = tmp_path / "out" / "tables.tex"
    short.write_text("\n".join(short.read_text().splitlines()[:-1]))
    for name in ("effects.pdf", "report.md", "report.html"):
        (tmp_path / "out" / name).unlink()
    faults = report.check(small, tmp_path / "out")
    assert faults[:2] == ["summary.csv (line 3)", "report.md (missing)"]
    assert faults[2].startswith("tables.tex (line ")
    assert faults[3:] == ["report.html (missing)", "effects.pdf (missing)"]


@pytest.mark.usefixtures("unsaved")
def test_a_second_suite_has_figures_of_its_own(make_run, make_model, suite, tmp_path):
    run = make_run(make_model([1, 0], [0.3, 0], [0.4, 0]), [suite(), suite("a b c", "Linf", [0.02])])
    written = {path.name for path in report.write(Results.load(run), tmp_path / "out")}
    assert {"sandwich.png", "sandwich-a-b-c.png", "effects-a-b-c.pdf", "effects-a-b-c-column.svg"} <= written
    assert "![Pareto front](pareto-a-b-c.png)" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.usefixtures("unsaved")
def test_suites_whose_names_differ_in_signs_alone_have_files_of_their_own(make_run, make_model, suite, tmp_path):
    names = ["first", "a b", "a-b", "A.B", "é", "2", "4"]
    run = make_run(make_model([1, 0], [0.3, 0], [0.4, 0]), [suite(name, eps=[0.1]) for name in names])
    written = [path.name for path in report.write(Results.load(run), tmp_path / "out")]
    assert (
        len({name.lower() for name in written})
        == len(written)
        == len(page.FILES) + len(FIGURES) * len(ENDINGS) * len(names)
    )
    labels = re.findall(r"\\label\{(.*?)\}", (tmp_path / "out" / "tables.tex").read_text())
    assert len(set(labels)) == len(labels)


@pytest.mark.usefixtures("undrawn")
def test_numbers_in_csv_files_are_exact(make_run, make_model, suite, tmp_path):
    grid = [8 / 255, 36 / 255, 0.1 + 0.2, 1 / 3]
    values = {"hyperparameters": {"tau": 2 / 3}, "bound": 1 + 2**-52, "adversarial": {"eps": 8 / 255, "norm": "L2"}}
    model = make_model([1, 1, 1], [0.1 / 3, 0.2, 0.0], [0.1, 0.7, 1 / 7], margin=[0.1 / 3, 0.2, 1e-17], **values)
    run = make_run(model, [suite(eps=grid)])
    report.write(Results.load(run), tmp_path / "out")
    results = Results.load(run)
    for name in ("summary", "hyperparameters"):
        frame = getattr(results, name)()
        read = pd.read_csv(tmp_path / "out" / f"{name}.csv")
        assert list(read) == list(frame)
        for eps in grid:
            assert len(read[read["eps"] == eps]) == 1
        for column in frame:
            if frame[column].dtype == float:
                assert read[column].astype(float).tolist() == pytest.approx(
                    frame[column].tolist(), rel=0, abs=0, nan_ok=True
                )
        assert (read["loss.tau"] == 2 / 3).all()
        assert (read["adversarial.eps"] == 8 / 255).all()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("factor", "found"), [(1 + 2**-52, []), (1 + 1e-9, ["summary.csv (line 2)"])])
def test_check_forgives_the_last_digits_of_another_machine_and_no_more(small, tmp_path, factor, found):
    report.write(small, tmp_path / "out")
    csv = tmp_path / "out" / "summary.csv"
    exact = small.summary()["robust_lo"].iloc[0]
    before = csv.read_text()
    csv.write_text(before.replace(repr(float(exact)), repr(float(exact * factor)), 1))
    assert csv.read_text() != before
    assert report.check(small, tmp_path / "out") == found


@pytest.mark.usefixtures("undrawn")
def test_a_violation_behind_the_sixth_digit_is_printed_whole(make_run, make_model, tmp_path):
    report.write(Results.load(make_run(make_model([1], [0.30000001], [0.3]))), tmp_path / "out")
    assert "| float | model | quick | 0 | 0.30000001 | 0.3 |" in (tmp_path / "out" / "report.md").read_text()


DEGENERATE = {
    "one model": {},
    "no hyperparameters": {"hyperparameters": {}, "loss": "kr"},
    "all misclassified": {"correct": [0, 0], "real": [0, 0], "distance": [0, 0]},
    "nothing found": {"distance": [float("inf")] * 2},
    "nothing certified": {"real": [0.0, 0.0]},
    "no claim": {"claimed": None, "constrained": False, "bound": 1e4},
    "an unknown loss": {"loss": "my_loss", "hyperparameters": {"gamma": 1.0}},
}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("change", DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize(
    ("attacks", "how"),
    [
        (["art/PGD"], {}),
        (["gradient/minimal"], {}),
        (["gradient/minimal", "autoattack/square"], {"reference_attack": "autoattack", "shard": 1, "seeds": (0, 1)}),
    ],
    ids=["at an eps", "minimal norm", "everything"],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_runs_have_a_report(make_run, make_model, suite, tmp_path, change, attacks, how):
    model = make_model(**{"correct": [1, 0], "real": [0.15, 0], "distance": [0.3, 0], **change})
    run = make_run(model, [suite(eps=[0.2], attacks=attacks)], **how)
    report.write(Results.load(run), tmp_path / "out")
    assert report.check(Results.load(run), tmp_path / "out") == []
    assert "Not available: no hyperparameter takes two values." in (tmp_path / "out" / "report.md").read_text()


def plain_text(text):
    return text.replace("\\", "")


def both(folder):
    return [(folder / name).read_text() for name in ("report.md", "report.html")]


@pytest.mark.usefixtures("undrawn")
def test_violations_stand_at_the_top(make_run, make_model, tmp_path):
    radii = {"floating": [0.3, 0.2, 0.08], "nominal": [0.3, 0.35, 0.1]}
    model = make_model([1, 1, 1], [0.3, 0.2, 0.1], [0.25, 0.3, 0.09], **radii)
    report.write(Results.load(make_run(model)), tmp_path / "out")
    plain, page = both(tmp_path / "out")
    verdict = "Violations: 1 of grade float, 2 of grade real, 3 of grade nominal"
    assert plain.index(verdict) < plain.index("| float | model | quick | 0 | 0.3 | 0.25 |") < plain.index("## The run")
    assert "| real | model | quick | 0 | 0.3 | 0.25 |" in plain
    assert "| real | model | quick | 2 | 0.1 | 0.09 |" in plain
    assert "| nominal | model | quick | 1 | 0.35 | 0.3 |" in plain
    assert f'<p class="verdict bad">{verdict}' in page


@pytest.mark.usefixtures("undrawn")
def test_violations_of_a_stronger_grade_come_first(make_run, make_model, tmp_path):
    claim = make_model([1], [0.1], [0.3], nominal=[0.4], name="first")
    proof = make_model([1], [0.5], [0.3], floating=[0.2], nominal=[0.1], name="second")
    rounding = make_model([1], [0.5], [0.3], floating=[0.5], nominal=[0.1], name="third")
    report.write(Results.load(make_run([claim, proof, rounding])), tmp_path / "out")
    for text in both(tmp_path / "out"):
        rows = re.findall(r"(float|real|nominal)\W+(?:t[dh]\W+)*(first|second|third)\b", text)
        assert rows[:4] == [("float", "third"), ("real", "second"), ("real", "third"), ("nominal", "first")]


@pytest.mark.usefixtures("undrawn")
def test_no_violation_is_said_and_not_red(make_run, make_model, tmp_path):
    report.write(Results.load(make_run(make_model([1], [0.3], [0.4]))), tmp_path / "out")
    plain, page = both(tmp_path / "out")
    assert "**Violations: 0 of grade float, 0 of grade real, 0 of grade nominal" in plain
    assert '<p class="verdict">Violations: 0 of' in page


@pytest.mark.usefixtures("undrawn")
def test_a_model_without_error_analysis_is_named_with_the_reason(make_run, make_model, tmp_path):
    reason = "no error analysis is known for GELU"
    models = [
        make_model([1], [0.3], [0.4], name="one", hyperparameters={"tau": 1.0}),
        make_model([1], [0.3], [0.4], name="two", hyperparameters={"tau": 4.0}, not_analysed=reason),
    ]
    report.write(Results.load(make_run(models)), tmp_path / "mixed")
    for text in both(tmp_path / "mixed"):
        assert f"1 of 2 models: no certificate of grade float: {reason}. Theirs is of grade real: two." in text
        assert "are of grade float unless a setting is marked with another: they hold for the networks as they" in text
        assert "tau 4, grade real" in plain_text(text)
    report.write(Results.load(make_run(models[1])), tmp_path / "real")
    for text in both(tmp_path / "real"):
        assert "are of grade real: they hold in exact arithmetic; the networks run in float64" in text
        assert "Violations: 0 of grade real, 0 of grade nominal;" in text  # and none of a grade that is not there
        assert "certified of grade real" in text


@pytest.mark.usefixtures("undrawn")
def test_the_grades_stand_side_by_side(make_run, make_model, suite, tmp_path):
    radii = {"floating": [0.3, 0.1, 0.1, 0.1], "nominal": [0.3] * 4}
    run = make_run(make_model([1] * 4, [0.3, 0.3, 0.1, 0.1], [0.4] * 4, **radii), [suite(eps=[0.2])])
    report.write(Results.load(run), tmp_path / "out")
    plain, _ = both(tmp_path / "out")
    assert "| float, certified, eps 0.2 | real, certified, eps 0.2 | nominal, certified, eps 0.2 |" in plain
    assert "| model | 1 | 25.0 | 50.0 | 100.0 | confirmed |" in plain
    assert "| 0.2 | 100.0 \\[39.8, 100.0\\] | 25.0 \\[0.6, 80.6\\] | 50.0 \\[6.8, 93.2\\] | 100.0 " in plain


@pytest.mark.usefixtures("undrawn")
def test_a_claim_that_is_not_confirmed_is_flagged(make_run, make_model, tmp_path):
    tight = {"bound": 1 + 4e-6, "claimed": 1.0}
    report.write(Results.load(make_run(make_model([1], [0.3], [0.4], **tight))), tmp_path / "out")
    _, page = both(tmp_path / "out")
    assert "claim not confirmed: computed bound 1.000004 &gt; claimed 1" in page
    assert "1.000004,1.0,False" in (tmp_path / "out" / "summary.csv").read_text()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("real", "distance", "said"),
    [
        (
            [0.5, 0.2],
            [0.5, 0.5],
            "100.0 % certified and 100.0 % robust at eps 0.1; 50.0 % certified and 100.0 % robust at eps 0.4.",
        ),
        (
            [0.2, 0.2],
            [0.5, 0.3],
            "100.0 % certified and 100.0 % robust at eps 0.1; "
            "0.0 % certified and 50.0 % robust at eps 0.4 (nearly useless there).",
        ),
        (  # nothing is certified of what is not robust either
            [0.0, 0.0],
            [0.3, 0.3],
            "0.0 % certified and 100.0 % robust at eps 0.1 (nearly useless there); "
            "0.0 % certified and 0.0 % robust at eps 0.4.",
        ),
    ],
)
def test_what_the_certificate_of_an_unconstrained_network_is_worth(
    make_run, make_model, tmp_path, real, distance, said
):
    free = {"claimed": None, "constrained": False, "loss": "cross_entropy", "hyperparameters": {}}
    report.write(Results.load(make_run(make_model([1, 1], real, distance, **free))), tmp_path / "out")
    for text in both(tmp_path / "out"):
        assert f"unconstrained: an unconstrained network. Its certificate is valid: {said}" in text


@pytest.mark.usefixtures("undrawn")
def test_the_report_says_what_it_was_made_from(small, tmp_path):
    report.write(small, tmp_path)
    for text in both(tmp_path):
        for fact in (
            "d" * 64,
            "torch 2.13.0",
            "gradient/minimal, art/PGD",
            "seed 7",
            "0.05 of the certified samples",
            "n = 30",
        ):
            assert fact in text
        assert "beside it AutoAttack" not in text


@pytest.mark.usefixtures("undrawn")
def test_a_title_heads_the_report(make_run, make_model, tmp_path):
    run = make_run(make_model([1], [0.1], [0.2]), title="CIFAR-10 (JPEG) <1>")
    report.write(Results.load(run), tmp_path / "out")
    heading = "Certified and empirical robustness: CIFAR-10 (JPEG)"
    assert (tmp_path / "out" / "report.md").read_text().startswith(f"# {heading} ")
    assert f"<h1>{heading} &lt;1&gt;</h1>" in (tmp_path / "out" / "report.html").read_text()


def test_the_report_tells_every_seed_and_the_reference_attack(make_run, make_model, tmp_path):
    run = make_run(
        make_model([1, 1], [0.3, 0.3], [0.4, 0.4], audit=[(1, 0.2)]),
        seeds=(7, 8),
        reference_attack="autoattack",
        shard=1,
    )
    report.write(Results.load(run), tmp_path / "out")
    plain, page = both(tmp_path / "out")
    fact = "eps 0.1, 0.2, 0.4; attacks gradient/minimal, art/PGD; seeds 7, 8; beside it AutoAttack standard alone"
    assert plain.count(fact) == 1
    assert page.count(fact) == 2  # at the top, and among the facts
    assert "| samples worked on at once | 1 |" in plain
    assert "| art/PGD | 2.0 | 2.0 | 2.0 |" in plain
    assert "| art/PGD#2 | 2.0 | 2.0 | 2.0 |" in plain
    assert "| of these, certified samples (audit) | 0.0 | 1.0 | 0.0 |" in plain
    assert "count at each; #2: the same attack again, with another seed or other arguments" in plain


# --- signs that attacks fail ---


@pytest.mark.usefixtures("undrawn")
def test_signs_that_attacks_fail_are_told_and_red(make_run, make_model, suite, tmp_path):
    good = make_model([1] * 5, [0.0] * 5, [0.05] * 5, name="good", hyperparameters={"tau": 1.0})
    run = make_run([make_model(**FAILING), good], [suite(attacks=SQUARE)], reference_attack="autoattack", shard=2)
    report.write(Results.load(run), tmp_path / "out")
    plain, page = both(tmp_path / "out")
    said = (
        "model: robust accuracy may be too high. Of the samples, 20 % were broken by AutoAttack standard alone and not "
        "by the suite; 20 % were broken only by Square, which follows no gradient; 20 % were broken by no attack at "
        "any size; 40 % have no gradient of cross-entropy to follow; 20 % have a loss that gradient ascent does not "
        "raise."
    )
    assert said in plain
    assert f'<p class="note bad">{said}</p>' in page
    assert "good: robust accuracy" not in plain
    assert "### Signs that attacks fail, in percent of the samples\n" in plain
    assert "| model | never reached | only by Square | no gradient | loss stuck |" in plain
    assert "| model | 20.0 | 20.0 | 40.0 | 20.0 |" in plain
    assert "| good | 0.0 | 0.0 | 0.0 | 0.0 |" in plain


@pytest.mark.usefixtures("undrawn")
def test_autoattack_alone_stands_beside_the_suite(make_run, make_model, suite, tmp_path):
    run = make_run(make_model(**FAILING), [suite(attacks=SQUARE)], reference_attack="autoattack", shard=2)
    report.write(Results.load(run), tmp_path / "out")
    plain, page = both(tmp_path / "out")
    robust = " | ".join(f"suite, robust, eps {eps} | alone, robust, eps {eps}" for eps in (0.1, 0.2, 0.4))
    first = "suite only, samples broken by | alone only, samples broken by | alone / suite, evaluations"
    assert f"| model | {first} | {robust} |" in plain
    # 3 eps x 4 samples: 300 evaluations each, against 3 attacks of 30
    assert "| model | 3 | 1 | 3.3 | 40.0 | 60.0 | 20.0 | 60.0 | 20.0 | 0.0 |" in plain
    assert '<th colspan="2" scope="colgroup" class="group">robust, eps 0.2</th>' in page


@pytest.mark.usefixtures("undrawn")
def test_without_a_reference_attack_only_the_suite_is_told(make_run, make_model, tmp_path):
    report.write(Results.load(make_run(make_model([1], [0.3], [0.4]))), tmp_path / "out")
    for text in both(tmp_path / "out"):
        assert "too high" not in text.split("Definitions")[0]
        assert "AutoAttack standard alone, on every" not in text
    plain, _ = both(tmp_path / "out")
    assert "| model | never reached | only by Square |\n" in plain
    assert "| model | 0.0 | n/a |" in plain  # no Square, nothing to say


@pytest.mark.usefixtures("undrawn")
def test_what_autoattack_alone_broke_inside_a_radius_is_a_violation(make_run, make_model, tmp_path):
    model = make_model([1], [0.3], [np.inf], nominal=[0.1], found={"alone": [0.25]})
    report.write(Results.load(make_run(model, reference_attack="autoattack")), tmp_path / "out")
    plain, page = both(tmp_path / "out")
    assert "Violations: 1 of grade float, 1 of grade real, 0 of grade nominal" in plain
    assert "| real | model | quick | 0 | 0.3 | 0.25 |" in plain
    assert '<p class="verdict bad">Violations: 1 of' in page


@pytest.mark.usefixtures("undrawn")
def test_names_are_escaped_in_markdown_and_html(make_run, make_model, tmp_path):
    assert markdown("a|b_c*<d>") == r"a\|b\_c\*\<d\>"
    report.write(Results.load(make_run(make_model([1], [0.3], [0.4], name="<b>|x", loss="<i>|y"))), tmp_path / "out")
    plain, page = both(tmp_path / "out")
    assert "<b>" not in page
    assert "<i>" not in page
    assert r"| \<b\>\|x | 0.1 |" in plain


@pytest.mark.usefixtures("undrawn")
def test_a_report_that_cannot_be_written_is_an_error(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LipbenchError, match="cannot write"):
        report.write(small, tmp_path / "file" / "out")
