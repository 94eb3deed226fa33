"""What is printed of progress where stderr is no terminal, such as in a log file."""

import subprocess
import sys

import pytest

from lipbench.work import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test lets pass."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_a_minute_and_no_control_characters(clock, capsys):
    with progress.bar(171, initial=1, unit="unit", title="run\r\x1b[2J") as bar:
        for second in range(1, 190):
            clock[0] = second
            bar.update() if second % 2 else bar.refresh()
    lines = capsys.readouterr().err.split("\n")
    assert lines == [*(f"run  [2J: {n} of 171 units" for n in (31, 61, 91, 96)), ""]


def test_a_short_task_without_a_last_state_prints_nothing(clock, capsys):
    with progress.bar(3, unit="step", title="model", leave=False) as bar:
        bar.update()
    with progress.bar(3, unit="step", title="model", silent=True) as bar:
        clock[0] = 100
        bar.update(3)
    with progress.bar(3, initial=3, unit="step", title="nothing was left") as bar:
        bar.refresh()
    assert capsys.readouterr().err == ""


def test_the_text_before_the_count_may_change(clock, capsys):
    with progress.bar(4, unit="epoch", title="zoo") as bar:
        bar.set_description("1/2 mlp")
        clock[0] = 61
        bar.update(2)
    assert capsys.readouterr().err == "1/2 mlp: 2 of 4 epochs\n"


def test_a_terminal_and_a_notebook_get_a_bar(monkeypatch):
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    assert isinstance(progress.bar(3, unit="step", title="model"), progress.tqdm)
    monkeypatch.undo()
    assert not progress.on_terminal()
    monkeypatch.setitem(sys.modules, "ipykernel", progress)
    assert progress.on_terminal()


def test_an_evaluation_with_a_log_file_for_stderr(zoo_of, tmp_path):
    """The command itself: no carriage return, no escape, and the last state."""
    from bundled import TAU4

    with (tmp_path / "log").open("wb") as log:
        words = ["evaluate", str(zoo_of(TAU4)), "--samples", "5", "-o", str(tmp_path / "run")]
        subprocess.run([sys.executable, "-m", "lipbench", *words], stderr=log, stdout=log, check=True)
    text = (tmp_path / "log").read_text()
    assert text.startswith(f"{tmp_path / 'run'}: 6 of 6 units\n")
    assert all(letter.isprintable() or letter == "\n" for letter in text)
