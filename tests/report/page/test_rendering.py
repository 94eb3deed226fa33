import json
import re
from html.parser import HTMLParser

import pytest

from lipbench.report import Results, document, page
from lipbench.report.page import rendering
from lipbench.report.tables import Table

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u2028'\""
DEFINITIONS = Table("Definitions", ("word", "meaning"), (("gap", HOSTILE),), words=True)


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = tag == "script"

    def handle_data(self, text):
        if self.inside:
            self.scripts.append(text)
            self.inside = False


def rendered(results):
    report = document.build(results)
    data = page.payload(report)
    return page.render(report, DEFINITIONS, data, ["summary.csv"]), data


@pytest.fixture
def hostile(make_run, make_model):
    named = "<script>alert(3)<img src=x onerror=alert(4)>&amp;'\""  # a name has no slash
    names = {"name": named, "label": named, "card_has": {"training": {HOSTILE: HOSTILE}}}
    models = [
        make_model(correct=[1, 1, 0], real=[0.3, 0.2, 0], distance=[0.5, 0.5, 0], **names),
        make_model(correct=[1, 1, 0], real=[0.2, 0.2, 0], distance=[0.5, 0.5, 0], name="plain"),
    ]
    return Results.load(make_run(models, title=HOSTILE))


def test_no_text_of_a_file_becomes_an_element_or_a_script(hostile):
    text, data = rendered(hostile)
    elements = Elements(text)
    scripts = [attributes for tag, attributes in elements.found if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert not [tag for tag, _ in elements.found if tag == "img"]
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert json.loads(elements.scripts[0]) == data  # nothing was lost, either
    assert [f"training.{HOSTILE}", HOSTILE] in data["runs"][0]["suites"][0]["models"][0]["card"]


@pytest.mark.parametrize("text", [HOSTILE, "<!--<script>", "]]>", "&lt;"])
def test_json_that_is_embedded_ends_no_element(text):
    found = rendering.inert({text: [text]})
    assert not set("<>&") & set(found)
    assert json.loads(found) == {text: [text]}


def test_numbers_that_json_does_not_have_are_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        rendering.inert([float("nan")])


def test_the_policy_names_the_one_script_and_the_one_style(hostile):
    text, _ = rendered(hostile)
    policy = next(a["content"] for tag, a in Elements(text).found if a.get("http-equiv") == "Content-Security-Policy")
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[-1]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src '{rendering.digest(style)}'",
        f"script-src '{rendering.digest(script)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert " style=" not in text  # an attribute that the policy would not allow


def test_the_page_asks_for_nothing(hostile):
    text, _ = rendered(hostile)
    links = [a[name] for _, a in Elements(text).found for name in ("src", "href", "action") if name in a]
    assert links
    assert all(re.fullmatch(r"[\w-]+\.(csv|md|tex|pdf|png|svg)", link) for link in links)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|importScripts|innerHTML|eval\(", text)


def test_the_same_run_gives_the_same_page(hostile):
    assert rendered(hostile)[0] == rendered(hostile)[0]


def test_sixty_models_on_a_thousand_samples_take_less_than_three_megabytes(make_run, sweep):
    from lipbench.report.page import calls

    results = Results.load(make_run(sweep(seeds=4, n=1000)[:60]))
    assert len(results.items) == 60
    text, _ = rendered(results)
    assert len(text.encode()) + calls.BUDGET <= 3_000_000


def test_every_script_and_style_is_short():
    for path in (*(rendering.HERE / "scripts").glob("*.js"), rendering.HERE / "page.css"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 320, path.name
    assert {path.stem for path in (rendering.HERE / "scripts").glob("*.js")} == set(rendering.SCRIPTS)
