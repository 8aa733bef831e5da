import threading
from typing import Any

import pytest

from tests.pure.proc_texts import (
    BUDDYINFO,
    TWO_NODES,
    VMSTAT,
    ZONEINFO,
    ZONEINFO_6_1,
    guest_files,
    put,
    with_cpus,
)
from tracer.faults import ExitCode, Fault
from tracer.format import SAMPLE_COLUMNS
from tracer.guest.procfs import parse_zoneinfo
from tracer.guest.samples import GUEST_COUNTS, SAMPLE_SCHEMA, ZONE_COUNTS, Sampler, take

NODES_BUDDYINFO = """\
Node 0, zone    DMA32    100    200      3      0      0      0      0      0      0      0    380 
Node 1, zone   Normal      7      0      0      0      0      0      0      0      0      0    878 
"""  # noqa: W291 - the kernel ends its lines so


def sampled(tmp_path, zoneinfo=ZONEINFO, lost=0, **texts) -> Any:
    with guest_files(tmp_path, zoneinfo=zoneinfo, **texts) as files:
        rows = take(files, parse_zoneinfo(zoneinfo), lost)
    return [dict(zip(SAMPLE_COLUMNS, row, strict=True)) for row in rows]


def picked(row, *names) -> Any:
    return tuple(row[name] for name in names)


def test_counts_are_named_in_the_order_of_the_columns():
    assert [*ZONE_COUNTS, *GUEST_COUNTS] == list(SAMPLE_COLUMNS)[4:-1]


def test_a_sample_has_a_row_per_zone(tmp_path):
    dma, normal = sampled(tmp_path, lost=17)
    assert picked(dma, "zone", "free_blocks") == (0, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3])
    assert picked(normal, "zone", "free_blocks") == (
        1,
        [85, 368, 253, 180, 1986, 1423, 995, 713, 316, 156, 286],
    )
    assert picked(dma, *ZONE_COUNTS) == (3840, 3840, 0, 39, 48, 57, 0)
    assert picked(normal, *ZONE_COUNTS) == (884736, 689206, 3790, 8997, 11246, 13495, 512)
    assert picked(dma, *GUEST_COUNTS) == (117524, 3546, 18434, 8603, 5, 2, 31)
    assert picked(normal, *GUEST_COUNTS) == picked(dma, *GUEST_COUNTS)
    assert dma["lost_events"] == normal["lost_events"] == 17
    assert 0 < dma["read_begin_ns"] <= dma["read_end_ns"]


def test_the_instants_are_those_around_the_read_of_buddyinfo(tmp_path, monkeypatch):
    with guest_files(tmp_path) as files:
        clock = iter(range(100))
        really = files.text

        def text(name) -> str:
            if name == "buddyinfo":
                assert next(clock) == 1
            return really(name)

        monkeypatch.setattr(files, "text", text)
        monkeypatch.setattr("tracer.guest.procfs.time.monotonic_ns", lambda: next(clock))
        rows = take(files, parse_zoneinfo(ZONEINFO), 0)
    assert [row[:2] for row in rows] == [(0, 2), (0, 2)]


def test_a_kernel_that_shows_no_boost_says_so(tmp_path):
    first, second = sampled(tmp_path, TWO_NODES, buddyinfo=NODES_BUDDYINFO)
    assert first["boost"] == second["boost"] == -1
    assert picked(first, "zone", "managed", "free", "pcp", "high") == (0, 765900, 400000, 120, 750)
    assert picked(second, "zone", "managed", "free", "min") == (1, 1031000, 900000, 1100)
    assert second["free_blocks"][-1] == 878


def test_a_zone_that_shows_no_per_cpu_lists_has_no_pcp_count(tmp_path):
    assert sampled(tmp_path, TWO_NODES, buddyinfo=NODES_BUDDYINFO)[1]["pcp"] == -1


def test_frames_on_the_lists_of_two_cpus_are_summed(tmp_path):
    buddyinfo = "Node 0, zone    DMA32      1      2      3\n"
    (row,) = sampled(tmp_path, ZONEINFO_6_1, buddyinfo=buddyinfo)
    assert picked(row, "pcp", "boost", "high") == (1571, 0, 16896)


@pytest.mark.parametrize("cpus", [1, 64, 512])
def test_frames_on_the_lists_of_many_cpus_are_summed(tmp_path, cpus):
    text = with_cpus(ZONEINFO, cpus, 11)
    assert [row["pcp"] for row in sampled(tmp_path, text)] == [11 * cpus, 11 * cpus]


def test_what_no_vmstat_shows_is_not_zero(tmp_path):
    assert picked(sampled(tmp_path, vmstat=None)[0], *GUEST_COUNTS) == (-1,) * 7
    text = "".join(line for line in VMSTAT.splitlines(keepends=True) if not line.startswith("compact"))
    assert picked(sampled(tmp_path, vmstat=text)[0], *GUEST_COUNTS) == (117524, 3546, 18434, 8603, -1, -1, -1)


def test_zones_keep_their_numbers_when_one_loses_all_its_memory(tmp_path):
    only_normal = BUDDYINFO[BUDDYINFO.index("\n") + 1 :]
    (row,) = sampled(tmp_path, buddyinfo=only_normal)
    assert picked(row, "zone", "managed") == (1, 884736)


