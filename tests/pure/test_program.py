import os
import re
from pathlib import Path
from typing import Any

import pytest

from tracer.format import Op
from tracer.probes.points import (
    LAYERS,
    REQUIRED,
    SOFTIRQ,
    TO_PCP_LISTS,
    TRACEPOINTS,
    Tracepoint,
    available,
    chosen,
    missing,
)
from tracer.probes.program import CPU_BITS, GFP_BITS, PID_BITS, Options, pair_function, raw_functions, source
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
    for point in TRACEPOINTS:
        if point.op not in without:
            event = folder / "events" / point.category / point.event
            event.mkdir(parents=True)
            text = FORMAT if refill else FORMAT.replace("percpu_refill", "something_else")
            (event / "format").write_text(text)
    return folder


def points_of(layer: str, folder: Path) -> list[Tracepoint]:
    return available(chosen(LAYERS[layer]), folder)


def text_for(folder: Path, layer: str = "buddy", **options: Any) -> str:
    given: dict[str, Any] = {"ring_bytes": 1 << 20, "cpus": 4, "page_size": 4096}
    return source(points_of(layer, folder), Options(**(given | options)), folder)


def bodies(text: str) -> dict[str, str]:
    """Each tracepoint program's body by its event."""
    return dict(re.findall(r"TRACEPOINT_PROBE\(\w+, (\w+)\)\n{\n(.*?)\n}\n", text, re.DOTALL))


def functions(text: str) -> dict[str, str]:
    """Each raw program's body by its name."""
    form = r"^int (\w+)\(struct bpf_raw_tracepoint_args \*ctx\)\n{\n(.*?)\n}\n"
    return dict(re.findall(form, text, re.DOTALL | re.MULTILINE))


def kept(body: str) -> str:
    """The arguments of the last `keep`."""
    return " ".join(body[body.rindex("keep(") + 5 : body.rindex(");")].split())


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return tracefs(tmp_path)


def test_fields_are_read_whatever_their_type(whole):
    found = fields("kmem", "mm_page_alloc_zone_locked", whole)
    assert {"common_pid", "pfn", "comm", "name", "percpu_refill"} <= found


def test_a_tracepoint_that_does_not_exist_has_no_fields(tmp_path):
    assert fields("kmem", "nothing", tmp_path) == set()


@pytest.mark.parametrize("layer", LAYERS)
def test_every_probe_of_a_whole_kernel_becomes_one_unit_with_its_own_index_and_op(whole, layer):
    found = bodies(text_for(whole, layer))
    chosen_points = chosen(LAYERS[layer])
    assert list(found) == [point.event for point in chosen_points]
    for index, point in enumerate(chosen_points):
        assert kept(found[point.event]).startswith(f"{index}, skip, {int(point.op)}, {point.pfn}, order, ")


def test_the_layers_are_what_the_contract_says(whole):
    ops = {layer: {point.op for point in points_of(layer, whole)} for layer in LAYERS}
    assert ops["frame"] == {Op.PAGE_ALLOC, Op.PAGE_FREE}
    assert ops["buddy"] == {
        Op.ZONE_LOCKED, Op.PCPU_DRAIN, Op.EXTFRAG, Op.PAGE_FREE, Op.COMPACTION_ISOLATE, Op.FAST_ISOLATE,
    }  # fmt: skip
    assert ops["both"] == ops["buddy"] | ops["frame"]


def test_a_missing_optional_tracepoint_is_left_out_and_the_indexes_stay_dense(tmp_path):
    folder = tracefs(tmp_path, without=(Op.EXTFRAG, Op.FAST_ISOLATE))
    text = text_for(folder, "both", cpus=4)
    assert "extfrag" not in text
    assert "fast_isolate" not in text
    indexes = [kept(body).partition(",")[0] for body in bodies(text).values()]
    assert indexes == [str(index) for index in range(5)]
    assert f"counters, {2 * 5 * 4}, BPF_F_MMAPABLE" in text  # both copies, each CPU
    assert "pairing, struct seen, 5)" in text


def test_the_second_copy_counts_in_slots_behind_all_first_ones(whole):
    text = text_for(whole, "both")
    count = len(points_of("both", whole))
    for index, point in enumerate(points_of("both", whole)):
        if point.raw:
            first, second = raw_functions(point)
            assert kept(functions(text)[first]).startswith(f"{index}, ")
            assert kept(functions(text)[second]).startswith(f"{index} + {count}, ")


