"""The page in headless Chromium: what a reader does with it, and what the numbers are then."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browsing import browser, needs_chromium, opened, redrawn

from lipbench.report import Results, document, hyperparameters, page
from lipbench.report.results import load_run
from lipbench.report.tables import Table
from tests.report.conftest import Model, suite, write_run

pytestmark = needs_chromium
DIGITS = Path(__file__).resolve().parents[3] / "reports" / "digits" / "run"
SOME = re.compile(
    r"(mlp-(hinge|hkr|kr_|tau_cross_entropy-tau(4|16)-|cross_entropy.*adversarial)|cnn-tau).*seed[01]|mlp-hinge.*"
)
DEFINITIONS = Table("Definitions", ("word", "meaning"), (("gap", "robust less certified"),), words=True)
BAD = ("9", "-1", "1/0", "a", "1/2/3")  # no eps that the slider reaches
METRICS = ("clean", "certified", "robust", "gap", "mean_gap", "tightness")


def write(results: Results, folder: Path) -> Path:
    report = document.build(results)
    path = folder / "report.html"
    path.write_text(page.render(report, DEFINITIONS, page.payload(report), ["summary.csv"]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def results():
    if not DIGITS.is_dir():
        pytest.skip("needs a checkout: the published digits run")
    whole = load_run(DIGITS)
    return replace(whole, items=tuple(item for item in whole.items if SOME.match(item.model)))


@pytest.fixture(scope="module")
def report(results, tmp_path_factory):
    return write(results, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def usual(results) -> float:
    """The eps at which the page opens."""
    return hyperparameters.chosen_eps(results.hyperparameters())


@pytest.fixture(scope="module")
def launched():
    with browser() as one:
        yield one


@pytest.fixture
def shown(launched, report):
    with opened(launched, report) as one:
        yield one


def names(shown) -> list[str]:
    return shown.locator("#settings .open-setting").all_inner_texts()


def cell(shown, setting: str, column: str) -> str:
    return shown.locator(f"#settings tr[data-setting='{setting}'] td.{column} .value").inner_text()


def printed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def number(text: str) -> float:
    return float(text.replace("−", "-").rstrip(" %")) if text != "n/a" else math.nan


def test_numbers_at_every_eps_are_those_of_the_csv_files(shown, results):
    frame, ours = results.hyperparameters(), results.comparisons()
    for eps in results.eps:
        if shown.locator("#eps-value").inner_text() != eps.shown:
            with redrawn(shown):
                shown.locator("#grid button", has_text=re.compile(f"^{eps.shown}$")).click()
        assert shown.locator("#eps-value").inner_text() == eps.shown
        texts = {row.get_attribute("data-setting"): row for row in shown.locator("#settings tr").all()}
        at = frame[frame["eps"] == eps]
        assert set(texts) == set(at["setting"])
        for _, row in at.iterrows():
            found = texts[row["setting"]].locator("td").all_inner_texts()
            for name, text in zip(METRICS, found[1:], strict=False):
                scale, digits = (1, 2) if name == "tightness" else (100, 1)
                parts = [printed(scale * row[f"{name}_{end}"], digits) for end in ("mean", "lo", "hi")]
                assert text.split() == [parts[0], f"[{parts[1]},", f"{parts[2]}]"], (eps, name)
            against = ours[(ours["setting"] == row["setting"]) & (ours["eps"] == eps) & (ours["metric"] == "certified")]
            difference = against["difference"].iloc[0]
            if difference:
                assert number(found[7].split()[0]) == pytest.approx(100 * difference, abs=0.0501)
            assert found[10] == str(row["n_seeds"])


def test_numbers_of_a_model_are_those_of_the_summary(shown, results, usual):
    summary = results.summary()
    row = summary[(summary["model"] == "mlp-hinge_multiclass-min_margin0.05-seed1") & (summary["eps"] == usual)].iloc[0]
    with redrawn(shown):
        shown.locator("#settings .open-setting", has_text="hinge, m=0.05").click()
    with redrawn(shown):
        shown.locator("#setting .open-model", has_text=row["model"]).click()
    text = shown.locator("#model").inner_text()
    for name in ("clean", "certified", "robust"):
        value, low, high = (f"{100 * row[key]:.1f}" for key in (name, f"{name}_lo", f"{name}_hi"))
        assert f"{name} {value} [{low}, {high}]" in text
    assert f"lipbench evaluate digits/{row['model']} --suite quick" in text
    assert "17,226" in text  # parameters
    assert "min_margin" in text
    assert shown.locator("#model img").count() == 18  # six calls: original, adversarial, change
    classes = shown.locator("#model table", has_text="Each class").locator("tbody tr").all_inner_texts()
    counts = results.samples.query(f"model == {row['model']!r}").groupby("label").size()
    assert [int(line.split()[1]) for line in classes] == counts.tolist()


def test_between_the_eps_of_the_suite_the_page_counts_the_samples(shown, results):
    with redrawn(shown):
        shown.locator("#eps").evaluate("node => { node.value = 120; node.dispatchEvent(new Event('input')); }")
    assert shown.locator("#eps-value").inner_text() == "0.25"
    assert "Between the eps of the suite" in shown.locator("#answer").inner_text()
    models = results.samples.merge(results.summary(eps=0.1)[["model", "setting"]], on="model")
    for setting, part in models.groupby("setting"):
        certified = 100 * (part["certified_radius_float"] > 0.25).mean()
        robust = 100 * (part["adversarial_distance"] > 0.25).mean()
        for name, value in (("certified", certified), ("robust", robust), ("gap", robust - certified)):
            assert number(cell(shown, setting, name)) == pytest.approx(value, abs=0.0501)


@pytest.mark.parametrize(
    ("typed", "eps"),
    [("0.25", "0.25"), (" 51/255 ", "0.2"), ("0", "0"), ("0.50", "0.5"), *((bad, None) for bad in BAD)],
)
def test_an_eps_may_be_typed(shown, usual, typed, eps):
    field = shown.locator("#exact")
    field.fill(typed)
    if eps is None:
        field.press("Enter")
        assert field.get_attribute("aria-invalid") == "true"
        assert shown.locator("#eps-value").inner_text() == f"{usual:g}"
    else:
        with redrawn(shown):
            field.press("Enter")
        assert field.get_attribute("aria-invalid") is None
        assert shown.locator("#eps-value").inner_text() == eps


def test_intervals_of_the_page_are_those_of_the_report_up_to_resampling(shown, results, usual):
    """The frames have 1000 resamples, the page 300 of its own: both at the same eps, by another grade."""
    with redrawn(shown):
        shown.locator("#grade").select_option("nominal")
    frame = results.hyperparameters(eps=usual).set_index("setting")
    three = frame.index[frame["n_seeds"] == 3]  # with two seeds an end is a quantile of a distribution without a mean
    assert len(three) == 3
    for setting in three:
        ends = shown.locator(f"#settings tr[data-setting='{setting}'] td.certified .ends").inner_text()
        low, high = map(float, ends.strip("[]").split(","))
        assert low == pytest.approx(100 * frame.loc[setting, "certified_lo"], abs=3)
        assert high == pytest.approx(100 * frame.loc[setting, "certified_hi"], abs=3)


def test_every_column_sorts_both_ways(shown):
    for column in ("setting", *METRICS, "difference", "pBest", "pFront", "seeds"):
        heading, orders = shown.locator(f"#heading [data-column={column}]"), {}
        for _ in range(2):
            with redrawn(shown):
                heading.locator("button").click()
            orders[heading.get_attribute("aria-sort")] = names(shown)
            assert shown.locator("#heading [aria-sort]").count() == 1
        assert set(orders) == {"ascending", "descending"}, column
        if column in METRICS:
            values = [number(text) for text in shown.locator(f"#settings td.{column} .value").all_inner_texts()]
            assert values == sorted(values, reverse=heading.get_attribute("aria-sort") == "descending"), column
        assert orders["ascending"] != orders["descending"], column


def test_rows_are_filtered_by_family_and_text(shown):
    assert len(names(shown)) == 14
    with redrawn(shown):
        shown.locator("#family").select_option("HKR")
    assert len(names(shown)) == 6
    with redrawn(shown):
        shown.locator("#text").fill("alpha 0.9,")
    assert sorted(names(shown)) == ["mlp, HKR, α=0.9, m=0.2", "mlp, HKR, α=0.9, m=1"]
    assert shown.locator("#count").inner_text() == "2 of 14 settings"


def test_the_address_opens_the_same_view(shown, launched, report):
    for step in (
        lambda: shown.locator("#grid button", has_text="0.2").click(),
        lambda: shown.locator("#by").select_option("robust"),
        lambda: shown.locator("#heading [data-column=gap] button").click(),
        lambda: shown.locator("#text").fill("mlp"),
        lambda: shown.locator("#settings .open-setting", has_text="τ=16").click(),
        lambda: shown.locator("#setting .open-model").nth(1).click(),
    ):
        with redrawn(shown):
            step()
    fragment = "#" + shown.url.partition("#")[2]
    with opened(launched, report, fragment) as again:
        for selector in ("#answer", "#settings", "#setting", "#model", "#eps-value"):
            assert again.locator(selector).inner_text() == shown.locator(selector).inner_text(), selector
        assert again.locator("#text").input_value() == "mlp"
        assert again.locator("#by").input_value() == "robust"
        assert "seed1" in again.locator("#model-title").inner_text()


@pytest.mark.parametrize("fragment", ["#eps=nan&sort=x&run=7&suite=-1", "#setting=%00&model=no", "#eps=1e9", "#%"])
def test_an_address_that_fits_nothing_opens_the_usual_view(launched, report, usual, fragment):
    with opened(launched, report, fragment) as shown:
        assert shown.locator("#eps-value").inner_text() == f"{usual:g}"
        assert len(names(shown)) == 14


def test_all_of_it_by_keyboard(shown, usual):
    def reach(selector: str) -> None:
        for _ in range(120):
            if shown.evaluate(f"document.activeElement.matches({selector!r})"):
                return
            shown.keyboard.press("Tab")
        raise AssertionError(f"{selector} is not reached")

    reach("#eps")
    before = shown.locator("#answer").inner_text()
    with redrawn(shown):
        shown.keyboard.press("ArrowRight")
    text = f"{usual + 0.5 / 240:.4g}"  # a place of the slider further
    assert shown.locator("#eps-value").inner_text() == text
    assert shown.locator("#eps").get_attribute("aria-valuetext") == f"eps {text}"
    assert shown.locator("#answer").inner_text() != before  # a live region: read aloud
    assert shown.locator("#answer").get_attribute("aria-live") == "polite"
    reach("[data-column=gap] button")
    with redrawn(shown):
        shown.keyboard.press("Enter")
    assert shown.locator("[data-column=gap]").get_attribute("aria-sort") == "descending"
    reach("#settings .open-setting")
    assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    name = shown.evaluate("document.activeElement.textContent")
    with redrawn(shown):
        shown.keyboard.press("Enter")
    assert shown.evaluate("document.activeElement.textContent") == f"Setting: {name}"
    reach("#setting .open-model")
    with redrawn(shown):
        shown.keyboard.press("Enter")
    assert shown.evaluate("document.activeElement.id") == "model-title"


def test_paper_has_all_of_it(shown):
    shown.emulate_media(media="print")
    shown.set_viewport_size({"width": 1031, "height": 700})  # A4 across, without its margins
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.locator("details:not([open])").count() == 0
    cut = """() => [...document.querySelectorAll('main *')].filter((node) => {
        const box = node.getBoundingClientRect();
        return box.width && (box.right > innerWidth + 1
            || getComputedStyle(node).overflowX === 'auto' && node.scrollWidth > node.clientWidth + 1);
    }).map((node) => node.outerHTML.slice(0, 120))"""
    assert shown.evaluate(cut) == []
    assert all(table.is_visible() for table in shown.locator("details table").all())
    assert shown.locator("details table").count() >= 8
    assert len(names(shown)) == 14
    written = shown.pdf(prefer_css_page_size=True)
    assert written[:5] == b"%PDF-"
    assert len(re.findall(rb"/Type ?/Page\b", written)) > 5
    shown.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shown.locator("details[open]").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (1400, "dark"), (390, "light")])
def test_axe_finds_nothing_serious(launched, report, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with opened(launched, report, width=width, scheme=scheme) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") == width  # the page does not scroll sideways
        shown.evaluate("for (const node of document.querySelectorAll('details')) node.open = true")
        shown.evaluate(
            "for (const row of document.querySelectorAll('details tr:nth-child(n + 4)')) row.remove()"
        )  # alike
        found = Axe().run(shown).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:150] for node in one["nodes"][:3]]) for one in serious] == []


def test_names_of_files_are_shown_and_never_run(launched, tmp_path):
    name, other = "<img src=x onerror=alert(1)>&amp;", "</script><script>alert(2)</script>"
    rng = np.random.default_rng(0)
    distance = rng.uniform(0.05, 0.9, 30)
    models = [
        Model(
            correct=[1] * 30,
            real=list(distance * tightness),
            distance=list(distance),
            name=f"{name}{seed}",
            label=f"{name}{seed}",
            hyperparameters={"<b>tau": float(seed)},
            seed=seed,
            card_has={"training": {other: other}},
        )
        for seed, tightness in ((1, 0.9), (2, 0.8))
    ]
    results = Results.load(write_run(tmp_path / "run", models, [suite(eps=["36/255", "72/255"])], title=other))
    with opened(launched, write(results, tmp_path)) as shown:
        assert shown.locator("h1").inner_text().endswith(other)
        assert shown.locator("#model-title").inner_text() == f"Model: {name}1"
        assert f"training.{other}" in shown.locator("#model").inner_text()
        assert any(name in text for text in names(shown))
        assert shown.locator("#eps-value").inner_text() in ("36/255", "72/255")
        assert shown.locator("main img").count() == 0


def test_two_suites_and_a_network_without_a_certificate(launched, tmp_path):
    """The switch of suites; n/a stands last, whichever way it is sorted."""
    distance = [0.5, 0.4, 0.3, 0.02]
    free = Model(
        correct=[1] * 4,
        real=[0.1] * 4,
        distance=distance,
        name="free",
        claimed=None,
        loss="cross_entropy",
        hyperparameters={},
    )
    held = Model(correct=[1] * 4, real=[0.3, 0.2, 0.1, 0.0], distance=distance, name="held")
    results = Results.load(write_run(tmp_path / "run", [held, free], [suite(), suite("wide", eps=(0.3, 0.5))]))
    with opened(launched, write(results, tmp_path)) as shown:
        with redrawn(shown):
            shown.locator("#suite").select_option(label="wide (L2)")
        assert shown.locator("#grid button").all_inner_texts() == ["0.3", "0.5"]
        with redrawn(shown):
            shown.locator("#grade").select_option("nominal")
        for _ in range(2):
            with redrawn(shown):
                shown.locator("#heading [data-column=certified] button").click()
            assert shown.locator("#settings td.certified .value").last.inner_text() == "n/a"


def test_factors_stand_beside_those_of_the_best_setting(launched, tmp_path):
    models = [
        Model([1, 1], radii, [0.5, 0.6], name=name, seed=seed, hyperparameters={"tau": tau}, kept={"dense1": kept})
        for name, seed, tau, kept, radii in (
            ("best", 0, 4.0, 0.95, [0.45, 0.5]),
            ("loose0", 0, 64.0, 0.64, [0.3, 0.4]),
            ("loose1", 1, 64.0, 0.81, [0.3, 0.4]),
        )
    ]
    results = Results.load(write_run(tmp_path / "run", models))
    with opened(launched, write(results, tmp_path)) as shown:
        with redrawn(shown):
            shown.locator("#settings .open-setting", has_text="τ=64").click()
        rows = [row.locator("th, td").all_inner_texts() for row in shown.locator("#setting .factors tbody tr").all()]
        most = shown.locator("#setting .most").inner_text()
        note = shown.locator("#setting p.note", has_text="geometric mean").inner_text()
    found = {row[0]: row[1:] for row in rows}
    assert found["dense1: of the gradient let back"] == ["72 %", "95 %"]  # the geometric mean of 64 and 81
    assert found["the input range"] == ["95 %", "95 %"]
    assert set(found) >= {"tightness"}
    assert "all layers together" not in found
    assert most.startswith("Most is lost in one part: dense1 lets 72 % of the gradient of the margin back; in ")
    assert most.endswith(", 95 %.")
    assert note.startswith("Nothing is lost in: rounding, and the grade; ")


def test_two_runs_on_one_page(launched, tmp_path):
    runs = []
    for name, radii in (("first", [0.15, 0.3]), ("second", [0.05, 0.3])):
        model = Model([1, 1], radii, [0.5, 0.6], name=f"of the {name}")
        runs.append(Results.load(write_run(tmp_path / name, [model], title="the same title")))
    path = tmp_path / "report.html"
    report = document.build(*runs)
    path.write_text(page.render(report, DEFINITIONS, page.payload(report), []), encoding="utf-8")
    with opened(launched, path) as shown:
        with redrawn(shown):
            shown.locator("#grid button", has_text="0.1").click()
        assert shown.locator("#settings td.certified .value").inner_text() == "100.0"
        with redrawn(shown):
            shown.locator("#run").select_option(label=report.runs[1].label)
        assert shown.locator("#model-title").inner_text() == "Model: of the second"
        with redrawn(shown):
            shown.locator("#grid button", has_text="0.1").click()
        assert shown.locator("#settings td.certified .value").inner_text() == "50.0"
        fragment = "#" + shown.url.partition("#")[2]
    with opened(launched, path, fragment) as again:
        assert again.locator("#run").input_value() == "1"
        assert again.locator("#model-title").inner_text() == "Model: of the second"


@pytest.mark.parametrize("width", [360, 390, 800, 1024, 1240, 1260, 1400, 2200])
def test_the_page_never_scrolls_sideways(launched, report, width):
    with opened(launched, report, width=width) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") == width
        narrow = shown.locator("#settings th.setting").first.evaluate("node => node.getBoundingClientRect().width")
        assert narrow >= 100


@pytest.mark.parametrize(
    "given",
    [
        {"correct": [0, 0], "real": [0, 0], "distance": [0, 0]},
        {"distance": [math.inf] * 2},
        {"real": [0.0, 0.0]},
        {"claimed": None, "constrained": False, "hyperparameters": {}},
        {"real": [0.6, 0.5]},  # violations
    ],
    ids=["all misclassified", "nothing found", "nothing certified", "no claim", "false certificates"],
)
def test_a_run_with_little_to_show(launched, tmp_path, given):
    model = Model(**({"correct": [1, 1], "real": [0.1, 0.2], "distance": [0.3, 0.4]} | given))
    path = write(Results.load(write_run(tmp_path / "run", [model])), tmp_path)
    with opened(launched, path) as shown:
        with redrawn(shown):
            shown.locator("#eps").press("ArrowLeft")
        assert len(names(shown)) == 1
        assert "NaN" not in shown.locator("main").inner_text()
        assert "NaN" not in shown.content().partition('<script type="application/json"')[0]
