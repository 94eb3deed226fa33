"""What a unit is called, and how a run grows without losing one."""

import copy
import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from bundled import CNN, TAU4, UNCONSTRAINED
from running import SMALL, loaded, run, same, stamps, with_attacks

from lipbench._internal import files
from lipbench.attacks import guard, suites
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import LipbenchError
from lipbench.evaluation.evaluate import plan_suite
from lipbench.models import cards
from lipbench.models.cards import digest_of
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import FORMAT, ModelEntry, Run
from lipbench.runs.suite_plans import SuitePlan
from lipbench.runs.units import AttackUnit, CertifyUnit, FactorUnit, IndicatorUnit, ReferenceUnit, Shard, Stage

FGM, APGD, BISECTION = "art/fgm", "autoattack/apgd-ce", "gradient/bisection"
SETTINGS = {"data": "digits", "data_sha256": "d", "samples": 50, "shard": 20, "prune": True, "versions": {"torch": "2"}}
MODEL = ModelEntry("m", {"name": "m"}, digest_of({"name": "m"}))


def planned(suite=SMALL, seeds=(0,), **change) -> Run:
    """A run of one model; ``change``: of its settings."""
    plans = [plan_suite(one, seeds) for one in (suite if isinstance(suite, list) else [suite])]
    return Run({**SETTINGS, **change}, (MODEL,), tuple(plans))


def names(run: Run) -> list[str]:
    return [unit.name for unit in run.units()]


def test_stages_run_the_first_minimal_norm_attack_then_each_group_seed_by_seed():
    suite = with_attacks("autoattack/fab-t")
    plan = plan_suite(suite, (0, 7)).merged(plan_suite(suite.with_grid([0.2, 0.9]), (7, 0)))
    first, second = (0.1, 0.4), (0.2, 0.9)
    rest = [FGM, APGD, "autoattack/fab-t"]
    assert [(str(stage.attack), stage.eps, stage.seed) for stage in plan.stages] == [
        (BISECTION, (), 0),
        *[(name, eps, seed) for eps in (first, second) for seed in (0, 7) for name in rest],
    ]
    assert plan.suite.eps == (0.1, 0.2, 0.4, 0.9)


def test_a_suite_without_a_minimal_norm_attack_has_no_opening():
    plan = plan_suite(suites.parse({**SMALL.plain(), "attack": [{"name": "art/fgm"}]}, "test"))
    assert plan.stages == (Stage(AttackSpec(name="art/fgm"), (0.1, 0.4), 0, 0),)


def test_shards_cover_the_samples():
    run = planned()
    assert run.shards == (Shard(0, 20), Shard(20, 40), Shard(40, 50))
    assert [shard.size for shard in run.shards] == [20, 20, 10]
    assert planned(samples=20).shards == (Shard(0, 20),)
    assert planned(samples=7, shard=1000).shards == (Shard(0, 7),)


def test_every_unit_has_a_name_of_its_own_and_units_come_in_the_order_of_work():
    plan = plan_suite(SMALL, (0, 1), reference_attack="autoattack")
    run = Run(SETTINGS, (MODEL, dataclasses.replace(MODEL, name="n", digest="other")), (plan,))
    units = list(run.units())
    assert len({unit.name for unit in units}) == len(units) == 2 * 3 * (1 + 1 + 2 * 2 + 2 + 1 + 1 + 1)
    kinds = ["certify", BISECTION, *[FGM, APGD] * 2, *["autoattack/standard as reference"] * 2, "indicators"]
    kinds += ["box", "factors"]
    assert [unit.kind for unit in units] == kinds * 6
    assert [(unit.model, unit.shard) for unit in units] == sorted(
        ((unit.model, unit.shard) for unit in units), key=lambda key: (key[0], key[1].start)
    )
    assert all(len(unit.name) == 24 and int(unit.name, 16) for unit in units)


def test_names_are_those_of_every_machine_and_version():
    """A change here makes every record that was ever written another one: then FORMAT must change, too."""
    plan = plan_suite(SMALL, reference_attack="autoattack")
    assert FORMAT == 4
    assert names(Run(SETTINGS, (dataclasses.replace(MODEL, digest="digest"),), (plan,)))[:9] == NAMES


