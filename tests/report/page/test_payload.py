"""What the page embeds, against the frames: the scripts count from it, and print it."""

import dataclasses

import numpy as np
import pytest

from lipbench import data
from lipbench.report import Results, document, page
from lipbench.report.page import calls, suites
from lipbench.report.page.blob import unpack
from lipbench.report.page.codes import INFINITE
from tests.report.conftest import suite, sweep, write_run


def embedded(results):
    return page.payload(document.build(results))


@pytest.fixture(scope="module", params=[False, True], ids=["all samples", "some samples"])
def both(request, tmp_path_factory):
    """Results and what the page embeds of them: two suites, models with the same weights, one without grade float."""
    models = sweep(seeds=2, n=40)[::5]
    models[1] = dataclasses.replace(models[1], weights="a" * 64)
    models.append(dataclasses.replace(models[1], name="the same again", seed=9))
    models[0] = dataclasses.replace(models[0], not_analysed="a layer of mine")
    given = [suite(), suite("other", "L2", ["36/255", "72/255"])]
    results = Results.load(write_run(tmp_path_factory.mktemp("page") / "run", models, given))
    with pytest.MonkeyPatch.context() as patched:
        if request.param:
            patched.setattr(suites, "PAIRS", 200)
        return results, embedded(results)


@pytest.fixture
def run(both):
    return both[0]


@pytest.fixture
def given(both):
    return both[1]


def test_counts_of_embedded_bounds_are_those_of_the_samples(run, given):
    """At each eps of the suite, for each grade: as the page counts, against ``Results.samples``."""
    for part in given["runs"][0]["suites"]:
        frame = run.samples[(run.samples["suite"] == part["name"])]
        for model in part["models"]:
            ours = frame[frame["model"] == model["name"]]
            assert part["n"] == len(ours)
            ours = ours.iloc[np.unique(np.linspace(0, part["n"] - 1, part["samples"]).astype(int))]
            assert part["samples"] == len(ours)
            bounds = model["bounds"]
            distance = unpack(given["arrays"], bounds["distance"], np.uint16)
            bits = unpack(given["arrays"], bounds["correct"], np.uint8)
            assert (np.unpackbits(bits, bitorder="little", count=len(ours)) == ours["correct"]).all()
            assert ((distance == INFINITE) == np.isinf(ours["adversarial_distance"])).all()
            first = unpack(given["arrays"], bounds["radius"][model["grade"]], np.uint16)
            for place, (eps, _) in enumerate(part["eps"], 1):
                level = place * part["cells"]
                assert ((distance > level) == (ours["adversarial_distance"] > eps)).all()
                for grade, where in bounds["radius"].items():
                    codes = unpack(given["arrays"], where, np.uint16)
                    codes = codes if grade == model["grade"] else codes + first  # modulo 2^16
                    assert ((codes > level) == (ours[f"certified_radius_{grade}"] > eps)).all()


def test_numbers_of_models_are_those_of_the_summary(run, given):
    for part in given["runs"][0]["suites"]:
        for model in part["models"]:
            of_model = run.summary()
            of_model = of_model[(of_model["model"] == model["name"]) & (of_model["suite"] == part["name"])]
            for place, (_, row) in enumerate(of_model.sort_values("eps").iterrows()):
                at = model["at"]
                assert at["clean"][place] == pytest.approx([row["clean"], row["clean_lo"], row["clean_hi"]], abs=1e-6)
                assert at["robust"][place][0] == row["robust"]
                assert at["gap"][place] == row["gap"]
                assert at["certified"][model["grade"]][place][0] == row["certified"]
                assert ("float" in at["certified"]) == (model["name"] != run.run.models[0].name)


