"""Files are made, renamed and removed through the open folder: no planted link leads outside."""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.pure import small_traces
from tracer import open_trace
from tracer.faults import Fault
from tracer.folder import Folder
from tracer.format import MANIFEST
from tracer.writer import KINDS, TraceWriter

SECRET = b"not to be touched"


@pytest.fixture
def outside(tmp_path) -> Any:
    """A file that no link may lead to: what it says and its mode must stay."""
    folder = tmp_path / "outside"
    folder.mkdir(mode=0o755)
    file = folder / "secret"
    file.write_bytes(SECRET)
    file.chmod(0o604)
    yield file
    assert file.read_bytes() == SECRET
    assert stat.S_IMODE(file.stat().st_mode) == 0o604
    assert list(folder.iterdir()) == [file]


@pytest.fixture
def work(tmp_path) -> Any:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def folder(work) -> Any:
    fd = os.open(work, os.O_RDONLY)
    made = Folder.make("made", fd)
    yield made
    made.close()
    os.close(fd)


@pytest.fixture
def umask() -> Any:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def names(path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def mode(path) -> int:
    return stat.S_IMODE(path.stat(follow_symlinks=False).st_mode)


# The folder


def test_a_folder_that_exists_is_not_taken_over(folder):
    folder.sub("sub").close()
    with pytest.raises(FileExistsError):
        folder.sub("sub")


def test_a_link_in_the_place_of_a_new_folder_is_not_followed(folder, outside):
    os.symlink(outside.parent, "sub", dir_fd=folder.fd)
    with pytest.raises(FileExistsError):
        folder.sub("sub")


@pytest.mark.parametrize("planted", ["a link", "a full folder", "an open folder"])
def test_a_folder_replaced_behind_our_back_is_refused(folder, work, outside, monkeypatch, planted):
    really = os.mkdir

    def mkdir(name, *args, **more) -> None:
        really(name, *args, **more)
        if planted == "a link":
            (work / "made" / name).rmdir()
            (work / "made" / name).symlink_to(outside.parent)
        elif planted == "a full folder":
            (work / "made" / name / "planted").write_bytes(b"")
        else:
            (work / "made" / name).chmod(0o777)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OSError):
        folder.sub("sub")


def test_a_file_aside_takes_its_place_only_when_it_is_whole(folder, work):
    with folder.aside("x") as file:
        file.write(b"whole")
        assert names(work / "made") == [".x.tmp"]
    assert names(work / "made") == ["x"]
    assert (work / "made/x").read_bytes() == b"whole"


def test_a_file_aside_that_fails_leaves_the_old_one_and_nothing_else(folder, work):
    (work / "made/x").write_bytes(b"old")
    with contextlib.suppress(ZeroDivisionError), folder.aside("x") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert names(work / "made") == ["x"]
    assert (work / "made/x").read_bytes() == b"old"


@pytest.mark.parametrize("name", ["x", ".x.tmp"])
def test_links_at_the_name_and_at_the_name_aside_are_replaced_and_not_followed(folder, work, outside, name):
    (work / "made" / name).symlink_to(outside)
    with folder.aside("x") as file:
        file.write(b"mine")
    assert names(work / "made") == ["x"]
    assert not (work / "made/x").is_symlink()
    assert (work / "made/x").read_bytes() == b"mine"


def test_a_link_planted_between_removing_and_making_is_not_followed(folder, work, outside, monkeypatch):
    really = os.unlink

    def unlink(name, **more) -> None:
        really(name, **more) if (work / "made" / name).is_symlink() else None
        (work / "made" / name).symlink_to(outside)

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(FileExistsError), folder.aside("x") as file:
        file.write(b"mine")


def test_opening_never_follows_a_link(folder, work, outside):
    (work / "made/x").symlink_to(outside)
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_APPEND):
        with pytest.raises(OSError) as caught:
            folder.open("x", flags)
        assert caught.value.errno == errno.ELOOP
    assert folder.size("x") == len(str(outside))  # of the link itself


def test_no_descriptor_is_inherited(folder):
    fd = folder.open("x", os.O_WRONLY | os.O_CREAT)
    assert not os.get_inheritable(fd)
    assert not os.get_inheritable(folder.fd)
    os.close(fd)


def test_the_folder_is_written_through_even_when_it_is_renamed(folder, work):
    (work / "made").rename(work / "moved")
    (work / "made").mkdir()
    with folder.aside("x") as file:
        file.write(b"mine")
    assert names(work / "made") == []
    assert names(work / "moved") == ["x"]


def test_removing_what_is_not_there_is_no_failure_and_a_links_target_stays(folder, work, outside):
    folder.remove("x")
    (work / "made/x").symlink_to(outside)
    folder.remove("x")
    assert names(work / "made") == []


def test_free_bytes_are_those_of_this_user(folder, work):
    disk = os.statvfs(work)
    assert abs(folder.free_bytes() - disk.f_bavail * disk.f_frsize) < 1 << 30


