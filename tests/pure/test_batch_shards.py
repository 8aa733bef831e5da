"""`batch --shards`: a trace that many workers share comes to the rows that one worker comes to."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import replay
from replay import main
from replay.batching import doing
from replay.batching.batch import Batch
from replay.batching.executor import NoWorkers
from replay.engine import Options
from replay.sharding.here import Here
from tests.pure.loopback_s3 import _moto, put_folder, store  # noqa: F401 - fixtures
from tests.pure.small_fleets import guests_in, rows
from tests.pure.test_command_line import assert_three_lines
from tracer import Fault, Place

SHIPPED = Path(__file__).parents[2] / "data" / "idle.trace"
POLICIES = ["upstream", "upstream:order=5", "boundary", "never"]


@pytest.fixture(autouse=True)
def here(monkeypatch) -> Here:
    mine = Here()
    monkeypatch.setattr(doing, "executor_of", lambda _workers, _cluster: mine)
    return mine


@pytest.fixture
def guests(tmp_path) -> Path:
    folder = guests_in(tmp_path / "guests", "a", "b")
    shutil.copytree(SHIPPED, folder / "c.trace")
    return folder


def test_rows_do_not_depend_on_shards(guests, tmp_path):
    replay.batch(guests, tmp_path / "whole", POLICIES)
    whole = rows(tmp_path / "whole")
    assert whole.height == 12
    for shards in (1, 3):
        done = replay.batch(guests, tmp_path / f"{shards}", POLICIES, shards=shards)
        assert done.tasks["done"] == 3
        assert rows(tmp_path / f"{shards}").equals(whole)


def test_what_shards_have_done_is_not_done_again_without(guests, tmp_path):
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    replay.batch(guests, out, ["upstream"], shards=2, scratch=scratch)
    assert not list(scratch.iterdir())
    assert replay.batch(guests, out, ["upstream"]).tasks["unchanged"] == 3


def test_the_command(guests, tmp_path, capsys):
    out = tmp_path / "out"
    told = ["batch", str(guests), "-o", str(out), "--policy", "upstream", "--shards", "2", "--allow-loss"]
    assert main.run(told) == 0
    assert rows(out).height == 3
    assert "3 replayed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "what"),
    [
        (["--shards", "0"], "shards"),
        (["--scratch", "."], "a scratch folder is given"),
        (["--shards", "2", "--scratch", "/nowhere/at/all"], "there is no folder /nowhere/at/all"),
    ],
)
def test_bad_arguments(guests, tmp_path, capsys, told, what):
    assert main.run(["batch", str(guests), "-o", str(tmp_path / "out"), *told]) != 0
    assert_three_lines(capsys.readouterr().err, what)


class Gone:
    """An executor without workers."""

    def run(self, *_args):
        raise NoWorkers("the scheduler is gone", "it does not answer", "start it again")
        yield


def test_workers_that_are_gone_end_the_batch(guests, tmp_path, monkeypatch):
    """All other traces would need them, too."""
    monkeypatch.setattr(doing, "executor_of", lambda _workers, _cluster: Gone())
    with pytest.raises(NoWorkers):
        replay.batch(guests, tmp_path / "out", ["upstream"], shards=2)
    assert Batch(str(tmp_path / "out"), {}).manifest["status"].to_list() == ["waiting"] * 3


def test_a_trace_in_a_store_is_cut_up_where_it_is(store, guests, tmp_path):  # noqa: F811 - the fixture
    address = put_folder(guests / "c.trace", Place.of("s3://traces/shards/c.trace"))
    replay.batch(str(address), tmp_path / "out", ["upstream"], shards=2)
    replay.batch(guests / "c.trace", tmp_path / "here", ["upstream"])
    differs = ("trace", "address", "digest")
    assert rows(tmp_path / "out").drop(differs).equals(rows(tmp_path / "here").drop(differs))


def test_a_cluster_s_workers_need_a_place_to_share(tmp_path):
    there = partial(doing.by_shard, None, "tcp://127.0.0.1:1", Options(), 2)
    with pytest.raises(Fault, match="shards need a scratch folder"):
        there(None, Place.of("s3://traces/out"))
    for scratch, found in ((None, tmp_path / "out"), (tmp_path, tmp_path)):
        made: Any = there(scratch, Place.of(tmp_path / "out"))
        assert made.do.keywords["replaying"].keywords["scratch"] == found