def test_numbers_of_settings_are_those_of_the_frames(run, given):
    settings, comparisons = run.hyperparameters(), run.comparisons()
    for part in given["runs"][0]["suites"]:
        for setting in part["settings"]:
            ours = settings[(settings["setting"] == setting["id"]) & (settings["suite"] == part["name"])]
            for place, (_, row) in enumerate(ours.sort_values("eps").iterrows()):
                for name in ("clean", "certified", "robust", "gap", "mean_gap", "tightness"):
                    expected = [row[f"{name}_mean"], row[f"{name}_lo"], row[f"{name}_hi"]]
                    assert setting["at"][name][place] == pytest.approx(expected, abs=1e-6)
                against = comparisons[
                    (comparisons["setting"] == setting["id"])
                    & (comparisons["suite"] == part["name"])
                    & (comparisons["eps"] == row["eps"])
                ].set_index("metric")
                for metric, cells in setting["compared"]["by"].items():
                    columns = ["difference", "difference_lo", "difference_hi", "p_best"]
                    assert cells[place] == pytest.approx(against.loc[metric, columns].tolist())
                front = setting["compared"]["front"]
                assert front["certified"][place] == against["p_front_certified"].iloc[0]
                assert front["robust"][place] == against["p_front_robust"].iloc[0]


def test_effects_belong_to_their_kind_of_setting(run, given):
    for part in given["runs"][0]["suites"]:
        frame = run.effects()
        assert len(part["effects"]) == (frame["suite"] == part["name"]).sum() > 0
        for row in part["effects"]:
            members = [one for one in part["settings"] if one["kind"] == row["kind"]]
            assert len({one["values"][row["hyperparameter"]] for one in members}) > 1
            assert row["hyperparameter"] in part["axes"][row["kind"]]


def test_copies_are_named_and_not_counted(given):
    for part in given["runs"][0]["suites"]:
        assert [model["name"] for model in part["models"] if model["copy"]] == ["the same again"]


def test_closest_calls_are_the_smallest_ratios(run):
    for item in run.items:
        found = calls.closest(item, 3)
        radius, distance = item.bounds.certified_radius, item.bounds.adversarial_distance
        ratios = sorted(d / r for r, d in zip(radius, distance, strict=True) if r > 0 and np.isfinite(d))
        assert [call["ratio"] for call in found] == ratios[:3]
        for call in found:
            place = item.samples.tolist().index(call["sample"])
            assert (call["radius"], call["distance"]) == (radius[place], distance[place])


def test_pictures_are_those_of_the_test_samples(make_run, make_model, digits):
    """The run says that it has other data, then those that it has."""
    folder = make_run(make_model(correct=[1] * 5, real=[0.1, 0.2, 0.3, 0.4, 0.5], distance=[0.6] * 5))
    results = Results.load(folder)
    part = embedded(results)["runs"][0]["suites"][0]
    assert "another one" in part["no_pictures"]
    assert "original" not in part["models"][0]["calls"][0]
    real = dataclasses.replace(
        results.run, settings=results.run.settings | {"data_sha256": digits.test.first(5).sha256}
    )
    part = embedded(dataclasses.replace(results, run=real))["runs"][0]["suites"][0]
    assert part["no_pictures"] == ""
    call = part["models"][0]["calls"][0]
    assert (call["sample"], call["original"][:22]) == (4, "data:image/png;base64,")
    assert "adversarial" not in call  # the run folder has none
    assert call["original"] == page_picture(digits, 4)


def page_picture(dataset: data.Dataset, sample: int) -> str:
    from lipbench.report.page import images

    return images.uri(dataset.test.x[sample])


@pytest.mark.parametrize(
    ("models", "shape", "most"),
    [(60, (3, 32, 32), 2), (60, (1, 28, 28), 6), (10, (3, 224, 224), 3), (10**6, (1, 8, 8), 1)],
)
def test_as_many_pictures_as_fit(models, shape, most):
    assert calls.per_model(models, shape) == most


def test_a_large_run_embeds_some_samples_evenly_spread():
    assert suites.embedded(60, 1000).tolist() == list(range(1000))
    some = suites.embedded(60, 10_000)
    assert len(some) == suites.PAIRS // 60
    assert (some[0], some[-1]) == (0, 9999)
    assert set(np.diff(some)) == {6, 7}