NAMES = [
    "bc2c071f6252c810a39a934e",
    "f8ec47646c241bf47f687828",
    "423ea483fd1de2f0713625a7",
    "437f0ee43787ad3fa4053d76",
    "6d7634fa241e35e5b9e1bcb5",
    "a0323e6aa7692668dda6da78",
    "dc76d3758098564d2929cde8",
    "aa43c86420e669cca8ee540f",
    "88447a7aab580278fb76d91a",
]


DETERMINING = {  # what changes -> the units that then have another name: none, all, or those of a role or attack
    "a setting": (lambda run: dataclasses.replace(run, settings={**SETTINGS, "prune": False}), "all"),
    "a version": (lambda run: dataclasses.replace(run, settings={**SETTINGS, "versions": {"torch": "3"}}), "all"),
    "the data": (lambda run: dataclasses.replace(run, settings={**SETTINGS, "data_sha256": "e"}), "all"),
    "the model": (lambda run: dataclasses.replace(run, models=(dataclasses.replace(MODEL, digest="e"),)), "all"),
    "the model's name": (lambda run: dataclasses.replace(run, models=(ModelEntry("other", {}, MODEL.digest),)), "none"),
    "the provenance": (lambda run: dataclasses.replace(run, provenance={"zoo": "x"}), "none"),
    "the order of settings": (
        lambda run: dataclasses.replace(run, settings=dict(reversed(run.settings.items()))),
        "none",
    ),
    "the suite's name": (lambda run: change_suite(run, name="other", description="what it is for"), "none"),
    "the suite's samples": (lambda run: change_suite(run, samples=1000), "none"),
    "the norm": (lambda run: change_suite(run, norm="Linf"), "of the suite"),
    "the eps": (lambda run: change_suite(run, eps=[0.1, 0.5]), "at eps"),
    "the seed": (lambda run: with_plan(run, dataclasses.replace(run.suites[0], seeds=(3,))), "of the suite"),
    "an argument": (lambda run: change_attack(run, 1, args={"n_iter": 11}), APGD),
    "a first argument": (lambda run: change_attack(run, 0, args={"restarts": 1}), "at eps"),
    "the opening": (
        lambda run: with_plan(run, dataclasses.replace(run.suites[0], opening=(spec(BISECTION, rounds=5),))),
        "attacks",
    ),
}


def spec(name: str, **args) -> AttackSpec:
    return AttackSpec(name=name, args=args)


def with_plan(run: Run, plan: SuitePlan) -> Run:
    return dataclasses.replace(run, suites=(plan,))


def change_suite(run: Run, **change) -> Run:
    suite = suites.parse({**run.suites[0].suite.plain(), **change}, "test")
    return with_plan(run, plan_suite(suite, reference_attack="autoattack"))


def change_attack(run: Run, place: int, **change) -> Run:
    attacks = list(run.suites[0].attacks)
    attacks[place] = attacks[place].model_copy(update=change)
    return with_plan(run, dataclasses.replace(run.suites[0], attacks=tuple(attacks)))


@pytest.mark.parametrize("what", DETERMINING)
def test_a_name_depends_on_what_determines_the_unit_and_on_nothing_else(what):
    change, expected = DETERMINING[what]
    before = Run(SETTINGS, (MODEL,), (plan_suite(SMALL, reference_attack="autoattack"),))
    after = change(before)
    pairs = list(zip(before.units(), after.units(), strict=True))
    assert len(pairs) == 3 * 9
    for old, new in pairs:
        at_eps = isinstance(old, AttackUnit) and old.stage.eps != ()
        other = {
            "all": True,
            "none": False,
            "of the suite": not isinstance(old, CertifyUnit | FactorUnit),
            "attacks": isinstance(old, AttackUnit),
            # of the eps 0.1 and 0.4 one stays: the reference attack at that one is as it was
            "at eps": at_eps
            or (what == "the eps" and isinstance(old, ReferenceUnit | IndicatorUnit) and old.eps == 0.4),
            APGD: at_eps and str(old.stage.attack) == APGD,
        }[expected]
        assert (old.name != new.name) == other, old


