import pytest

from tracer.faults import ExitCode, Fault
from tracer.units import duration_ns, human_bytes, human_duration, size_bytes, write_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0),
        ("7ns", 7),
        ("5us", 5_000),
        ("100ms", 100_000_000),
        ("2s", 2_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("2m", 120_000_000_000),
        ("2min", 120_000_000_000),
        (" 3 s ", 3_000_000_000),
        ("0.1s", 100_000_000),
        ("9007199254740993ns", 9_007_199_254_740_993),  # not representable as a float
    ],
)
def test_durations_become_nanoseconds(text, expected):
    assert duration_ns(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1B", 1), ("64MiB", 64 << 20), ("2GiB", 2 << 30), ("1.5KiB", 1536), ("1kB", 1000), ("3GB", 3 * 10**9)],
)
def test_sizes_become_bytes(text, expected):
    assert size_bytes(text) == expected


@pytest.mark.parametrize("parse", [duration_ns, size_bytes])
@pytest.mark.parametrize("text", ["", "5", "0", "1.5", "s", "MiB", "-5s", "5 parsecs", "1e3s", "5s5", "५s"])
def test_a_value_without_or_with_a_wrong_unit_is_refused_in_three_lines(parse, text):
    with pytest.raises(Fault) as caught:
        parse(text)
    assert caught.value.code == ExitCode.USAGE
    assert repr(text) in caught.value.what
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("parse", "text"), [(duration_ns, "64MiB"), (size_bytes, "5s"), (size_bytes, "64mib")]
)
def test_a_unit_of_another_kind_or_case_is_named_with_those_that_exist(parse, text):
    with pytest.raises(Fault, match="is not a") as caught:
        parse(text)
    assert "is no unit of a" in caught.value.how
    assert "units: " in caught.value.fix


def test_a_missing_unit_is_told_from_a_wrong_one():
    with pytest.raises(Fault) as caught:
        duration_ns("5")
    assert caught.value.how == "the unit is missing"


@pytest.mark.parametrize(
    "value_ns", [0, 1, 999, 1_000, 1_500, 2_000_000, 100_000_000, 2_000_000_000, 10**15 + 1]
)
def test_a_written_duration_reads_back_exactly(value_ns):
    assert duration_ns(write_duration(value_ns)) == value_ns


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (3 << 30, "3 GiB"),
        (5 << 40, "5 TiB"),
    ],
)
def test_sizes_for_people(size, text):
    assert human_bytes(size) == text


@pytest.mark.parametrize("size", [1000 << 10, 1010 << 20, 1023 << 30])
def test_sizes_for_people_have_no_exponent(size):
    assert "e+" not in human_bytes(size)


@pytest.mark.parametrize("duration_s", [999.9, 1000.0, 3600.0, 0.99999])
def test_durations_for_people_have_no_exponent(duration_s):
    assert "e+" not in human_duration(duration_s)


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(None, "-"), (0.0, "0 s"), (2.0, "2 s"), (0.0125, "12.5 ms"), (3.2e-5, "32 us"), (5e-9, "0.005 us")],
)
def test_durations_for_people(duration_s, text):
    assert human_duration(duration_s) == text
