"""Whole commands, phase by phase: the stopwatch's sums, and the page's tables."""

import importlib
import json
import threading
import types
from pathlib import Path

import pytest


@pytest.fixture
def first_minute(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("first_minute")


class Clock:
    """It stands still but where a function says that it took time."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def pass_seconds(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(first_minute, clock):
    return importlib.import_module("whole_programs").Stopwatch(start=98.0, clock=clock)


def test_phases_follow_each_other_from_the_start_and_end_once(watch, clock):
    watch.end_phase("importing")
    clock.pass_seconds(3)
    watch.end_phase("compile")
    clock.pass_seconds(4)
    watch.end_phase("compile")
    watch.end_phase("training")
    assert watch.phases == {"importing": 2, "compile": 3, "training": 4}


def test_a_call_within_a_call_is_counted_once_and_one_in_another_thread_not_at_all(watch, clock):
    def inner(seconds):
        clock.pass_seconds(seconds)
        return seconds

    def outer(before, *, within):
        clock.pass_seconds(before)
        return owner.inner(within)

    owner = types.SimpleNamespace(inner=inner, outer=outer)
    watch.time_calls(owner, "inner", lambda arguments: f"inner {arguments['seconds']}")
    watch.time_calls(owner, "outer", lambda arguments: "outer")
    assert owner.outer(1, within=10) == 10
    assert owner.outer(2, within=20) == 20
    thread = threading.Thread(target=owner.inner, args=(10,))
    thread.start()
    thread.join()
    assert watch.parts == {"outer": 3, "inner 10": 10, "inner 20": 20}


def test_a_call_that_fails_is_counted_too(watch, clock):
    def fails():
        clock.pass_seconds(5)
        raise ValueError

    owner = types.SimpleNamespace(fails=fails)
    watch.time_calls(owner, "fails", lambda arguments: "failed")
    with pytest.raises(ValueError):
        owner.fails()
    assert watch.parts == {"failed": 5}


def test_a_part_that_becomes_a_phase_is_taken_off_the_one_that_it_was_in(watch, clock):
    owner = types.SimpleNamespace(load=lambda: clock.pass_seconds(4))
    watch.time_calls(owner, "load", lambda arguments: "data")
    owner.load()
    watch.end_phase("compile")
    watch.split_phase("compile", "data")
    assert watch.phases == {"data": 4, "compile": 2} and watch.parts == {}


def measured(total, phases, parts, elbo):
    return {"total": total, "phases": phases, "parts": parts, "elbo": elbo}


def test_the_tables_show_medians_what_is_left_and_ratios_of_the_same_round(first_minute):
    parts = {"steps": 2.0, "validation": 0.5, "pictures": 1.0}
    turns = {
        "tfvae": [
            measured(total, {"importing": 3.0, "training": 4.0, "evaluation": 1.0}, parts, -24.0)
            for total in (10.0, 20.0, 12.0)
        ],
        "keras_io": [measured(total, {"importing": 3.0, "training": 9.0}, {}, -25.5) for total in (15.0, 16.0, 24.0)],
    }
    head, _, ours, theirs = first_minute.phase_table(turns)
    assert head.split(" | ")[1:4] == ["**total**", "importing", "data"]
    # leaving: 12 - 3 - 4 - 1
    assert ours == "| `tfvae.train` | **12.0** | 3.0 | none | none | 4.0 | 1.0 | none | 4.0 |  | -24.00 |"
    ratios = "1.50 (0.80 to 2.00)"  # 15 / 10, 16 / 20, 24 / 12
    expected = f"| **16.0** | 3.0 | none | none | 9.0 | none | none | 4.0 | {ratios} | -25.50 |"
    assert theirs == f"| keras.io's example, by `fit` {expected}"
    assert first_minute.training_table({"digits": turns})[2] == "| digits | 4.0 | 2.0 | 0.5 | 1.0 | 0.0 | 0.5 | 2.00 |"


def test_the_page_shows_the_seconds_that_were_measured(first_minute):
    if not first_minute.FILE.exists():
        pytest.skip("docs/first_minute.json: not measured yet")
    page = (first_minute.DOCS / "performance.md").read_text()
    assert first_minute.text(json.loads(first_minute.FILE.read_text())) in page
