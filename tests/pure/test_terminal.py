"""What people see in a terminal: what files say neither drives it nor runs out of it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from replay import main
from replay.cli import warn as replay_warns
from tests.pure import small_traces
from tests.pure.import_texts import lines as text_of
from tracer import Fault, describe, open_trace, plain
from tracer.faults import ExitCode
from tracer.format import Reporting
from tracer.image.kcore import Kcore
from tracer.terminal import warn

HOSTILE = "a\x1b[31mb\nc\x9bd\x7f"
SHOWN = r"a\x1b[31mb\x0ac\x9bd\x7f"
EVENTS = text_of(
    "  sh 1 [000] 1.000000: kmem:mm_page_alloc_zone_locked: "
    "page=0x1 pfn=0x10 order=0 migratetype=0 percpu_refill=0",
    "  sh 1 [000] 2.000000: kmem:mm_page_pcpu_drain: page=0x1 pfn=0x10 order=0 migratetype=0",
)
LOST = text_of("  sh 1 [000] 1.500000: PERF_RECORD_LOST lost 7")
SILENT = "perf script tells of lost events only with --show-lost-events"


def test_control_characters_are_shown_and_nothing_else_is_changed():
    assert plain(HOSTILE) == SHOWN
    assert plain("\u00e9 \u2028 \\x1b [bold] ~") == "\u00e9 \u2028 \\x1b [bold] ~"


def test_faults_and_warnings_are_plain(capsys):
    assert str(Fault(HOSTILE, HOSTILE, HOSTILE)).count(SHOWN) == 3
    warn(HOSTILE)
    replay_warns(HOSTILE)
    assert capsys.readouterr().err == f"pagetide: {SHOWN}\n" * 2


def test_a_name_on_the_command_line_is_plain(capsys):
    assert main.run(["info", f"{HOSTILE}.trace"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert SHOWN in said
    assert "\x1b" not in said


@pytest.mark.parametrize("verb", [["info"], ["replay", "--policy", "never"], ["validate"]])
def test_what_a_manifest_says_is_plain(tmp_path, capsys, verb):
    path = small_traces.write(tmp_path / "a.trace")

    def spoil(data):
        data.update(tool=HOSTILE, notes=[HOSTILE], command_line=[HOSTILE])
        data["guest"].update(kernel_release=HOSTILE)

    small_traces.edit_manifest(path, spoil)
    main.run([*verb, str(path)])
    said = "".join(capsys.readouterr())
    assert not any(character in said for character in "\x1b\x9b\x7f")
    if verb[0] == "info":
        assert said.count(SHOWN) == 4


def test_long_lines_of_info_hang_within_80_columns(tmp_path):
    path = small_traces.write(tmp_path / "a.trace")
    trace = open_trace(path)
    words = " ".join(["word"] * 50)
    trace.manifest = replace(
        trace.manifest, notes=[words], rung_reason=words, command_line=words.split(), ended_by="signal"
    )
    told = list(describe.lines(trace))[1:]
    assert max(map(len, told)) <= 80
    assert sum(line.startswith("    word") for line in told) >= 9
    assert "  ended by: signal" in told


def test_what_an_import_does_not_know_is_unknown(tmp_path):
    trace = open_trace(small_traces.write(tmp_path / "a.trace"))
    guest = replace(trace.manifest.guest, thp_mode=None)
    reporting = Reporting(order=None, active=None)
    trace.manifest = replace(trace.manifest, guest=guest, reporting=reporting, ended_by=None)
    told = "\n".join(describe.lines(trace))
    assert "THP unknown" in told
    assert "own reporting: unknown, order unknown" in told
    assert "ended by: unknown" in told
    assert "None" not in told


def test_samples_are_counted_once_for_all_zones():
    part = SimpleNamespace(rows=24)
    zones = [small_traces.ZONES[0]] * 2
    manifest = SimpleNamespace(snapshots=[], zones=zones, discarded_events=0)
    trace = SimpleNamespace(
        span_ns=(0, 1), manifest=manifest, segments=[SimpleNamespace(samples=part)], losses=[]
    )
    assert list(describe._seen(trace)) == ["snapshots: none; 12 samples"]  # type: ignore[arg-type]


def test_a_kernel_without_kcore_is_said_to_have_none(tmp_path):
    with pytest.raises(OSError, match=r"^this kernel has no /.*kcore$"):
        Kcore(tmp_path / "kcore")


def imports(folder: Path, kind: str, file: bytes) -> list[str]:
    (folder / "in").write_bytes(file)
    out = folder / "out.trace"
    main.run(["import", kind, str(folder / "in"), "-o", str(out)])
    return open_trace(out).manifest.notes


@pytest.mark.parametrize(
    ("kind", "text", "noted"), [("perf", EVENTS, 1), ("perf", EVENTS + LOST, 0), ("ftrace", EVENTS, 0)]
)
def test_a_text_of_perf_that_names_no_loss_may_be_silent_about_some(tmp_path, kind, text, noted):
    assert imports(tmp_path, kind, text.encode()).count(SILENT) == noted


def test_our_own_call_of_perf_asks_for_losses_and_is_not_noted(tmp_path, monkeypatch):
    perf = tmp_path / "bin/perf"
    perf.parent.mkdir()
    (tmp_path / "said").write_text(EVENTS)
    perf.write_text(f"#!/bin/sh\nexec cat '{tmp_path}/said'\n")
    perf.chmod(0o755)
    monkeypatch.setenv("PATH", f"{perf.parent}:/usr/bin:/bin")
    notes = imports(tmp_path, "perf", b"PERFILE2")
    assert notes
    assert SILENT not in notes


def test_a_line_that_is_quoted_is_plain(tmp_path, capsys):
    imports(tmp_path, "perf", (EVENTS + "  \x1b[31m 1 [000] 3.0: kmem:mm_page_pcpu_drain: what\n").encode())
    said = capsys.readouterr().err
    assert r"\x1b[31m" in said
    assert "\x1b" not in said