def test_suites_that_begin_alike_share_units():
    other = suites.parse({**with_attacks("autoattack/square").plain(), "name": "other"}, "test")
    run = planned([SMALL, other])
    assert len(names(run)) == 3 * (1 + (3 + 1) + (4 + 1) + 1)
    assert len(set(names(run))) == 3 * (1 + 3 + 1 + 1 + 1)  # one box for both, and one of factors


EXTENSIONS = {  # the run grows from the first to the last; no unit of one is missing in the next
    "eps": [{}, {"eps": [0.2, 0.4]}, {"eps": [0.9, 0.1]}],
    "seeds": [{}, {"seeds": (0, 1)}, {"seeds": (2,)}],
    "attacks": [{}, {"attacks": 1}, {"attacks": 3}],
    "attacks after seeds": [{"seeds": (0, 1)}, {"attacks": 2}, {"seeds": (5,)}, {"attacks": 3}],
    "all at once": [{}, {"seeds": (0, 1), "attacks": 1, "eps": [0.3]}, {"attacks": 2, "seeds": (3,), "eps": [0.2]}],
    "less than there is": [{"attacks": 2, "seeds": (0, 1), "eps": [0.1, 0.2]}, {"eps": [0.2]}],
    "a reference attack": [{}, {"reference_attack": "autoattack"}, {}],
}
MORE = ("autoattack/fab-t", "autoattack/apgd-t", "gradient/pgd")


def grown(step) -> Run:
    suite = with_attacks(*MORE[: step.get("attacks", 0)], eps=step.get("eps", [0.1, 0.4]))
    plan = plan_suite(suite, step.get("seeds", (0,)), step.get("reference_attack"))
    return Run(SETTINGS, (MODEL,), (plan,))


@pytest.mark.parametrize("case", EXTENSIONS)
def test_a_run_that_grows_keeps_every_unit(case):
    runs = [grown(EXTENSIONS[case][0])]
    for step in EXTENSIONS[case][1:]:
        runs.append(runs[-1].merged(grown(step)))
    for before, after in pairwise(runs):
        assert set(names(before)) <= set(names(after))
        assert after.merged(before) == after
        assert after.merged(after) == after
    last = runs[-1].suites[0]
    steps = EXTENSIONS[case]
    assert set(last.suite.eps) == {eps for step in steps for eps in step.get("eps", [0.1, 0.4])}
    assert [str(attack) for attack in last.attacks] == [FGM, APGD, *MORE[: max(s.get("attacks", 0) for s in steps)]]
    assert last.suite == with_attacks(*MORE[: max(s.get("attacks", 0) for s in steps)], eps=last.suite.eps)
    assert last.reference_attack == ("autoattack" if any(step.get("reference_attack") for step in steps) else None)
    # every attack with every seed at every group, once; and an attack never before what it was added after
    searches = [(stage.seed, stage.place) for stage in last.stages if stage.eps == last.groups[-1]]
    assert sorted(searches) == sorted((seed, place) for seed in last.seeds for place in range(len(last.attacks)))
    assert all(len(set(group)) == len(group) for group in last.groups)
    assert len(set(names(runs[-1]))) == len(names(runs[-1]))


def test_the_order_in_which_a_run_grew_is_kept_in_its_file():
    late = grown({"seeds": (0, 1)}).merged(grown({"attacks": 1}))
    early = grown({"attacks": 1}).merged(grown({"seeds": (0, 1)}))
    assert set(names(late)) != set(names(early))
    for one in (late, early):
        assert names(Run.from_plain(one.plain())) == names(one)


REFUSED = {
    "another norm": lambda run: change_suite(run, norm="Linf"),
    "another argument": lambda run: change_attack(run, 0, args={"restarts": 1}),
    "another order": lambda run: with_plan(
        run, dataclasses.replace(run.suites[0], attacks=run.suites[0].attacks[::-1])
    ),
    "an attack in front": lambda run: with_plan(
        run, dataclasses.replace(run.suites[0], attacks=(spec("gradient/pgd"), *run.suites[0].attacks))
    ),
    "another opening": lambda run: with_plan(
        run, dataclasses.replace(run.suites[0], opening=(spec(BISECTION, rounds=9),))
    ),
    "no opening": lambda run: with_plan(run, dataclasses.replace(run.suites[0], opening=())),
}


