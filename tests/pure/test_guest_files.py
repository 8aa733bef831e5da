import os
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.pure.proc_texts import BUDDYINFO, ZONEINFO, guest_files, proc_folder, put
from tracer.faults import ExitCode, Fault
from tracer.guest.files import OPTIONAL, REQUIRED, GuestFiles


def open_descriptors() -> set[str]:
    """This process's, but for the one that looks."""
    links = {path.name: path for path in Path("/proc/self/fd").iterdir()}
    return {number for number, path in links.items() if path.exists()}


def test_a_text_is_read_again_from_its_beginning(tmp_path):
    with guest_files(tmp_path) as files:
        assert files.text("zoneinfo") == files.text("zoneinfo") == ZONEINFO
        put(tmp_path, {"buddyinfo": BUDDYINFO.replace("286", "287")})
        assert files.text("buddyinfo") == BUDDYINFO.replace("286", "287")


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 300_000])
def test_a_text_of_any_length_is_read_to_its_end(tmp_path, size):
    text = "".join(chr(ord("a") + k % 26) for k in range(size))
    with guest_files(tmp_path, vmstat=text) as files:
        assert files.text("vmstat") == text


def test_files_that_are_renamed_or_removed_meanwhile_are_still_read(tmp_path):
    with guest_files(tmp_path) as files:
        for name in (*REQUIRED, *OPTIONAL):
            (tmp_path / name).unlink()
        assert files.text("zoneinfo") == ZONEINFO


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_file_that_is_not_there_is_a_fault_that_leaves_none_open(tmp_path, name):
    before = open_descriptors()
    with pytest.raises(Fault) as caught:
        guest_files(tmp_path, **{name: None})
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert f"/{name} cannot be read" in caught.value.what
    assert "errno 2" in caught.value.how
    assert len(str(caught.value).splitlines()) == 3
    assert open_descriptors() == before


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_optional_file_that_is_not_there_gives_none(tmp_path, name):
    with guest_files(tmp_path, **{name: None}) as files:
        assert name not in files
        assert files.optional_text(name) is None
        with pytest.raises(Fault) as caught:
            files.text(name)
    assert caught.value.code == ExitCode.ENVIRONMENT
    with guest_files(tmp_path, **{name: "there\n"}) as files:
        assert name in files
        assert files.optional_text(name) == "there\n"


def unreadable(root: Path, name: str) -> GuestFiles:
    """A file that can be opened but not read: a folder."""
    (proc_folder(root, **{name: None}) / name).mkdir()
    return GuestFiles(root)


@pytest.mark.parametrize("name", ["zoneinfo", "vmstat"])
def test_a_text_that_cannot_be_read_is_a_fault(tmp_path, name):
    with unreadable(tmp_path, name) as files:
        with pytest.raises(Fault) as caught:
            files.text(name)
        assert files.optional_text(name) is None
    assert "errno 21" in caught.value.how


def test_flags_that_cannot_be_read_are_a_fault(tmp_path):
    with unreadable(tmp_path, "kpageflags") as files, pytest.raises(Fault) as caught:
        files.read_flags(0, 1)
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert "kpageflags cannot be read" in caught.value.what
    assert "errno 21" in caught.value.how


def test_flags_are_read_at_their_frames_and_end_with_the_file(tmp_path):
    words = np.arange(100, dtype=np.uint64) << np.uint64(40)
    proc_folder(tmp_path)
    (tmp_path / "kpageflags").write_bytes(words.tobytes())
    with GuestFiles(tmp_path) as files:
        assert files.read_flags(10, 3).tolist() == words[10:13].tolist()
        assert files.read_flags(0, 2).tolist() == words[:2].tolist()
        assert files.read_flags(97, 8).tolist() == words[97:].tolist()
        assert files.read_flags(5, 0).dtype == np.uint64
        assert len(files.read_flags(100, 8)) == len(files.read_flags(1 << 40, 8)) == 0


def test_closing_closes_all_and_twice_does_no_harm(tmp_path):
    before = open_descriptors()
    files = guest_files(tmp_path)
    assert len(open_descriptors()) == len(before) + 6
    files.close()
    files.close()
    assert open_descriptors() == before
    with pytest.raises(Fault):
        files.text("zoneinfo")
    with pytest.raises(Fault):
        files.read_flags(0, 1)


def test_descriptors_are_not_passed_on_to_the_command_that_is_recorded(tmp_path):
    before = open_descriptors()
    with guest_files(tmp_path):
        mine = open_descriptors() - before
        assert len(mine) == 6
        assert not any(os.get_inheritable(int(number)) for number in mine)


def test_a_text_is_read_by_one_thread_at_a_time(tmp_path, monkeypatch):
    really, inside, most = os.pread, [], []

    def pread(*args) -> bytes:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.002)
        inside.pop()
        return really(*args)

    monkeypatch.setattr("tracer.guest.files.os.pread", pread)
    with guest_files(tmp_path) as files:
        threads = [threading.Thread(target=files.text, args=("zoneinfo",)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(most) == 10
    assert max(most) == 1
