"""The kinds of values: what each reads, and what it refuses."""

import math

import pytest
from settings import OTHER

from tfvae.config import Config, fields, schedule
from tfvae.config.config import FIELDS
from tfvae.errors import InputError


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_s_text_reads_as_the_value(name):
    kind = FIELDS[name].metadata["kind"]
    values = [FIELDS[name].default]
    if name in OTHER:
        assert kind.parse(OTHER[name][0]) == OTHER[name][1]
        values.append(OTHER[name][1])
    for value in values:
        again = kind.parse(fields.to_text(value))
        assert again == value and type(again) is type(value)


def test_lr_steps():
    assert schedule.read_steps("200:0.6,350:0.4") == [(200, 0.6), (350, 0.4)]
    for bad in ("", "5", "5:", ":0.1", "5:0.1:2", "0:0.1", "5:0", "5:-1", "5:inf", "5:0.1,5:0.2", "5:0.1,", "1.5:2"):
        with pytest.raises(ValueError):
            schedule.read_steps(bad)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (fields.whole(2, 4), {"2": 2, " 4 ": 4}, ["1", "5", "2.0", "", "auto"]),
        (fields.number(0), {"0": 0.0, "1e-3": 0.001}, ["-0.1", "nan", "inf", "", "1,5"]),
        (fields.number_above(0), {"1e-300": 1e-300}, ["0", "-1", "nan", "inf"]),
        (fields.number_from(0.5, 2.0), {"0.5": 0.5, "2": 2.0}, ["0.49", "2.01", "-1", "nan", "inf"]),
        (fields.choice("a", "b"), {"b": "b"}, ["", "A", "a,b"]),
        (fields.text("a name"), {" a b ": " a b "}, ["", " ", "a\nb", "a\0b"]),
        (fields.true_or_false(), {"true": True, "True": True, "0": False, "False": False}, ["", "yes", "2"]),
        (fields.whole_numbers("sizes", may_be_empty=True), {"": (), "3": (3,), "3, 4": (3, 4)}, ["3,", "0", "1048576"]),
        (fields.whole_numbers("sizes", may_be_empty=False), {"1048575": (1048575,)}, ["", " ", "a"]),
        (fields.or_auto(fields.whole(1)), {"auto": None, "7": 7}, ["0", "None", "AUTO"]),
        (
            fields.sigma(),
            {"learned": "learned", "of_z": "of_z", "0.5": 0.5, "1e-6": 1e-6, "1e6": 1e6},
            ["0", "1e-200", "9e-7", "1.1e6", "nan", "inf", "Learned"],
        ),
        (schedule.learning_rate_schedule(), {"cosine": "cosine", "1:0.5": "1:0.5"}, ["", "linear", "2:1,1:1"]),
    ],
    ids=lambda value: value.allowed if isinstance(value, fields.Kind) else "",
)
def test_what_a_kind_reads_and_refuses(kind, good, bad):
    for text, value in good.items():
        assert kind.parse(text) == value and type(kind.parse(text)) is type(value)
    for text in bad:
        with pytest.raises(ValueError) as caught:
            kind.parse(text)
        assert str(caught.value) == f"must be {kind.allowed}"


def test_a_kind_judges_values_by_their_type_too():
    assert not fields.whole(0).valid(True) and not fields.whole(0).valid(1.0)
    assert fields.number(0).valid(1) and not fields.number(0).valid(True) and not fields.number(0).valid(math.nan)
    assert not fields.true_or_false().valid(1)
    assert not fields.whole_numbers("sizes", may_be_empty=True).valid([1])


BYTES = "caf\udce9"  # what Python makes of the bytes caf\xe9, as of a file's name in Latin-1


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.metadata["kind"].valid("name")])
def test_text_that_is_no_utf_8_is_refused_as_it_could_not_be_recorded(name):
    kind = FIELDS[name].metadata["kind"]
    assert kind.parse("café") == "café"
    with pytest.raises(ValueError) as caught:
        kind.parse(BYTES)
    assert str(caught.value) == f"must be {kind.allowed}, in UTF-8"
    with pytest.raises(InputError) as refused:
        Config(**{name: BYTES})
    assert str(refused.value) == f"{name}='caf\\udce9': must be {kind.words_in_python()}, in UTF-8"
