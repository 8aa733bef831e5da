import os
import re
from pathlib import Path

import pytest

from tracer.format import Op
from tracer.probes.program import BUDDY_LAYER, REQUIRED, available, source
from tracer.probes.tracefs import ensure_mounted, fields, is_mounted

FORMAT = """\
name: mm_page_alloc_zone_locked
ID: 652
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:unsigned long pfn;	offset:8;	size:8;	signed:0;
	field:char comm[16];	offset:16;	size:16;	signed:0;
	field:__data_loc char[] name;	offset:32;	size:4;	signed:0;
	field:int percpu_refill;	offset:36;	size:4;	signed:1;

print fmt: "pfn=0x%lx", REC->pfn
"""


def tracefs(folder: Path, *, without: tuple[Op, ...] = (), refill: bool = True) -> Path:
    for probe in BUDDY_LAYER:
        if probe.op not in without:
            event = folder / "events" / probe.category / probe.event
            event.mkdir(parents=True)
            text = FORMAT if refill else FORMAT.replace("percpu_refill", "something_else")
            (event / "format").write_text(text)
    return folder


def text_for(folder: Path, ring_bytes: int = 1 << 20) -> str:
    return source(available(tracefs=folder), ring_bytes, 4096, folder)


def units(text: str) -> dict[str, str]:
    """Each probe's return statement by its event."""
    return dict(re.findall(r"TRACEPOINT_PROBE\(\w+, (\w+)\)\n{\n    return (.*);\n}", text))


def test_fields_are_read_whatever_their_type(tmp_path):
    found = fields("kmem", "mm_page_alloc_zone_locked", tracefs(tmp_path))
    assert {"common_pid", "pfn", "comm", "name", "percpu_refill"} <= found


def test_a_tracepoint_that_does_not_exist_has_no_fields(tmp_path):
    assert fields("kmem", "nothing", tmp_path) == set()


def test_every_probe_of_a_whole_kernel_becomes_one_unit_with_its_own_index_and_op(tmp_path):
    found = units(text_for(tracefs(tmp_path)))
    assert list(found) == [probe.event for probe in BUDDY_LAYER]
    for index, probe in enumerate(BUDDY_LAYER):
        arguments = found[probe.event].removeprefix("keep(").split(", ")
        assert arguments[0] == str(index)
        assert arguments[1:3] == [probe.unless, str(int(probe.op))]


def test_a_missing_optional_tracepoint_is_left_out_and_the_indexes_stay_dense(tmp_path):
    have = available(tracefs=tracefs(tmp_path, without=(Op.EXTFRAG, Op.FAST_ISOLATE)))
    text = source(have, 1 << 20, 4096, tmp_path)
    assert "extfrag" not in text
    assert "fast_isolate" not in text
    assert re.findall(r"return keep\((\d+),", text) == [str(index) for index in range(len(have))]
    assert f"struct counter, {len(have)})" in text


def test_what_the_buddy_needs_is_required():
    assert set(REQUIRED) == {Op.ZONE_LOCKED, Op.PCPU_DRAIN, Op.PAGE_FREE}


def test_percpu_refill_is_recorded_where_the_kernel_has_it(tmp_path):
    zone_locked = units(text_for(tracefs(tmp_path)))["mm_page_alloc_zone_locked"]
    assert zone_locked.endswith("args->percpu_refill != 0)")


def test_without_percpu_refill_aux_says_unknown(tmp_path):
    zone_locked = units(text_for(tracefs(tmp_path, refill=False)))["mm_page_alloc_zone_locked"]
    assert zone_locked.endswith(", 2)")
    assert "percpu_refill" not in zone_locked


def test_no_program_hides_the_event_from_perf(tmp_path):
    returned = re.findall(r"return ([^;]+);", text_for(tracefs(tmp_path)))
    assert all(value == "1" or value.startswith(("keep(", "n > 0xffff")) for value in returned)
    assert returned.count("1") == 4


@pytest.mark.parametrize(("ring_bytes", "pages"), [(4096, 1), (64 << 20, 16384)])
def test_the_ring_is_sized_in_pages(tmp_path, ring_bytes, pages):
    assert f"BPF_RINGBUF_OUTPUT(events, {pages});" in text_for(tracefs(tmp_path), ring_bytes)


def test_single_pages_freed_to_the_pcp_lists_are_filtered_in_the_kernel(tmp_path):
    assert ", args->order == 0, 4, " in units(text_for(tracefs(tmp_path)))["mm_page_free"]


def test_no_mount_is_tried_where_tracefs_is_there_or_the_kernel_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr("tracer.probes.tracefs.subprocess.run", lambda *_, **__: pytest.fail("mounted"))
    assert ensure_mounted(tracefs(tmp_path / "mounted"))
    assert not ensure_mounted(tmp_path / "no tracefs")


def test_a_tracefs_that_may_not_be_looked_into_counts_as_not_mounted(tmp_path, monkeypatch):
    stat = os.stat

    def denied(path, *args, **more):
        if str(path).startswith(f"{tmp_path}/"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **more)

    monkeypatch.setattr(os, "stat", denied)
    assert not is_mounted(tmp_path)


def test_an_empty_mount_point_is_mounted_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("tracer.probes.tracefs.subprocess.run", lambda argv, **_: calls.append(argv))
    assert not ensure_mounted(tmp_path)
    assert calls == [["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"]]