def test_what_a_layer_needs_is_required_and_nothing_else(tmp_path):
    assert set(REQUIRED["buddy"]) == {Op.ZONE_LOCKED, Op.PCPU_DRAIN, Op.PAGE_FREE}
    assert set(REQUIRED["frame"]) == {Op.PAGE_ALLOC, Op.PAGE_FREE}
    folder = tracefs(tmp_path, without=(Op.PAGE_ALLOC, Op.PCPU_DRAIN, Op.EXTFRAG))
    assert missing(("buddy",), folder) == ["kmem:mm_page_pcpu_drain"]
    assert missing(("frame",), folder) == ["kmem:mm_page_alloc"]
    assert missing(("buddy", "frame"), folder) == ["kmem:mm_page_pcpu_drain", "kmem:mm_page_alloc"]


def test_percpu_refill_is_recorded_where_the_kernel_has_it(whole):
    assert kept(bodies(text_for(whole))["mm_page_alloc_zone_locked"]).endswith("args->percpu_refill != 0")


def test_without_percpu_refill_aux_says_unknown(tmp_path):
    body = bodies(text_for(tracefs(tmp_path, refill=False)))["mm_page_alloc_zone_locked"]
    assert kept(body).endswith(", 2")
    assert "percpu_refill" not in body


@pytest.mark.parametrize("layer", LAYERS)
def test_no_tracepoint_program_hides_the_event_from_perf(whole, layer):
    text = text_for(whole, layer)
    for body in bodies(text).values():
        returned = re.findall(r"return (\w+)", body)
        assert returned[-1] == "keep"
        assert set(returned) <= {"1", "keep"}
    keep = re.search(r"int keep\(.*?\n{\n(.*?)\n}\n", text, re.DOTALL)
    assert keep is not None
    assert set(re.findall(r"return ([^;]+);", keep[1])) == {"1"}


def test_raw_forms_are_made_only_of_probes_that_have_one(whole):
    text = text_for(whole, "both")
    with_raw = [point for point in chosen(("buddy", "frame")) if point.raw]
    expected = {name for point in with_raw for name in [pair_function(point), *raw_functions(point)]}
    assert set(functions(text)) == expected
    events = ("mm_page_free", "mm_page_alloc")
    assert expected == {f"{kind}_{event}" for kind in ("pair", "first", "second") for event in events}
    calibrating = {event for event, body in bodies(text).items() if "uncalibrated(" in body}
    assert calibrating == {"mm_page_free", "mm_page_alloc"}


