import matplotlib as mpl
import numpy as np
import pytest
from hand_made import CLASHES, inside

from lipbench.report import Results, captions, notation, style, tables
from lipbench.report.effects_figure import effects_figure, panels
from lipbench.report.figures import draw
from lipbench.report.heat_figure import heat
from lipbench.report.sandwich import representative
from lipbench.report.settings_figure import settings_figure
from lipbench.report.surfaces import surfaces

NAMES = {name: name for name in captions.TITLES}


def of(results):
    """The group of the first suite, with intervals."""
    return tables.groups(results.summary(), results.eps, results.hyperparameters(), None, results.effects())[0]


def loaded(run):
    results = Results.load(run)
    return results, of(results)


def drawn(run, eps=0.2):
    results, group = loaded(run)
    return draw(group, results.items, eps, NAMES)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    from .conftest import sweep, write_run

    return loaded(write_run(tmp_path_factory.mktemp("swept") / "run", sweep(seeds=2, n=40)))


@pytest.mark.parametrize("names", [CLASHES[::4], CLASHES[1::6]], ids=["more than fit", "all fit"])
def test_hyperparameters_of_any_name_are_drawn(make_run, make_model, names):
    radii = ((0.15, 1.0), (0.25, 2.0), (0.05, 3.0))
    models = [
        make_model(
            [1], [radius], [0.3], name=f"{place} {value}", loss=f"loss {place:02}", hyperparameters={name: value}
        )
        for place, name in enumerate(names)
        for radius, value in radii
    ]
    _, group = loaded(make_run(models))
    found = effects_figure(group, 0.2, style.WIDE)
    assert {ax.get_xlabel() for ax in found.axes} - {""} == {notation.symbols().get(name, name) for name in names[:8]}
    assert (found.get_supxlabel() == "the first 8 of 11 hyperparameters") == (len(names) > 8)


def test_a_figure_names_what_starts_with_an_underscore_or_holds_a_formula(make_run, make_model):
    pairs = [(a, b) for a in (1.0, 2.0) for b in (1.0, 2.0)]
    models = [
        make_model([1], [0.1 * a], [0.2 * b], name=f"{a}{b}", loss="_my$^loss", hyperparameters={"_a": a, "$\\b$": b})
        for a, b in pairs
    ]
    found = drawn(make_run(models))
    for figure in found.values():
        figure.draw_without_rendering()
    legends = [ax.get_legend() for ax in found["effects"].axes if ax.get_legend()]
    said = {text.get_text().strip() for legend in legends for text in legend.get_texts()}
    assert said == {"_a=1", "_a=2", "$\\b$=1", "$\\b$=2"}
    assert "_my$^loss" in [text.get_text().strip() for text in found["pareto"].legends[0].get_texts()]


def test_every_family_has_a_panel_and_so_have_the_best_and_the_worst(swept):
    frame = swept[1].settings.query("eps == 0.1")
    for most in (8, 6):
        chosen = frame.loc[representative(frame, "certified", most)]
        assert len(chosen) == most
        assert set(chosen["family"]) == set(frame["family"])
        for end in (frame["certified_mean"].idxmax(), frame["certified_mean"].idxmin()):
            assert end in chosen.index


@pytest.mark.parametrize("size", style.SIZES, ids=["two columns", "one column"])
@pytest.mark.parametrize("name", ["settings", "sandwich", "pareto", "effects", "heat"])
def test_figures_have_the_width_of_a_paper_and_nothing_leaves_them(swept, name, size):
    results, group = swept
    figure = draw(group, results.items, 0.2, {name: name})[f"{name}{size.suffix}"]
    assert figure.get_figwidth() == {"": 6.75, "-column": 3.25}[size.suffix]
    figure.draw_without_rendering()
    texts = [text for ax in figure.axes for text in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts)]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    for text in texts:
        if text.get_text() and text.get_visible():
            assert inside(figure.bbox.padded(1), text.get_window_extent()), text.get_text()


def test_axes_of_effects_are_logarithmic_where_a_step_is_a_doubling(swept, make_run, make_model):
    _, group = swept
    found = effects_figure(group, 0.2, style.WIDE)
    scales = {ax.get_xlabel(): ax.get_xscale() for ax in found.axes if ax.get_xlabel()}
    assert scales == {"m": "log", "α/(1−α)": "log", "τ": "log"}
    models = [make_model([1], [0.1], [0.2], name=f"{tau}", hyperparameters={"tau": tau}) for tau in (0.0, 1.0, 4.0)]
    _, other = loaded(make_run(models))
    assert {ax.get_xscale() for ax in effects_figure(other, 0.2, style.WIDE).axes} == {"linear"}


def curves(ax):
    """Lines with a marker at each value of a hyperparameter, and the dots of seeds."""
    marked = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) > 1]
    return marked, [line for line in ax.lines if line.get_marker() == "."]