def test_everything_is_given_to_the_user_and_no_link_is_followed(folder, work, outside, monkeypatch):
    (work / "made/a").write_bytes(b"")
    (work / "made/b").symlink_to(outside)
    given = []
    monkeypatch.setattr(os, "chown", lambda name, *ids, **more: given.append((name, *ids, more)))
    monkeypatch.setattr(os, "fchown", lambda fd, *ids: given.append((fd, *ids)))
    folder.give_to(1000, 100)
    how = {"dir_fd": folder.fd, "follow_symlinks": False}
    assert sorted(given[:-1]) == [("a", 1000, 100, how), ("b", 1000, 100, how)]
    assert given[-1] == (folder.fd, 1000, 100)  # last: until then nobody else gets in


# A whole trace


def all_modes(path) -> Any:
    entries = [path, *path.rglob("*")]
    return {mode(p) for p in entries if p.is_dir()}, {mode(p) for p in entries if p.is_file()}


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o027])
def test_a_trace_is_private_whatever_the_umask(work, umask, mask):
    umask(mask)
    assert all_modes(small_traces.write(work / "a.trace")) == ({0o700}, {0o600})


@pytest.mark.parametrize("mask", [0, 0o077])
@pytest.mark.parametrize(("asked", "folders"), [(0o640, 0o750), (0o644, 0o755), (0o660, 0o770)])
def test_a_mode_asked_for_holds_for_all_files_and_lets_readers_in(work, umask, mask, asked, folders):
    umask(mask)
    writer = TraceWriter(work / "a.trace", small_traces.manifest(), file_mode=asked)
    writer.write_frames("start", small_traces.frame_runs(1))
    writer.write_segment(small_traces.columns([1, 2]), small_traces.counted(2))
    writer.write_manifest(small_traces.manifest())
    writer.replace_segments(list(writer.segments), list(writer.segments))
    assert all_modes(small_traces.kill(writer)) == ({folders}, {asked})


def test_a_trace_is_given_with_all_its_folders_and_files(work, monkeypatch):
    writer = small_traces.begin(work / "a.trace")
    given = []
    monkeypatch.setattr(os, "chown", lambda name, *_ids, **_more: given.append(name))
    monkeypatch.setattr(
        os, "fchown", lambda fd, *_ids: given.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
    )
    writer.give_to(1000, 100)
    names = {str(p) for p in writer.path.rglob("*") if p.is_dir()} | {str(writer.path)}
    assert {name for name in given if name.startswith("/")} == names
    files = {p.name for p in writer.path.rglob("*") if p.is_file()}
    assert files <= set(given)
    small_traces.kill(writer)


@pytest.mark.parametrize("target", ["file", "folder"])
def test_a_link_at_the_new_name_is_never_followed(work, outside, target):
    link = work / ".a.trace.new"
    link.symlink_to(outside if target == "file" else outside.parent)
    with pytest.raises(Fault):
        small_traces.write(work / "a.trace")
    assert not (work / "a.trace").exists()


def test_a_link_at_the_name_of_what_is_replaced_is_never_followed(work, outside):
    path = small_traces.write(work / "a.trace")
    (work / ".a.trace.replaced").symlink_to(outside.parent)
    with pytest.raises(Fault):
        TraceWriter(path, small_traces.manifest(), force=True)
    assert open_trace(path).complete


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["00002.parquet", ".00002.parquet.tmp"])
def test_links_planted_at_a_coming_file_are_replaced_and_not_followed(work, outside, kind, name):
    writer = small_traces.begin(work / "a.trace")
    (writer.path / kind / name).symlink_to(outside)
    table = small_traces.frame_runs(1)
    writer.write_part(kind, "00002", table)
    assert not (writer.path / kind / "00002.parquet").is_symlink()
    assert not (writer.path / kind / ".00002.parquet.tmp").is_symlink()
    small_traces.kill(writer)


def test_a_segment_replaced_by_a_link_is_not_read_for_merging(work, outside):
    writer = small_traces.begin(work / "a.trace")
    file = writer.path / writer.segments[0].file
    file.unlink()
    file.symlink_to(outside)
    with pytest.raises(OSError):
        writer.open_part_for_reading(writer.segments[0].file)
    small_traces.kill(writer)


def test_a_manifest_replaced_by_a_link_is_written_anew(work, outside):
    writer = small_traces.begin(work / "a.trace")
    (writer.path / MANIFEST).unlink()
    (writer.path / MANIFEST).symlink_to(outside)
    writer.write_manifest(small_traces.manifest(tool="mine"))
    assert open_trace(small_traces.kill(writer)).manifest.tool == "mine"


def test_an_index_replaced_by_a_link_is_not_opened_again(work, outside):
    writer = small_traces.begin(work / "a.trace")
    some = list(writer.segments)
    index = Path(writer.path / "segments.jsonl")
    index.unlink()
    index.symlink_to(outside)
    writer.replace_segments(some, some)
    assert not index.is_symlink()
    small_traces.kill(writer)


def test_names_of_segments_go_on_where_they_were(work):
    writer = small_traces.begin(work / "a.trace", [])
    assert writer.next_name == "00000"
    writer.write_segment(small_traces.columns([1]), [])
    assert writer.next_name == "00001"
    small_traces.kill(writer)


def test_a_failure_at_the_start_leaks_no_descriptor(work, monkeypatch):
    def full(*_args) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tracer.writer.put_in_place", full)
    before = len(names(Path("/proc/self/fd")))
    with pytest.raises(Fault):
        TraceWriter(work / "a.trace", small_traces.manifest())
    assert len(names(Path("/proc/self/fd"))) == before
    assert list(work.iterdir()) == []
