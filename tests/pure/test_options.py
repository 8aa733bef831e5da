"""The words of `pagetide record` as settings: each right value means one thing, each wrong one is a fault."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pure.small_traces import ZONES
from tracer.faults import Fault
from tracer.format import Filters
from tracer.recording.filters import check_orders, filtered_zones, pfn_ranges
from tracer.recording.options import Asked, settings_of
from tracer.recording.settings import Settings

S = 1_000_000_000
DMA = dataclasses.replace(ZONES[0], name="DMA", start_pfn=1, spanned=99)
NORMAL = dataclasses.replace(ZONES[0], name="Normal", start_pfn=100, spanned=900)
OTHER_NODE = dataclasses.replace(NORMAL, node=1, start_pfn=2000, spanned=1000)
GUEST = [DMA, NORMAL, OTHER_NODE]


def settings(**asked) -> Settings:
    return settings_of(Asked(**asked), force=False)


def refusal(**asked) -> Fault:
    with pytest.raises(Fault) as caught:
        settings(**asked)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.partition(": ")[2].strip() or number == 0 for number, line in enumerate(lines))
    return caught.value


def test_nothing_asked_for_is_the_default():
    assert settings() == Settings()


def test_every_option_reaches_its_setting():
    asked = Asked(
        layer="both", segment="10s", ring="1MiB", min_free="1GiB", mode="0640", duration="1m", resync="30s",
        keep="1h", settle="8s", max_size="2GiB", orders="3-9", zones="Normal,DMA",
        pfns="0x10-0x20", with_pid=True, with_gfp=True,
    )  # fmt: skip
    assert settings_of(asked, force=True) == Settings(
        duration_ns=60 * S, segment_ns=10 * S, ring_bytes=1 << 20, layer="both",
        filters=Filters([3, 9], [16, 32], ["Normal", "DMA"]), with_pid=True, with_gfp=True,
        resync_ns=30 * S, keep_ns=3600 * S, settle_ns=8 * S, max_bytes=2 << 30,
        min_free_bytes=1 << 30, file_mode=0o640, force=True,
    )  # fmt: skip


WRONG = {
    "layer": ["", "buddys", "Buddy", "frame,buddy"],
    "segment": ["", "5", "fast", "99ms", "-1s", "9" * 5000 + "s"],
    "ring": ["", "64", "3MiB", "2KiB", "2GiB", "0B", "64M", "9" * 5000 + "B"],
    "min_free": ["", "1", "-1MiB", "lots"],
    "mode": ["", "0", "600x", "0700", "0755", "0400", "0o600", "00600", "888", "-600", "0601"],
    "duration": ["", "1", "1 day", "s", "1e3s", "9" * 5000 + "s"],
    "settle": ["", "1", "-1s", "a while"],
    "resync": ["", "4s", "often", "1"],
    "keep": ["", "39s", "30", "all"],
    "max_size": ["", "1", "2GB of it", "GiB"],
    "orders": ["", "-", "3-", "-3", "5-3", "21", "0x", "a-b", "1-2-3", "0-99", "9" * 5000, "1,2", "1 - 2"],
    "pfns": ["", "5-5", "9-3", "0x", "1-0x10000000001", "x", "9" * 5000, "0x" + "f" * 5000, "-1-5"],
    "zones": ["", ",", "Normal,", ",DMA", "a b", "../x"],
}


@pytest.mark.parametrize(("option", "value"), [(k, v) for k, values in WRONG.items() for v in values])
def test_a_wrong_value_is_a_fault_that_names_its_option(option, value):
    assert f"--{option.replace('_', '-')}" in refusal(**{option: value}).what


TEXTS = st.one_of(
    st.text(max_size=12),
    st.text("0123456789xX-,. abcfsmhKMGTiB\n\u0663\u00b2", max_size=10),
    st.from_regex(r"\A(0[xX])?[0-9a-f]{1,6}-?(0x)?[0-9a-f]{0,6}\Z"),
)


@given(st.sampled_from([f.name for f in dataclasses.fields(Asked) if f.name not in {"with_pid", "with_gfp"}]),
       TEXTS)  # fmt: skip
def test_any_text_is_a_setting_or_a_fault_that_names_its_option(option, text):
    told = ""
    try:
        settings(**{option: text})
    except Fault as fault:
        told = fault.what
    assert not told or f"--{option.replace('_', '-')}" in told


@pytest.mark.parametrize(("option", "value", "how", "fix"), [
    ("pfns", "x", "not FIRST-LAST", "--pfns 0x100000-0x200000"),
    ("pfns", "9-3", "reversed", "--pfns 0x100000-0x200000"),
    ("pfns", "5-5", "its end is not included", "--pfns 0x100000-0x200000"),
    ("pfns", "1-0x10000000001", "ends above", "--pfns 0x100000-0x200000"),
    ("orders", "9-3", "reversed", "--orders 9-10"),
    ("mode", "0777", "executable bits are not allowed", "0600 or 0640"),
    ("mode", "0400", "readable and writable", "0600 or 0640"),
])  # fmt: skip
def test_a_wrong_value_is_answered_with_why_and_a_right_one(option, value, how, fix):
    fault = refusal(**{option: value})
    assert how in fault.how
    assert fault.fix == fix


@pytest.mark.parametrize("flag", ["with_pid", "with_gfp"])
def test_owners_need_the_frame_layer(flag):
    assert f"--{flag.replace('_', '-')}" in refusal(**{flag: True}).what
    for layer in ("frame", "both"):
        assert getattr(settings(layer=layer, **{flag: True}), flag)


@pytest.mark.parametrize(
    ("text", "orders"),
    [("9-10", [9, 10]), ("3", [3, 3]), ("0-0", [0, 0]), ("0x3-0XA", [3, 10]), ("03-010", [3, 10])],
)
def test_orders_include_both_ends(text, orders):
    made = settings(orders=text).filters
    assert made == Filters(orders=orders)


@pytest.mark.parametrize(
    ("text", "pfns"),
    [("16-32", [16, 32]), ("0x10-0x20", [16, 32]), ("7", [7, 8]), ("0-0x10000000000", [0, 1 << 40])],
)
def test_pfns_do_not_include_their_end(text, pfns):
    assert settings(pfns=text).filters == Filters(pfns=pfns)


@pytest.mark.parametrize(("text", "mode"), [("0600", 0o600), ("600", 0o600), ("0640", 0o640), ("644", 0o644)])
def test_modes_are_octal(text, mode):
    assert settings(mode=text).file_mode == mode


@pytest.mark.parametrize(
    ("resync", "keep", "interval_s"),
    [(None, None, None), ("60s", None, 60), (None, "40s", 10), ("5s", "1h", 5), ("1h", "80s", 20)],
)
def test_what_is_kept_needs_a_snapshot_each_quarter_of_it(resync, keep, interval_s):
    interval_ns = settings(resync=resync, keep=keep).resync_interval_ns
    assert interval_ns == (None if interval_s is None else interval_s * S)


# What may be shared


def test_the_shared_command_line_has_no_path_and_no_argument_of_the_command():
    line = Asked(duration="5s", keep="1h", layer="frame", with_pid=True, pfns="1-2").shareable(
        Path("/home/alice/secret/a.trace"), ["/opt/alice/tool", "--password", "hunter2", "/home/alice"]
    )
    assert line == [
        "pagetide", "record", "a.trace", "--layer", "frame", "--segment", "5s", "--ring", "64MiB",
        "--duration", "5s", "--keep", "1h", "--pfns", "1-2", "--with-pid", "--", "tool",
    ]  # fmt: skip


def test_the_shared_command_line_gives_the_same_settings_again():
    asked = Asked(min_free="1GiB", mode="0640", resync="9s", max_size="1GiB", orders="1", zones="DMA")
    line = asked.shareable(Path("a.trace"), None)
    given_back: dict[str, Any] = {line[k][2:].replace("-", "_"): line[k + 1] for k in range(3, len(line), 2)}
    assert Asked(**given_back) == asked


# Filters as the probes understand them


def test_without_filters_everything_is_kept():
    assert pfn_ranges(GUEST, None) == pfn_ranges(GUEST, Filters(orders=[9, 10])) == ()
    assert filtered_zones(GUEST, None) == filtered_zones(GUEST, Filters(pfns=[1, 2])) == GUEST


def test_zones_become_their_frames_on_every_node():
    filters = Filters(zones=["Normal"])
    zones = filtered_zones(GUEST, filters)
    assert zones == [NORMAL, OTHER_NODE]
    assert pfn_ranges(zones, filters) == ((100, 1000), (2000, 3000))


def test_zones_and_pfns_are_both_kept_to():
    filters = Filters(zones=["Normal"], pfns=[500, 2100])
    assert pfn_ranges(filtered_zones(GUEST, filters), filters) == ((500, 1000), (2000, 2100))
    filters = Filters(zones=["Normal"], pfns=[500, 2000])
    assert pfn_ranges(filtered_zones(GUEST, filters), filters) == ((500, 1000),)


def test_pfns_alone_are_one_range():
    assert pfn_ranges(GUEST, Filters(pfns=[50, 150])) == ((50, 150),)


def test_a_zone_that_this_guest_has_not_is_named_with_those_it_has():
    with pytest.raises(Fault) as caught:
        filtered_zones(GUEST, Filters(zones=["Normal", "HighMem"]))
    assert caught.value.what == "this guest has no zone HighMem"
    assert "DMA, Normal" in caught.value.how


@pytest.mark.parametrize("zones", [None, ["DMA"]])
def test_filters_that_leave_nothing_are_a_fault(zones):
    filters = Filters(zones=zones, pfns=[100, 200] if zones else [1 << 30, 1 << 31])
    with pytest.raises(Fault, match="nothing would be recorded"):
        pfn_ranges(filtered_zones(GUEST, filters), filters)


@pytest.mark.parametrize("filters", [None, Filters(zones=["DMA"]), Filters(orders=[0, 10])])
def test_orders_that_this_guest_has_are_kept_to(filters):
    check_orders(filters, 10)


def test_an_order_that_this_guest_has_not_is_a_fault():
    with pytest.raises(Fault, match="this guest has no order 11") as caught:
        check_orders(Filters(orders=[9, 11]), 10)
    assert "0 to 10" in caught.value.how
