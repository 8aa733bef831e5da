"""Places: what a text names, what is below it, and files written whole; addresses hold no credentials."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.faults import ExitCode, Fault
from tracer.matching import matches
from tracer.places import Place
from tracer.stores import Missing
from tracer.urls import Url

SECRET = "hunter2SECRET"


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket",
        "s3://bucket/fleet/guest.trace",
        "s3://bucket/a b/é=1.trace",
        "s3://bucket/fleet/*.trace",
        "s3://bucket/x?endpoint_override=http://127.0.0.1:9000&region=eu-west-1&scheme=http",
        "gs://bucket/x",
        "abfs://container@account.dfs.core.windows.net/x",
        "data/build.trace",
        "/a/../b.trace",
    ],
)
def test_a_place_is_named_as_it_was_and_travels_between_processes(text):
    place = Place.of(text)
    assert str(place) == text
    assert Place.of(str(place)) == place == pickle.loads(pickle.dumps(place))
    assert Place.of(place) is place


def test_an_address_is_taken_apart():
    url = Place.of("S3://bucket/fleet/guest.trace/?region=eu-west-1").where
    assert url == Url("s3", "bucket", "fleet/guest.trace", (("region", "eu-west-1"),))
    assert (url.inside, url.name, str(url.parent)) == (
        "bucket/fleet/guest.trace",
        "guest.trace",
        "s3://bucket/fleet?region=eu-west-1",
    )


def test_below_an_address_is_the_same_store():
    place = Place.of("s3://bucket/a.trace?scheme=http") / "events/00000.parquet"
    assert str(place) == "s3://bucket/a.trace/events/00000.parquet?scheme=http"
    assert str(Place.of("s3://bucket") / "a") == "s3://bucket/a"
    assert str(Place.of("s3://bucket").parent) == "s3://bucket"


@pytest.mark.parametrize("base", ["s3://bucket/a", "/folder", "folder"])
@pytest.mark.parametrize(
    "name", ["", ".", "..", "../b", "a/../../b", "/etc/passwd", "a//b", "a/.", "b\0", "a/"]
)
def test_a_name_that_leads_elsewhere_is_refused(base, name):
    with pytest.raises(Fault, match="no such name below it"):
        Place.of(base) / name


@given(st.text())
def test_whatever_a_name_is_it_stays_below(name):
    base = Place.of("s3://bucket/guest.trace")
    try:
        found = base / name
    except Fault:
        return
    assert str(found).startswith(f"{base}/") and ".." not in str(found).split("/")


@pytest.mark.parametrize(
    "text",
    [
        f"s3://AKIA:{SECRET}@bucket/key",
        f"s3://{SECRET}@bucket/key",
        f"s3://bucket/key?secret_key={SECRET}",
        f"s3://bucket/key?access_key={SECRET}",
        f"s3://bucket/key?session_token={SECRET}",
        f"s3://bucket/key?X-Amz-Signature={SECRET}",
        f"s3://bucket/key?{SECRET}",
        f"s3://bucket/key?region={SECRET}:x",
        f"s3://bucket/key?endpoint_override=http://user:{SECRET}@host",
        f"s3://bucket/key?scheme={SECRET}",
        f"gs://user:{SECRET}@bucket/key",
        f"abfs://:{SECRET}@account.blob.core.windows.net/container/key",
        f"https://user:{SECRET}@host/key?sig={SECRET}",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(text):
    with pytest.raises(Fault) as caught:
        Place.of(text)
    assert SECRET not in str(caught.value) + repr(caught.value)
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    "text", ["s3://", "s3:///key", "s3://bucket//key", "s3://b/a/../c", "s3://b/k?tls=no"]
)
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(Fault):
        Place.of(text)


def test_a_password_in_the_environments_endpoint_is_not_repeated(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:1")
    with pytest.raises(Fault, match="AWS_ENDPOINT_URL") as caught:
        Place.of("s3://bucket/key").read_bytes()
    assert SECRET not in str(caught.value)


def test_what_is_in_a_store_has_no_path(tmp_path):
    assert Place.of(tmp_path).path == tmp_path
    with pytest.raises(Fault, match="no folder of this machine"):
        _ = Place.of("s3://bucket/a").path


def test_a_file_is_written_whole_and_read(tmp_path):
    place = Place.of(tmp_path) / "a/b/results.json"
    place.put(b"old")
    place.put(b"new")
    assert place.read_bytes() == b"new" and place.exists() and place.size_bytes == 3
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["results.json"]
    with place.open() as file:
        assert file.read() == b"new"
    place.remove()
    place.remove()
    assert not place.exists()


def test_a_file_is_put_from_another(tmp_path):
    (tmp_path / "source").write_bytes(b"rows")
    (Place.of(tmp_path) / "there").put(tmp_path / "source")
    assert (tmp_path / "there").read_bytes() == b"rows"


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    place = Place.of(tmp_path / "results")
    place.put(b"old")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Fault, match="cannot be written") as caught:
        place.put(b"new")
    assert caught.value.code == ExitCode.ENVIRONMENT and "space" in caught.value.how
    assert place.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_what_is_not_there_is_missing(tmp_path):
    place = Place.of(tmp_path / "no")
    for ask in (place.read_bytes, place.open, place.below, lambda: place.size_bytes):
        with pytest.raises(Missing, match="there is no"):
            ask()
    assert place.children() == [] and place.glob() == [place]


def test_a_folder_is_listed(tmp_path):
    base = Place.of(tmp_path)
    for name in ("b/2", "a", "b/1"):
        (base / name).put(b"12")
    assert base.children() == [base / "a", base / "b"]
    assert [(entry.name, entry.place, entry.size_bytes) for entry in base.below()] == [
        (name, base / name, 2) for name in ("a", "b/1", "b/2")
    ]
    assert all(entry.changed_ns > 0 for entry in base.below())


FILES = [
    "a.trace/m",
    "b.trace/m",
    "deep/er/c.trace/m",
    "deep/d.trace/m",
    ".e.trace/m",
    "deep/.f/g.trace/m",
    "[x]/m",
]
PATTERNS = [
    ("*.trace", ["a.trace", "b.trace"]),
    ("[a].trace", ["a.trace"]),
    ("*/*.trace", ["deep/d.trace"]),
    ("**/*.trace", ["a.trace", "b.trace", "deep/d.trace", "deep/er/c.trace"]),
    ("deep/**/m", ["deep/d.trace/m", "deep/er/c.trace/m"]),
    (".*.trace", [".e.trace"]),
    ("no/*", []),
]


@pytest.mark.parametrize(("pattern", "found"), PATTERNS)
def test_wildcards_match_here_as_in_a_store(tmp_path, pattern, found):
    for name in FILES:
        (Place.of(tmp_path) / name).put(b"")
    assert [str(p.path.relative_to(tmp_path)) for p in Place.of(tmp_path / pattern).glob()] == found

    def below(prefix: str, deep: bool) -> list[str]:
        """As stores list keys: folders are not listed of their own with `deep`."""
        here = [f"base/{name}" for name in FILES if f"base/{name}".startswith(f"{prefix}/")]
        if deep:
            return here
        return sorted({f"{prefix}/{name[len(prefix) + 1 :].split('/')[0]}" for name in here})

    assert matches(["base", *pattern.split("/")], below) == [f"base/{name}" for name in found]


def test_a_path_that_is_there_is_no_pattern(tmp_path):
    (Place.of(tmp_path) / "[x]").put(b"")
    assert Place.of(tmp_path / "[x]").glob() == [Place(tmp_path / "[x]")]


def test_places_cost_nothing_to_name():
    said = "import sys, tracer.places; print({'pyarrow', 'polars', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == b"set()"