def test_curves_bands_and_dots_are_the_numbers_of_the_frames(swept):
    results, group = swept
    place = next(i for i, panel in enumerate(panels(group)) if panel.title == "CE")
    ax = effects_figure(group, 0.2, style.WIDE).axes[place]
    found, dots = curves(ax)
    at = group.settings.query("eps == 0.2 and family == 'tau_cross_entropy'").sort_values("loss.tau")
    mean = 100 * at["certified_mean"].to_numpy()
    assert any(np.allclose(line.get_ydata(), mean) for line in found)
    assert np.allclose(found[0].get_xdata(), [1, 4, 16, 64])
    low, high = 100 * at["certified_lo"].to_numpy(), 100 * at["certified_hi"].to_numpy()
    corners = [{round(y, 6) for _, y in band.get_paths()[0].vertices} for band in ax.collections]
    assert any({round(y, 6) for y in (*low, *high)} <= each for each in corners)
    seeds = results.summary(0.2).query("family == 'tau_cross_entropy'")["certified"] * 100
    assert any(np.allclose(sorted(line.get_ydata()), sorted(seeds)) for line in dots)
    top = at.loc[at["certified_mean"].idxmax()]
    assert f"best τ={top['loss.tau']:g}: {100 * top['certified_mean']:.1f} %" in ax.get_title()
    ring = [line for line in ax.lines if str(line.get_markerfacecolor()) == "none"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ring] == [
        (top["loss.tau"], pytest.approx(100 * top["certified_mean"]))
    ]


def test_one_seed_has_no_dots_and_that_is_said(make_run, sweep):
    _, group = loaded(make_run(sweep(seeds=1, n=20)))
    for figure in (effects_figure(group, 0.2, style.WIDE), settings_figure(group, 0.2, style.WIDE)):
        assert not any(curves(ax)[1] for ax in figure.axes)
        assert "seeds" not in [text.get_text() for text in figure.legends[0].get_texts()]
    words = captions.figures(group, 0.2)
    for name in ("settings", "effects"):
        assert "over samples alone" in words[name]
        assert "dots" not in words[name]


def test_captions_say_what_a_reader_has_to_know(swept):
    words = captions.figures(swept[1], 0.2)
    assert list(words) == list(captions.TITLES)
    for name, caption in words.items():
        for part in ("n = 40 samples", "L2", "eps 0.", "suite quick", "grade float", "2 seeds"):
            assert part in caption, name
    assert "95 % over seeds and samples" in words["effects"]


def test_settings_stand_in_order_with_their_numbers(swept):
    group = swept[1]
    strip, numbers = settings_figure(group, 0.2, style.WIDE).axes
    at = group.settings.query("eps == 0.2").sort_values("certified_mean", ascending=False, kind="stable")
    named = captions.brief(group.settings)
    assert [label.get_text() for label in strip.get_yticklabels()] == [named[one] for one in at["setting"]]
    drawn = strip.collections[3].get_offsets()
    assert np.allclose(drawn[:, 0], 100 * at["certified_mean"])
    assert f"{100 * at['certified_mean'].iloc[0]:.1f}" in [text.get_text() for text in numbers.texts]


def test_a_heat_map_holds_the_means_of_a_grid(swept):
    group = swept[1]
    (surface,) = surfaces(group.settings)
    assert (surface.down, surface.across) == ("min_margin", "alpha")
    assert surface.columns == (0.67, 0.91, 0.98)
    figure = heat(group, 0.2, style.WIDE)
    at = group.settings.query("eps == 0.2 and family == 'hkr_multiclass'").sort_values(
        ["loss.min_margin", "loss.alpha"]
    )
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said == [f"{100 * value:.1f}" for value in at["certified_mean"]]


def test_a_hole_in_a_grid_stays_empty(make_run, sweep):
    models = [model for model in sweep(seeds=1, n=20) if model.hyperparameters != {"alpha": 0.91, "min_margin": 0.5}]
    _, group = loaded(make_run(models))
    assert "" in [text.get_text() for text in heat(group, 0.2, style.COLUMN).axes[0].texts]


@pytest.mark.filterwarnings("error")
def test_runs_with_little_to_show_are_drawn(make_run, make_model):
    for change in ({}, {"hyperparameters": {}, "loss": "kr"}, {"correct": [0, 0], "real": [0, 0], "distance": [0, 0]}):
        found = drawn(make_run(make_model(**{"correct": [1, 0], "real": [0.15, 0], "distance": [0.3, 0], **change})))
        said = [text.get_text() for text in found["effects"].texts]
        assert said == ["not available: no hyperparameter takes two values"]


def test_settings_of_matplotlib_are_not_those_of_the_user(swept):
    results, group = swept
    plain = style.encode(draw(group, results.items, 0.2, {"pareto": "pareto"})["pareto"], "svg")
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "axes.facecolor": "red", "svg.fonttype": "none"}):
        other = style.encode(draw(group, results.items, 0.2, {"pareto": "pareto"})["pareto"], "svg")
    assert plain == other
