"""`pagetide batch`: many traces, one dataset, and nothing twice."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import replay
from replay import main
from replay.batching import batch as batching
from replay.batching import dataset, doing, work
from replay.batching.batch import Batch
from replay.batching.dataset import file_of, trace_id
from replay.batching.policies import spelled
from replay.batching.sources import addresses
from replay.batching.table import batch_table
from replay.batching.task import Outcome, Task
from replay.sharding.here import Unasked
from replay.sweeping.frame import metrics
from tests.pure import small_traces
from tests.pure.small_fleets import guests_in, rows
from tests.pure.test_command_line import assert_three_lines
from tracer import Fault, Place, human_bytes
from tracer.faults import ExitCode


class Here:
    """Does tasks in this process."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def run(self, do, tasks, lost) -> Iterator[Any]:
        for task in tasks:
            self.tasks.append(task)
            yield do(task, Unasked())


@pytest.fixture(autouse=True)
def here(monkeypatch) -> Here:
    mine = Here()
    monkeypatch.setattr(doing, "executor_of", lambda _workers, _cluster: mine)
    return mine


@pytest.fixture
def guests(tmp_path) -> Path:
    return guests_in(tmp_path / "guests", "a", "b", "c")


def test_a_row_for_each_trace_and_setting_says_what_replay_says(guests, tmp_path):
    out = tmp_path / "out"
    done = replay.batch(guests, out, ["upstream:delay=1s", "never"])
    assert dict(done.tasks) == {"done": 3, "unchanged": 0, "failed": 0, "lossy": 0}
    found = rows(out)
    assert found.height == 6 and found["trace"].n_unique() == 3
    alone = replay.replay(guests / "b.trace", ["upstream:delay=1s"]).results[0]
    row = found.filter(pl.col("address").str.ends_with("b.trace") & (pl.col("policy") == "upstream")).row(
        0, named=True
    )
    expected = {name: value for name, value in metrics(alone.summary).items() if "imposes" not in name}
    assert expected and {name: row[name] for name in expected} == expected
    assert row["setting"] == alone.run.setting.named and json.loads(row["params"]) == alone.params
    assert json.loads(row["imposes"]) == alone.imposes and row["whole"] is True
    assert row["label"] == "upstream:delay=1s"
    # The row's setting is what `--policy` takes, and comes to the same.
    again = replay.replay(guests / "b.trace", [row["setting"]]).results[0]
    assert again.summary == alone.summary


class Little(Unasked):
    """A worker that shares a small machine with many."""

    fair_bytes = 1


def test_who_gets_little_memory_takes_more_passes_to_the_same(guests, tmp_path, monkeypatch):
    batching.batch(guests, tmp_path / "one", ["upstream", "never"])
    passes, replayed = [], replay.replay

    def heard(trace, settings, *args, **kws):
        passes.append(settings)
        return replayed(trace, settings, *args, **kws)

    monkeypatch.setattr(f"{__name__}.Unasked", Little)
    monkeypatch.setattr(work, "replay", heard)
    batching.batch(guests, tmp_path / "many", ["upstream", "never"])
    assert [len(one) for one in passes] == [1] * 6
    assert rows(tmp_path / "one").equals(rows(tmp_path / "many"))


def test_duckdb_reads_the_dataset(guests, tmp_path):
    out = tmp_path / "out"
    replay.batch(guests, out, ["upstream", "oracle"])
    found = (
        duckdb.connect()
        .execute(
            f"select engine, trace, count(*), sum(reclaimed_byte_seconds) from '{out}/results/**/*.parquet' "
            "where policy = 'oracle' group by all order by trace"
        )
        .fetchall()
    )
    mine = rows(out).filter(policy="oracle").sort("trace")
    assert found == [
        (row["engine"], row["trace"], 1, row["reclaimed_byte_seconds"]) for row in mine.to_dicts()
    ]


def test_files_of_different_policies_fit_together(guests, tmp_path):
    out = tmp_path / "out"
    replay.batch(guests / "a.trace", out, ["boundary"])
    replay.batch(guests / "b.trace", out, ["balloon-hinting", "never"])
    assert set(rows(out)["policy"]) == {"boundary", "balloon-hinting", "never"}


def test_a_second_time_nothing_is_done_and_no_file_is_touched(guests, tmp_path, monkeypatch):
    out = tmp_path / "out"
    replay.batch(guests, out, ["upstream"])
    before = {path: path.stat().st_mtime_ns for path in (out / "results").rglob("*.parquet")}
    monkeypatch.setattr(work, "replay", None)
    done = replay.batch(guests, out, ["upstream"])
    assert dict(done.tasks) == {"done": 0, "unchanged": 3, "failed": 0, "lossy": 0}
    assert {path: path.stat().st_mtime_ns for path in (out / "results").rglob("*.parquet")} == before