@pytest.mark.parametrize("what", REFUSED)
def test_another_suite_of_the_same_name_is_refused(what):
    run = planned()
    for left, right in ((run, REFUSED[what](run)), (REFUSED[what](run), run)):
        with pytest.raises(LipbenchError, match="another suite of the name 'small': only eps, seeds, and attacks at"):
            left.merged(right)


def test_another_model_of_the_same_name_is_refused():
    run = planned()
    with pytest.raises(LipbenchError, match="another model of the name m; choose another folder"):
        run.merged(dataclasses.replace(run, models=(dataclasses.replace(MODEL, digest="other"),)))


def test_models_and_suites_of_both_runs_join_in_order():
    other = suites.parse({**SMALL.plain(), "name": "other", "norm": "Linf"}, "test")
    second = ModelEntry("a", {"name": "a"}, "second")
    run = planned().merged(Run(SETTINGS, (second, MODEL), (plan_suite(other),)))
    assert [model.name for model in run.models] == ["m", "a"]
    assert [plan.suite.name for plan in run.suites] == ["small", "other"]
    assert {unit.norm for unit in run.units() if isinstance(unit, AttackUnit) and unit.suite == "other"} == {Norm.Linf}


def test_a_new_title_replaces_the_old_one_and_nothing_else_of_the_provenance():
    run = dataclasses.replace(planned(), provenance={"zoo": "a"})
    other = dataclasses.replace(run, provenance={"zoo": "b", "title": "new"})
    assert run.merged(other).provenance == {"zoo": "a", "title": "new"}
    assert other.merged(run).provenance == {"zoo": "b", "title": "new"}


def test_run_json_round_trip(digits_zoo):
    card = cards.read(digits_zoo / TAU4)
    entry = ModelEntry(card.name, card.plain(), digest_of(card.plain()))
    run = grown({"seeds": (0, 4294967295), "eps": [0.1, 1 / 3]}).merged(
        grown({"attacks": 2, "reference_attack": "autoattack"})
    )
    run = dataclasses.replace(run, models=(entry,), provenance={"zoo": "digits", "hardware": {"gpu": None}})
    stored = files.json.loads(files.json.dumps(run.plain()))
    assert Run.from_plain(stored) == run
    assert names(Run.from_plain(stored)) == names(run)
    assert stored["format"] == FORMAT
    del stored["suites"][0]["grown"]  # written before runs could grow
    assert Run.from_plain(stored).suites[0].grown == ()


