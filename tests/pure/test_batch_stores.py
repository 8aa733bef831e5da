"""A dataset in an object store: what a local one says, and one fault for each way in which a store fails."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

import replay
from replay import main
from replay.batching import doing
from replay.sharding.here import Here
from tests.pure.loopback_s3 import (  # noqa: F401 - fixtures
    BUCKET,
    KEY,
    SECRET,
    SHORT,
    SILENT,
    Fate,
    _moto,
    front,
    put_folder,
    store,
)
from tests.pure.small_fleets import guests_in, rows
from tracer import Fault, Place, stores
from tracer.faults import ExitCode

POLICIES = ["upstream", "never"]
NAMES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def here(monkeypatch) -> None:
    monkeypatch.setattr(doing, "executor_of", lambda _workers, _cluster: Here())


@pytest.fixture
def guests(tmp_path) -> Path:
    return guests_in(tmp_path / "guests", *NAMES)


@pytest.fixture
def out(tmp_path) -> str:
    """A place in the store, another one for each test."""
    return f"s3://{BUCKET}/{tmp_path.name}/fleet"


def objects(store: str, out: str) -> dict[str, bytes]:  # noqa: F811
    """What is there, by its key below the dataset, asked of the store itself."""
    host = store.removeprefix("http://")
    files = fs.S3FileSystem(access_key=KEY, secret_key=SECRET, endpoint_override=host, scheme="http")
    top = out.removeprefix("s3://")
    found = files.get_file_info(fs.FileSelector(top, recursive=True, allow_not_found=True))
    return {
        each.path.removeprefix(f"{top}/"): files.open_input_stream(each.path).read()
        for each in found
        if each.type is fs.FileType.File
    }


def fate_of(status: int, method: str, part: str, times: int = 1 << 30) -> Fate:
    """Requests of that method for what has `part` in its name come to that, so often."""
    left = [times]

    def fate(asked: str, path: str) -> int | None:
        if asked != method or part not in path or not left[0]:
            return None
        left[0] -= 1
        return status

    return fate


def test_it_says_what_a_local_one_says(store, guests, out, tmp_path):  # noqa: F811 - the fixture
    replay.batch(guests, tmp_path / "here", POLICIES)
    done = replay.batch(guests, out, POLICIES)
    assert dict(done.tasks) == {"done": 3, "unchanged": 0, "failed": 0, "lossy": 0}
    assert rows(out).equals(rows(str(tmp_path / "here")))
    assert done.manifest["status"].to_list() == ["done"] * 3
    assert replay.batch(guests, out, POLICIES).tasks["unchanged"] == 3
    assert replay.fleet(out).settings.equals(replay.fleet(tmp_path / "here").settings)
    there = objects(store, out)
    assert {name.rpartition("/")[2] for name in there} == {"batch.json", "manifest.jsonl", "results.parquet"}


def test_traces_and_dataset_in_the_store(store, guests, out, tmp_path):  # noqa: F811 - the fixture
    for name in NAMES:
        put_folder(guests / f"{name}.trace", Place.of(f"s3://{BUCKET}/{tmp_path.name}/guests/{name}.trace"))
    done = replay.batch(f"s3://{BUCKET}/{tmp_path.name}/guests/*.trace", out, POLICIES)
    assert done.tasks["done"] == 3 and rows(out).height == 6


def test_the_commands(store, guests, out, tmp_path, capfd, monkeypatch):  # noqa: F811 - the fixture
    monkeypatch.chdir(tmp_path)
    given = ["--policy", "upstream", "--policy", "never"]
    assert main.run(["batch", str(guests), "-o", out, *given, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["out"] == out and told["tasks"]["done"] == 3
    assert main.run(["report", out]) == 0
    assert "upstream" in (tmp_path / "fleet.html").read_text()


PARTS = ("batch.json", "lock.json", "results.parquet", "manifest.jsonl")


@pytest.mark.parametrize(
    ("status", "part"), [(SILENT, PARTS[2]), *((status, part) for status in (403, 500) for part in PARTS)]
)
def test_what_cannot_be_written_ends_the_batch(front, guests, out, monkeypatch, part, status):  # noqa: F811
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    monkeypatch.setattr(stores, "REQUEST_TIMEOUT_S", 1.0)
    front.fate = fate_of(status, "PUT", part)
    with pytest.raises(Fault) as caught:
        replay.batch(guests, out, POLICIES)
    assert caught.value.code is ExitCode.ENVIRONMENT, caught.value
    said = str(caught.value)
    assert (len(said.splitlines()) == 3 and part in said) or out in said
    assert KEY not in said and SECRET not in said
    front.fate = fate_of(0, "", "")
    there = objects(front.endpoint, out)
    assert not [name for name in there if name.endswith(("lock.json", part))]
    done = replay.batch(guests, out, POLICIES)
    assert done.tasks["done"] + done.tasks["unchanged"] == 3 and rows(out).height == 6


@pytest.mark.parametrize("status", [500, 503, SHORT])
def test_one_error_is_overcome(front, guests, out, status):  # noqa: F811 - the fixture
    method = "GET" if status == SHORT else "PUT"
    front.fate = fate_of(status, method, "batch.json" if status == SHORT else "results.parquet", 1)
    replay.batch(guests, out, POLICIES)
    assert replay.batch(guests, out, POLICIES).tasks["unchanged"] == 3


def test_results_that_cannot_be_read_are_no_reason_to_do_them_again(front, guests, out):  # noqa: F811
    """A store that refuses is no damaged file: nothing is replaced."""
    replay.batch(guests, out, POLICIES)
    front.fate = fate_of(403, "GET", "results.parquet")
    done = replay.batch(guests, out, ["upstream"])
    assert done.tasks["failed"] == 3 and "access to" in done.failures[0].reason[0]
    front.fate = fate_of(0, "", "")
    assert rows(out).height == 6


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_lock_is_gone_however_a_batch_ends(store, guests, out, error):  # noqa: F811 - the fixture
    def tell(_outcome: Any) -> None:
        raise error

    with pytest.raises(error):
        replay.batch(guests, out, POLICIES, tell=tell)
    there = objects(store, out)
    assert "lock.json" not in there
    statuses = [json.loads(line)["status"] for line in there["manifest.jsonl"].splitlines()]
    assert statuses == ["done", "waiting", "waiting"]
    assert replay.batch(guests, out, POLICIES).tasks["done"] == 2


def test_who_comes_second_is_refused(store, guests, out):  # noqa: F811 - the fixture
    """Also when the first one was killed, and left its lock behind: then it says what to do."""

    def tell(_outcome: Any) -> None:
        with pytest.raises(Fault) as caught:
            replay.batch(guests, out, POLICIES)
        assert caught.value.what == f"{out} is being written by another batch"
        assert "lock.json" in caught.value.fix and "process" in caught.value.how

    assert replay.batch(guests, out, POLICIES, tell=tell).tasks["done"] == 3


def test_credentials_are_nowhere(store, guests, out, tmp_path, capfd):  # noqa: F811 - the fixture
    """Neither in what is written, nor in what is said; an address that has some is refused."""
    assert main.run(["batch", str(guests), "-o", out, "--policy", "upstream"]) == 0
    for address in (f"s3://{KEY}:{SECRET}@{BUCKET}/x", f"s3://{BUCKET}/x?secret_key={SECRET}"):
        assert main.run(["batch", str(guests), "-o", address, "--policy", "upstream"]) == 1
        assert main.run(["batch", address, "-o", str(tmp_path / "out"), "--policy", "upstream"]) == 1
    said = "".join(capfd.readouterr())
    written = b"".join(objects(store, out).values())
    for path in (tmp_path / "out").rglob("*"):
        written += path.read_bytes() if path.is_file() else b""
    assert written and said
    for each in (KEY, SECRET):
        assert each not in said and each.encode() not in written