def test_a_zone_that_is_not_the_manifests_has_no_row(tmp_path):
    hotplugged = BUDDYINFO + BUDDYINFO.splitlines()[0].replace("    DMA", "Movable") + "\n"
    assert [row["zone"] for row in sampled(tmp_path, buddyinfo=hotplugged)] == [0, 1]


BAD = [
    {"buddyinfo": ""},
    {"buddyinfo": "Node 0, zone Other 1 2 3\n"},
    {"buddyinfo": BUDDYINFO.replace(" 286", f" {1 << 32}")},
    {"buddyinfo": BUDDYINFO.replace(" 286", " " + "9" * 5000)},
    {"zoneinfo": ""},
    {"zoneinfo": ZONEINFO.replace("managed  884736", "managed  many")},
    {"zoneinfo": ZONEINFO.replace("  pages free     689206", "  pages: 689206")},
    {"zoneinfo": ZONEINFO.replace("free     689206", f"free     {1 << 64}")},
    {"vmstat": VMSTAT.replace("117524", "117524 kB")},
    {"vmstat": VMSTAT.replace("117524", f"{1 << 64}")},
]


@pytest.mark.parametrize("changed", BAD, ids=range(len(BAD)))
def test_a_text_of_another_form_costs_its_sample_and_is_told(tmp_path, changed):
    with guest_files(tmp_path) as files:
        sampler = Sampler(files, parse_zoneinfo(ZONEINFO))
        sampler.sample(0)
        put(tmp_path, changed)
        sampler.sample(1)
        put(tmp_path, {"zoneinfo": ZONEINFO, "buddyinfo": BUDDYINFO, "vmstat": VMSTAT})
        sampler.sample(2)
        table = sampler.take_table()
    assert sampler.failures == 1
    assert sampler.first_failure
    assert "\n" not in sampler.first_failure
    assert table["lost_events"].to_pylist() == [0, 0, 2, 2]


def test_files_that_cannot_be_read_any_more_never_end_a_recording(tmp_path):
    files = guest_files(tmp_path)
    sampler = Sampler(files, parse_zoneinfo(ZONEINFO))
    files.close()
    for _ in range(3):
        sampler.sample(0)
    assert sampler.failures == 3
    assert "buddyinfo" in str(sampler.first_failure)
    assert sampler.take_table().num_rows == 0


def test_a_vmstat_that_cannot_be_read_any_more_is_not_taken_for_one_that_shows_nothing(tmp_path):
    with guest_files(tmp_path, vmstat=None) as files:
        assert take(files, parse_zoneinfo(ZONEINFO), 0)
    (tmp_path / "vmstat").mkdir()  # opens, but cannot be read
    with guest_files(tmp_path, vmstat=None) as files, pytest.raises(Fault) as caught:
        take(files, parse_zoneinfo(ZONEINFO), 0)
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert "vmstat" in caught.value.what


def test_a_table_has_the_columns_of_the_format_and_each_sample_once(tmp_path):
    with guest_files(tmp_path) as files:
        sampler = Sampler(files, parse_zoneinfo(ZONEINFO))
        assert sampler.take_table().schema == SAMPLE_SCHEMA
        sampler.sample(3)
        sampler.sample(4)
        table = sampler.take_table()
        assert sampler.take_table().num_rows == 0
    assert {field.name: kind(field.type) for field in table.schema} == SAMPLE_COLUMNS
    assert table["lost_events"].to_pylist() == [3, 3, 4, 4]
    assert table["zone"].to_pylist() == [0, 1, 0, 1]
    assert table["read_begin_ns"].to_pylist() == sorted(table["read_begin_ns"].to_pylist())
    assert [len(blocks) for blocks in table["free_blocks"].to_pylist()] == [11] * 4


def kind(arrow_type) -> str:
    return str(arrow_type).replace("item: ", "").replace("element: ", "")


def test_no_sample_is_lost_or_told_twice_when_tables_are_taken_meanwhile(tmp_path):
    with guest_files(tmp_path) as files:
        sampler = Sampler(files, parse_zoneinfo(ZONEINFO))

        def hundred(first) -> None:
            for n in range(100):
                sampler.sample(first + n)

        threads = [threading.Thread(target=hundred, args=(first,)) for first in (0, 100, 200)]
        for thread in threads:
            thread.start()
        seen = []
        while any(thread.is_alive() for thread in threads):
            seen += sampler.take_table()["lost_events"].to_pylist()
        for thread in threads:
            thread.join()
        seen += sampler.take_table()["lost_events"].to_pylist()
    assert sampler.failures == 0
    assert sorted(seen) == sorted(2 * list(range(300)))


def test_a_zone_that_gets_its_first_memory_has_rows_from_then_on(tmp_path):
    zones = parse_zoneinfo(TWO_NODES)
    with guest_files(tmp_path, zoneinfo=TWO_NODES, buddyinfo=NODES_BUDDYINFO) as files:
        sampler = Sampler(files, zones[:1])
        sampler.sample(0)
        elsewhere = Sampler(files, zones[:1], ["DMA32"])
        elsewhere.sample(0)
    assert sampler.zones == zones
    assert sampler.take_table()["zone"].to_pylist() == [0, 1]
    assert elsewhere.zones == zones[:1]
    assert elsewhere.take_table()["zone"].to_pylist() == [0]