DAMAGE = {
    "no settings": lambda content: content.pop("settings"),
    "no models": lambda content: content.update(models=[]),
    "no suites": lambda content: content.update(suites=[]),
    "no eps": lambda content: content["suites"][0].update(groups=[]),
    "no seed": lambda content: content["suites"][0].update(seeds=[]),
    "an eps that is none": lambda content: content["suites"][0].update(groups=[["x"]]),
    "no digest": lambda content: content["models"][0].pop("digest"),
    "no number of samples in the suite": lambda content: content["suites"][0]["suite"].update(samples="many"),
    "a list": None,
    **{
        f"{key} {value!r}": lambda content, key=key, value=value: content["settings"].update({key: value})
        for key, values in {
            "samples": (-1, 1.5, "50", True, float("nan"), None),
            "shard": (0, -20, 2.5, None),
            "prune": ("no",),
            "audit": (-0.1, 1.1, float("nan"), "all"),
        }.items()
        for value in values
    },
    "a model twice": lambda content: content["models"].append(content["models"][0]),
    "a model of the same name": lambda content: content["models"].append({**content["models"][0], "digest": "other"}),
    **{
        f"a card with another {key}": lambda content, key=key: content["models"][0]["card"].update({key: "other"})
        for key in ("name", "weights_sha256", "loss")
    },
    "another name than the card's": lambda content: content["models"][0].update(name="other"),
    "the card of another model": lambda content: content["models"][0].update(card={"name": "other"}),
    "a card that is none": lambda content: content["models"][0].update(card=3),
    "a suite twice": lambda content: content["suites"].append(content["suites"][0]),
    **{
        f"eps {groups}": lambda content, groups=groups: content["suites"][0].update(groups=groups)
        for groups in (
            [[0.4, 0.1]],
            [[0.1, 0.4], [0.4]],
            [[0.1]],
            [[0.1, 0.4], [0.5]],
            [[0.1, float("nan")]],
            [[-0.1, 0.1, 0.4]],
            [[0.0, 0.1, 0.4]],
            [[0.1, 0.4, float("inf")]],
        )
    },
    "an unsorted grid": lambda content: content["suites"][0]["suite"].update(eps=[0.4, 0.1]),
    "an eps of the grid twice": lambda content: content["suites"][0]["suite"].update(eps=[0.1, 0.1, 0.4]),
    "a negative eps of the grid": lambda content: content["suites"][0]["suite"].update(eps=[-0.1, 0.4]),
    "an eps of the grid that is none": lambda content: content["suites"][0]["suite"].update(eps=[0.1, float("nan")]),
    **{
        f"seeds {seeds}": lambda content, seeds=seeds: content["suites"][0].update(seeds=seeds)
        for seeds in ([-1], [2**32], [0, 0], [0.5], [True])
    },
    "a reference attack of no name": lambda content: content["suites"][0].update(reference_attack="no"),
    "a reference attack that is no name": lambda content: content["suites"][0].update(reference_attack=True),
    "an opening of another suite": lambda content: content["suites"][0].update(opening=[spec("art/pgd").model_dump()]),
    "an attack less": lambda content: content["suites"][0]["attacks"].pop(),
    "attacks in another order": lambda content: content["suites"][0]["attacks"].reverse(),
    "grown from more attacks than there are": lambda content: content["suites"][0].update(grown=[[3, 1]]),
    "grown from more seeds than there are": lambda content: content["suites"][0].update(grown=[[1, 2]]),
    "grown from less than nothing": lambda content: content["suites"][0].update(grown=[[-1, 1]]),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_run_json_is_named(what, tmp_path):
    content = copy.deepcopy(planned().plain())
    if DAMAGE[what] is not None:
        DAMAGE[what](content)
    (tmp_path / "run.json").write_text(files.json.dumps(content if DAMAGE[what] else [content]))
    with pytest.raises(LipbenchError, match=r"run.json is not a run of lipbench: .+"):
        RunFolder(tmp_path).read()


@pytest.mark.parametrize("key", ["samples", "shard"])
def test_settings_that_lack_a_key_are_named(key):
    settings = {name: value for name, value in SETTINGS.items() if name != key}
    run = Run.from_plain({**planned().plain(), "settings": settings})
    with pytest.raises(LipbenchError, match=f"settings of the run lack '{key}'"):
        names(run)


def test_another_format_is_named(tmp_path):
    files.write_json(tmp_path / "run.json", {**planned().plain(), "format": 2})
    with pytest.raises(LipbenchError, match=r"format 2, expected 4: another version of lipbench made it"):
        RunFolder(tmp_path).read()


# Through the evaluation itself: what is there stays as it is, what is missing is computed.

GROWTH = [  # the suite and the options, the models, and how many units are new: per model and shard a
    # certify unit, the stages, the box and the factors
    ({}, {}, (TAU4,), 2 * (1 + 3 + 2)),
    ({"eps": [0.25]}, {}, (TAU4,), 2 * 2),
    ({}, {"seeds": (0, 1)}, (TAU4,), 2 * 2 * 2),
    ({"attacks": ("autoattack/apgd-t",)}, {}, (TAU4,), 2 * 2 * 2),
    ({}, {}, (TAU4, UNCONSTRAINED), 2 * (1 + 1 + 2 * 2 * 3 + 2)),
    ({}, {}, (TAU4, UNCONSTRAINED), 0),
]


def test_a_run_folder_grows_unit_by_unit(zoo_of, tmp_path, digits, monkeypatch):
    searched = []
    search = guard.search

    def counted(spec, *args, **kwargs):
        searched.append(str(spec))
        return search(spec, *args, **kwargs)

    monkeypatch.setattr(guard, "search", counted)
    zoo, before = zoo_of(TAU4, UNCONSTRAINED), {}
    options = {"samples": 30, "shard": 20}
    for change, more, models, fresh in GROWTH:
        searched.clear()
        suite = with_attacks(*change.get("attacks", ()), eps=change.get("eps", SMALL.eps))
        for model in models:
            folder = run(zoo / model, tmp_path / "run", digits, suite=suite, **options, **more)
        after = stamps(folder)
        assert before.items() <= after.items()
        assert len(after) - len(before) == fresh
        # only the new units were attacked; FGM takes one eps at a time, the others a group at once
        new = {name.removesuffix(".parquet") for name in after.keys() - before.keys()}
        units = [unit for unit in folder.read().units() if unit.name in new and isinstance(unit, AttackUnit)]
        calls = [str(unit.stage.attack) for unit in units for _ in (unit.stage.eps if unit.kind == FGM else [0])]
        assert sorted(searched) == sorted(calls)
        before = after
    assert folder.missing(folder.read()) == []
    assert len(before) == len({unit.name for unit in folder.read().units()})  # nothing was orphaned
    plan = folder.read().suites[0]
    assert plan.groups == ((0.1, 0.4), (0.25,))
    assert plan.suite.eps == (0.1, 0.25, 0.4)
    assert plan.seeds == (0, 1)


def test_a_run_that_grew_equals_one_that_was_asked_for_at_once(zoo_of, tmp_path, digits):
    """As far as the groups are the same; an eps that is added is a group of its own."""
    zoo, more = zoo_of(TAU4), with_attacks("autoattack/apgd-t")
    run(zoo, tmp_path / "grown", digits, samples=30)
    run(zoo, tmp_path / "grown", digits, samples=30, suite=more)
    grown = run(zoo, tmp_path / "grown", digits, samples=30, suite=more, seeds=(0, 1))
    assert same(grown, run(zoo, tmp_path / "whole", digits, samples=30, suite=more, seeds=(0, 1)))


def test_groups_of_eps_know_nothing_of_each_other(zoo_of, tmp_path, digits):
    """Whichever came first: what one broke is still open in the other."""
    weak = [
        {"name": "art/fgm"},
        {"name": "gradient/pgd", "args": {"steps": 5}},
        {"name": "autoattack/apgd-ce", "args": {"n_iter": 2}},
    ]
    suite, zoo = suites.parse({**SMALL.plain(), "attack": weak}, "test"), zoo_of(CNN)
    folders = []
    for name, grids in (("up", ([0.6, 1.2], [0.9])), ("down", ([0.9], [0.6, 1.2]))):
        for grid in grids:
            folder = run(zoo, tmp_path / name, digits, samples=30, suite=suite.with_grid(grid))
        folders.append(folder)
    broken = sum(np.isfinite(frame["adversarial_distance"]).sum() for frame, _ in attacks_of(folders[0]))
    assert broken > 10
    assert same(*folders)


def attacks_of(folder: RunFolder) -> list:
    return [loaded(folder, unit) for unit in folder.read().units() if isinstance(unit, AttackUnit)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 20}, r"samples: 30 there, 20 now"),
        ({"shard": 10}, r"shard: 20 there, 10 now"),
        ({"audit": 0.5}, r"audit: 0.01 there, 0.5 now"),
        ({"prune": False}, r"prune: True there, False now"),
        ({"dtype": "float32"}, r"dtype: float64 there, float32 now"),
    ],
)
def test_other_settings_are_refused_and_change_nothing(change, message, zoo_of, tmp_path, digits):
    zoo = zoo_of(TAU4)
    run(zoo, tmp_path / "run", digits, samples=30, shard=20)
    content = (tmp_path / "run" / "run.json").read_bytes()
    before = stamps(RunFolder(tmp_path / "run"))
    with pytest.raises(LipbenchError, match=rf"other settings \({message}\); choose another folder") as caught:
        run(zoo, tmp_path / "run", digits, **{"samples": 30, "shard": 20, **change})
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / "run.json").read_bytes() == content
    assert stamps(RunFolder(tmp_path / "run")) == before
    assert not list((tmp_path / "run" / "leases").iterdir())


def test_another_model_under_the_same_name_is_refused(zoo_of, tmp_path, digits):
    zoo = zoo_of(TAU4, CNN)
    run(zoo / TAU4, tmp_path / "run", digits, samples=5)
    cards.write(zoo / CNN, cards.read(zoo / CNN).model_copy(update={"name": TAU4}))
    (zoo / CNN).rename(zoo / "other")
    with pytest.raises(LipbenchError, match=f"another model of the name {TAU4}"):
        run(zoo / "other", tmp_path / "run", digits, samples=5)