def test_only_what_is_missing_is_replayed(guests, tmp_path, monkeypatch):
    out, asked, real = tmp_path / "out", list[Any](), replay.replay

    def heard(trace: Any, settings: Any, options: Any, costs: Any) -> Any:
        asked.append(settings)
        return real(trace, settings, options, costs=costs)

    monkeypatch.setattr(work, "replay", heard)
    replay.batch(guests / "a.trace", out, ["upstream"])
    replay.batch(guests / "a.trace", out, ["upstream"], sets={"delay": ["2s", "1s"], "order": [9]})
    assert [[each.params["delay"] for each in one] for one in asked] == [[2_000_000_000], [1_000_000_000]]
    at_once = tmp_path / "at_once"
    replay.batch(guests / "a.trace", at_once, ["upstream"], sets={"order": [9], "delay": ["1s", "2s"]})
    assert rows(out).equals(rows(at_once))


def test_other_options_are_rows_of_their_own(guests, tmp_path):
    out = tmp_path / "out"
    replay.batch(guests / "a.trace", out, ["upstream"])
    replay.batch(guests / "a.trace", out, ["upstream"], replay.Options(backing="2m"))
    assert sorted(rows(out)["backing"]) == ["2m", "4k"] and rows(out)["options"].n_unique() == 2


def test_a_changed_trace_is_replayed_anew_and_its_old_rows_are_gone(guests, tmp_path):
    out = tmp_path / "out"
    replay.batch(guests, out, ["upstream", "never"])
    shutil.rmtree(guests / "b.trace")
    small_traces.write(guests / "b.trace", segments=((2_000_000, 3_000_000),))
    done = replay.batch(guests, out, ["upstream"])
    assert dict(done.tasks) == {"done": 1, "unchanged": 2, "failed": 0, "lossy": 0}
    of_b = rows(out).filter(pl.col("address").str.ends_with("b.trace"))
    assert of_b["policy"].to_list() == ["upstream"] and of_b["events"].to_list() == [2.0]


def test_results_of_another_engine_stay_beside(guests, tmp_path, monkeypatch):
    out = tmp_path / "out"
    replay.batch(guests / "a.trace", out, ["upstream"])
    monkeypatch.setattr(dataset, "engine", lambda: "9.9.9-abc")
    assert dict(replay.batch(guests / "a.trace", out, ["upstream"]).tasks)["done"] == 1
    assert rows(out)["engine"].n_unique() == 2


def test_one_corrupt_trace_does_not_stop_the_others(guests, tmp_path, capsys):
    out = tmp_path / "out"
    (guests / "b.trace" / "manifest.json").write_text("{")
    assert main.run(["batch", str(guests), "-o", str(out), "--policy", "upstream"]) == ExitCode.LOSSY
    assert rows(out).height == 2
    said = capsys.readouterr()
    assert "3 traces: 2 replayed, 1 failed" in said.out and "is damaged" in said.out and "b.trace" in said.err
    told = batching.Batch(str(out), {}).manifest
    assert sorted(told["status"]) == ["done", "done", "failed"]
    assert "is damaged" in told.filter(status="failed")["reason"][0][0]
    small_traces.write(guests / "d.trace")
    shutil.rmtree(guests / "b.trace")
    small_traces.write(guests / "b.trace")
    assert main.run(["batch", str(guests), "-o", str(out), "--policy", "upstream"]) == ExitCode.DONE
    assert set(batching.Batch(str(out), {}).manifest["status"]) == {"done", "unchanged"}


def test_all_failed_is_a_fault(tmp_path, capsys):
    out = tmp_path / "out"
    assert main.run(["batch", str(tmp_path / "no.trace"), "-o", str(out)]) == ExitCode.USAGE
    assert_three_lines(capsys.readouterr().err.split("\n", 1)[1], "none of the 1 traces could be replayed")