def test_raw_arguments_are_those_of_the_kernels_prototypes(whole):
    """TP_PROTO: mm_page_free(page, order); mm_page_alloc(page, order, gfp_flags, migratetype)."""
    raw = functions(text_for(whole, "frame", with_gfp=True))
    free, alloc = raw["first_mm_page_free"], raw["first_mm_page_alloc"]
    assert set(re.findall(r"ctx->args\[(\d)\]", free)) == {"0", "1"}
    assert "order = (u32)ctx->args[1]" in free
    assert kept(alloc) == (
        "1, 0, 5, PAGE_TO_PFN(ctx->args[0]), order, (u64)(s64)((s64)(int)ctx->args[3]),"
        " owner((u32)ctx->args[2])"
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_no_word_is_left_unfilled_and_braces_are_balanced(whole, layer):
    text = text_for(whole, layer, orders=(2, 9), ranges=((1, 5),), with_pid=True, with_gfp=True)
    assert not re.findall(r"@\w+@", text)
    assert text.count("{") == text.count("}")
    assert "{{" not in text


@pytest.mark.parametrize(("ring_bytes", "pages"), [(4096, 1), (64 << 20, 16384)])
def test_the_ring_is_sized_in_pages(whole, ring_bytes, pages):
    assert f"BPF_RINGBUF_OUTPUT(events, {pages});" in text_for(whole, ring_bytes=ring_bytes)


def unless(text: str, event: str) -> str:
    found = re.search(r"int skip = \((.*?)\)(?: \|\|.*)?;", bodies(text)[event])
    assert found is not None
    return found[1]


def test_single_pages_freed_outside_softirqs_are_filtered_in_the_kernel(whole):
    buddy = text_for(whole)
    assert unless(buddy, "mm_page_free") == "order == 0 && !in_softirq()"
    assert unless(buddy, "mm_page_alloc_zone_locked") == "0"
    assert functions(buddy)["first_mm_page_free"].count(f"if (({TO_PCP_LISTS}) || UNWANTED(order))") == 1
    (free,) = [point for point in chosen(("buddy",)) if point.op is Op.PAGE_FREE]
    assert raw_functions(free) == ["first_mm_page_free"]  # a second copy would pay for nothing


def test_a_cpu_notes_the_begin_and_the_end_of_softirqs(whole):
    text = text_for(whole)
    noted = dict(re.findall(r"^int (\w+)\(.*\) { return serve_softirq\((\d)\); }$", text, re.MULTILINE))
    assert {event: noted[function] for event, function in SOFTIRQ} == {
        "softirq_entry": "1",
        "softirq_exit": "0",
    }


@pytest.mark.parametrize("layer", ["frame", "both"])
def test_the_frame_layer_keeps_single_pages(whole, layer):
    text = text_for(whole, layer)
    assert unless(text, "mm_page_free") == "0"
    assert "order == 0" not in functions(text)["first_mm_page_free"]


def macro(text: str, name: str) -> str:
    found = re.search(rf"#define {name}\(\w+\) (.*)", text)
    assert found is not None
    return found[1]


def c_value(expression: str, **names: int) -> bool:
    """A C condition of comparisons, && and ||, worked out."""
    python = re.sub(r"(\d)ULL", r"\1", expression).replace("&&", " and ").replace("||", " or ")
    python = python.replace("!", " not ")
    return bool(eval(python, {}, names))


def test_without_filters_nothing_is_unwanted(whole):
    text = text_for(whole)
    assert (macro(text, "UNWANTED"), macro(text, "OUTSIDE")) == ("(0)", "(0)")


def test_an_order_filter_keeps_both_of_its_ends(whole):
    condition = macro(text_for(whole, orders=(3, 5)), "UNWANTED")
    assert [order for order in range(12) if not c_value(condition, order=order)] == [3, 4, 5]


def test_pfn_ranges_keep_their_first_frame_and_not_their_end(whole):
    condition = macro(text_for(whole, ranges=((2, 4), (7, 8))), "OUTSIDE")
    assert [pfn for pfn in range(12) if not c_value(condition, pfn=pfn)] == [2, 3, 7]


def test_an_order_filter_is_for_blocks_and_not_for_the_ranges_of_compaction(whole):
    text = text_for(whole, "both", orders=(9, 10))
    filtered = {event for event, body in bodies(text).items() if "UNWANTED(order)" in body}
    assert filtered == {p.event for p in TRACEPOINTS} - {
        "mm_compaction_isolate_freepages",
        "mm_compaction_fast_isolate_freepages",
    }
    raw = {name: body for name, body in functions(text).items() if not name.startswith("pair_")}
    assert raw
    assert all("UNWANTED(order)" in body for body in raw.values())


def owner_of(text: str) -> str:
    found = re.search(r"u64 owner\(u64 gfp\)\n{\n    return (.*);\n}", text)
    assert found is not None
    return found[1]


def test_owners_are_packed_as_they_are_unpacked(whole):
    gfp, pid = "gfp & 0xfffffff", "((bpf_get_current_pid_tgid() >> 32) & 0x3fffff) << 28"
    assert owner_of(text_for(whole, "frame")) == "0"
    assert owner_of(text_for(whole, "frame", with_gfp=True)) == gfp
    assert owner_of(text_for(whole, "frame", with_pid=True)) == pid
    assert owner_of(text_for(whole, "frame", with_pid=True, with_gfp=True)) == f"{gfp} | {pid}"
    assert (GFP_BITS, PID_BITS, CPU_BITS) == (28, 22, 14)
    assert GFP_BITS + PID_BITS + CPU_BITS == 64
    assert "& 0x3fff) | aux << 14" in text_for(whole, "frame")


def test_probes_of_other_kinds_get_room_behind_these(whole):
    text = source(points_of("buddy", whole), Options(4096, 2, 4096), whole, others=3, extra="/* more */")
    assert text.endswith("/* more */")
    assert f"counters, {2 * (6 + 3) * 2}, " in text


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
