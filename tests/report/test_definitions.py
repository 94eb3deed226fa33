from hand_made import FAILING

from lipbench.certification.grades import GRADES
from lipbench.report import Results, definitions, document, writer


def test_every_sign_is_defined(make_run, make_model):
    (section,) = document.build(Results.load(make_run(make_model(**FAILING), reference_attack="autoattack"))).sections
    signs, alone = section.details[2:4]
    words = {one.word for one in definitions.definitions()}
    assert set(signs.columns[1:]) < words
    assert alone.title.startswith("AutoAttack standard alone")
    assert "AutoAttack alone" in words


def test_each_word_is_defined_once_and_in_the_report(make_run, make_model):
    found = definitions.definitions()
    words = [one.word for one in found]
    assert len(set(words)) == len(words) == 23
    assert {f"grade {grade}" for grade in GRADES} < set(words)
    assert all(one.meaning for one in found)
    text = writer.texts(document.build(Results.load(make_run(make_model([1], [0.1], [0.2])))))["report.md"]
    for one in found:
        assert f"| {writer.markdown(one.word)} | {writer.markdown(one.meaning)} |\n" in text


def test_documents_can_include_the_definitions():
    lines = definitions.markdown().splitlines()
    assert lines[1] == "| --- | --- |"
    assert "| gap | robust accuracy - certified accuracy |" in lines
    assert len(lines) == 2 + len(definitions.definitions())