def test_lossy_traces_are_told_of(guests, tmp_path, capsys):
    small_traces.write(guests / "lossy.trace", lost=7)
    arguments = ["batch", str(guests), "-o", str(tmp_path / "out"), "--policy", "upstream"]
    assert main.run(arguments) == ExitCode.LOSSY
    assert "1 of 4 traces are lossy" in capsys.readouterr().err
    assert main.run([*arguments, "--allow-loss"]) == ExitCode.DONE


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["{guests}", "-o", "{guests}"], "exists already, and holds no batch"),
        (["{guests}", "-o", "{guests}/no/such"], "there is no folder"),
        (["{guests}/*.nothing", "-o", "{tmp}/o"], "there is no trace in"),
        (["{guests}", "-o", "{tmp}/o", "--policy", "magic"], "there is no policy 'magic'"),
        (["{guests}", "-o", "{tmp}/o", "--policy", "upstream:speed=1"], "no parameter speed"),
        (["{guests}", "-o", "{tmp}/o", "--policy", "upstream:delay=5"], "'5' is not a duration"),
        (["{guests}", "-o", "{tmp}/o", "--set", "order=9"], "nothing is swept"),
        (["{guests}", "-o", "{tmp}/o", "--policy", "never", "--set", "delay=1s"], "no parameter delay"),
        (["{guests}", "-o", "{tmp}/o", "--policy", "upstream", "--policy", "upstream"], "is there twice"),
        (["{guests}", "-o", "{tmp}/o", "--start", "warm"], "--start warm is not possible"),
        (["{guests}"], "-o"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_done(guests, tmp_path, capsys, arguments, what):
    words = [word.format(guests=guests, tmp=tmp_path) for word in arguments]
    assert main.run(["batch", *words]) == ExitCode.USAGE
    assert_three_lines(capsys.readouterr().err, what)
    assert not (tmp_path / "o").exists()


def test_two_batches_do_not_write_to_one_folder(guests, tmp_path, here, monkeypatch):
    out, second = tmp_path / "out", list[Fault]()

    def meanwhile(_outcome: Outcome) -> None:
        with pytest.raises(Fault, match="is being written by another batch") as raised:
            replay.batch(guests, out, ["never"])
        second.append(raised.value)

    assert replay.batch(guests, out, ["upstream"], tell=meanwhile).tasks["done"] == 3
    assert len(second) == 3
    assert replay.batch(guests, out, ["never"]).tasks["done"] == 3


def test_after_ctrl_c_the_manifest_tells_of_all_and_the_same_command_goes_on(guests, tmp_path):
    out, heard = tmp_path / "out", list[Outcome]()

    def stop(outcome: Outcome) -> None:
        heard.append(outcome)
        if len(heard) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay.batch(guests, out, ["upstream"], tell=stop)
    assert sorted(batching.Batch(str(out), {}).manifest["status"]) == ["done", "done", "waiting"]
    assert dict(replay.batch(guests, out, ["upstream"]).tasks) == {
        "done": 1,
        "unchanged": 2,
        "failed": 0,
        "lossy": 0,
    }


def test_a_full_disk_ends_the_batch_and_loses_nothing(guests, tmp_path, monkeypatch, capsys, here):
    out, real = tmp_path / "out", Place.put
    replay.batch(guests / "a.trace", out, ["upstream"])
    before = (out / file_of(str(guests / "a.trace"))).read_bytes()

    def full(self: Place, content: bytes) -> None:
        if self.name == "results.parquet":
            raise Fault(f"{self} cannot be written", "No space left on device (errno 28)", "make room")
        real(self, content)

    monkeypatch.setattr(Place, "put", full)
    code = main.run(["batch", str(guests), "-o", str(out), "--policy", "upstream", "--policy", "never"])
    assert code == ExitCode.ENVIRONMENT
    assert "No space left" in capsys.readouterr().err
    assert len(here.tasks) == 2  # one before, and the first of these
    assert (out / file_of(str(guests / "a.trace"))).read_bytes() == before
    monkeypatch.undo()


def test_a_damaged_results_file_is_made_again(guests, tmp_path):
    out = tmp_path / "out"
    replay.batch(guests, out, ["upstream"])
    whole = rows(out)
    (out / file_of(str(guests / "a.trace"))).write_bytes(b"PAR1 no")
    assert replay.batch(guests, out, ["upstream"]).tasks["done"] == 1
    assert rows(out).equals(whole)


def test_a_dataset_of_a_newer_format_is_left_alone(guests, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "batch.json").write_text('{"format": 2}')
    with pytest.raises(Fault, match="is of another pagetide"):
        replay.batch(guests, out, ["upstream"])


def test_the_manifest_keeps_what_earlier_batches_did(guests, tmp_path):
    out = tmp_path / "out"
    replay.batch(guests / "a.trace", out, ["upstream"])
    replay.batch(guests / "b.trace", out, ["upstream"])
    told = batching.Batch(str(out), {}).manifest
    assert sorted(Path(each).name for each in told["trace"]) == ["a.trace", "b.trace"]


def test_json_is_one_object(guests, tmp_path, capsys):
    out = tmp_path / "out"
    assert main.run(["batch", str(guests), "-o", str(out), "--policy", "upstream", "--json"]) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["tasks"]["done"] == 3 and told["failures"] == []
    assert pl.read_ndjson(told["manifest"]).height == 3


def test_it_ends_with_the_settings_beside_each_other(guests, tmp_path, capsys):
    """Of this command: what else the dataset holds is not among them."""
    replay.batch(guests, tmp_path / "out", ["hints"])
    shutil.copytree(guests / "a.trace", tmp_path / "other.trace")
    replay.batch(tmp_path / "other.trace", tmp_path / "out", ["upstream"])
    replay.batch(guests, tmp_path / "out", ["upstream"], replay.Options(backing="2m"))
    told = ["batch", str(guests), "-o", str(tmp_path / "out"), "--policy", "upstream", "--policy", "never"]
    assert main.run(told) == 0
    said = capsys.readouterr().out
    assert "means over 3 guests, each guest alike" in said and "hints" not in said
    assert max(map(len, said.replace(str(tmp_path), "").splitlines())) <= 80
    assert main.run([*told, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["fleet"]["settings"] == ["never", "upstream"] and answer["fleet"]["guests"] == 3
    means = {
        row["setting"]: row["mean"] for row in answer["statistics"] if row["measure"] == "given_back_gib"
    }
    table = [line.split()[:2] for line in said.splitlines()]
    for setting, mean in means.items():
        assert [setting, human_bytes(mean * 2**30).replace(" ", "")] in table


def test_what_cannot_be_compared_is_told(guests, tmp_path, capsys):
    told = ["batch", str(guests / "a.trace"), "-o", str(tmp_path / "one"), "--policy", "upstream"]
    assert main.run(told) == 0
    said = capsys.readouterr().out
    assert "means over 1 guest," in said and "there are no intervals" in " ".join(said.split())
    out = tmp_path / "out"
    replay.batch(guests, out, ["upstream"])
    counts = {"done": 1, "unchanged": 0, "failed": 0, "lossy": 0}
    empty = Batch(str(out), counts, settings=("hints",))
    batch_table(empty)
    assert "not compared:" in capsys.readouterr().out and "holds no results" in empty._repr_html_()
    assert empty.to_json()["fleet"] is None and empty.to_json()["why"][0].endswith("holds no results")


def test_a_strangers_damaged_results_are_no_reason_to_fail(guests, tmp_path):
    out = tmp_path / "out"
    replay.batch(guests, out, ["upstream"])
    (out / file_of(str(guests / "c.trace"))).write_bytes(b"PAR1")
    found = replay.batch([guests / "a.trace", guests / "b.trace"], out, ["upstream"])
    assert found.fleet.count == 2 and "upstream" in found._repr_html_()
    with pytest.raises(Fault, match="is no file of results"):
        replay.fleet(out)


def test_which_traces_are_meant(guests, monkeypatch):
    names = [str(guests / f"{name}.trace") for name in "abc"]
    (guests / "deep" / "er").mkdir(parents=True)
    small_traces.write(guests / "deep" / "er" / "d.trace")
    (guests / ".hidden").mkdir()
    small_traces.write(guests / ".hidden" / "x.trace")
    deep = str(guests / "deep" / "er" / "d.trace")
    assert addresses([str(guests)]) == [*names, deep]
    assert addresses([str(guests / "*.trace")]) == names
    assert addresses([str(guests / "**" / "d.trace"), deep]) == [deep]
    assert addresses([names[1], str(guests / "[ab].trace")]) == [names[1], names[0]]
    assert addresses([str(guests / "not-there.trace")]) == [str(guests / "not-there.trace")]
    monkeypatch.chdir(guests)
    assert addresses(["b.trace"]) == [names[1]]


def test_a_file_that_is_called_a_trace_is_not_passed_over(tmp_path):
    (tmp_path / "a.trace").write_text("no folder")
    (tmp_path / "notes.txt").touch()
    for named in (tmp_path, tmp_path / "*", tmp_path / "*.trace"):
        assert addresses([str(named)]) == [str(tmp_path / "a.trace")]


def test_policies_are_spelled_out():
    assert spelled([]) == ()
    assert spelled(["upstream:order=9", "hints"], {"delay": ["1s", 2_000_000_000]}) == (
        "upstream:order=9,delay=1s",
        "upstream:order=9,delay=2s",
        "hints:delay=1s",
        "hints:delay=2s",
    )
    with pytest.raises(Fault, match="order is given twice"):
        spelled(["upstream:order=9"], {"order": [5]})


@pytest.mark.parametrize(
    "address", ["/a/../../etc", "s3://b/x y/ü.trace", "/", "/a/.trace", "/x/" + "n" * 300]
)
def test_a_traces_name_is_one_harmless_part_of_a_path(address):
    name = trace_id(address)
    assert name.isascii() and "/" not in name and not name.startswith(".") and len(name) < 64
    assert name != trace_id(address + "2")
