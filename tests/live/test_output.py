"""The folder a trace is written to may change under the recorder: nothing else is ever written."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.live.running import TIMEOUT_S, fault, pagetide, started, wait_for_start
from tracer import open_trace


def test_a_trace_that_is_renamed_meanwhile_is_whole_under_its_new_name(tmp_path: Path) -> None:
    path, moved = tmp_path / "a.trace", tmp_path / "b.trace"
    with started("record", path, "--segment", "200ms") as recorder:
        wait_for_start(path)
        path.rename(moved)
        path.mkdir()
        time.sleep(0.5)
        recorder.send_signal(signal.SIGINT)
        _, err = recorder.communicate(timeout=TIMEOUT_S)
    assert recorder.returncode == 0, err
    assert open_trace(moved).complete
    assert not list(path.iterdir())


def test_a_trace_that_is_removed_meanwhile_ends_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    with started("record", path, "--segment", "200ms", "--", "sleep", 600) as recorder:
        wait_for_start(path)
        shutil.rmtree(path)
        _, err = recorder.communicate(timeout=TIMEOUT_S)
    text = fault(subprocess.CompletedProcess([], recorder.returncode, "", err), 2)
    assert "recording stopped early" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.trace", ".a.trace.new", ".a.trace.replaced"])
def test_a_planted_link_is_not_followed(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "manifest.json").write_text("precious")
    (tmp_path / name).symlink_to(elsewhere)
    done = pagetide("record", tmp_path / "a.trace", "--force", "--", "true")
    print(done.returncode, done.stderr)
    assert [entry.name for entry in elsewhere.iterdir()] == ["manifest.json"]
    assert (elsewhere / "manifest.json").read_text() == "precious"
    if done.returncode == 0:
        assert not (tmp_path / "a.trace").is_symlink()
        assert open_trace(tmp_path / "a.trace").complete
    else:
        fault(done, 1 if name == "a.trace" else 2)


def test_a_read_only_folder_is_no_output(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path], check=True)
    try:
        done = pagetide("record", tmp_path / "a.trace", "--duration", "1s")
        assert f"{tmp_path} is not writable" in fault(done, 2)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
