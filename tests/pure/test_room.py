"""Who may take how much memory: never more than there is, nobody overtakes, too much is refused."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.available import Available
from replay.batching import ledger
from replay.batching.ledger import Share
from replay.batching.room import Room, too_much
from tracer import Fault
from tracer.faults import ExitCode

WHOLE = 100


def room_of(whole_bytes: int) -> Room[int]:
    """A machine of which tasks get so much, where nobody has taken anything yet."""
    return Room(lambda _who: 0, lambda: Available(int(whole_bytes / 0.9) + 1, "a test says so"))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 120) | st.none())))
def test_never_more_is_granted_than_there_is_and_nobody_overtakes(deeds):
    """Each deed: somebody asks for so much, or leaves."""
    room, asked, granted = room_of(WHOLE), list[tuple[int, int]](), list[tuple[int, int]]()
    for who, need in deeds:
        asked = [wish for wish in asked if wish[0] != who]
        if need is None:
            room.leave(who)
        else:
            room.ask(who, need)
            asked.append((who, need))
        for decision in room.decide(list(range(5))):
            granted = [(decision.who, decision.need_bytes)]
            assert asked[0] == granted[0]
            del asked[0]
            assert (decision.refused is not None) == (decision.need_bytes > WHOLE)
        assert sum(room.granted.values()) <= WHOLE
        assert not room.waiting or room.granted  # somebody will give something back


def test_what_is_taken_already_counts_once_and_what_is_granted_whole():
    taken = {1: 0, 2: 0, 3: 0}
    room: Room[int] = Room(taken.__getitem__, lambda: Available(1000 - sum(taken.values()), "a test"))
    room.ask(1, 400)
    assert [each.who for each in room.decide([1, 2, 3])] == [1]
    taken[1] = 300
    room.ask(2, 600)
    assert list(room.decide([1, 2, 3])) == []  # 900 may be taken, of which 400 are granted
    room.ask(3, 100)
    assert list(room.decide([1, 2, 3])) == []  # it fits, but would overtake
    room.leave(1)
    taken[1] = 0
    assert [each.who for each in room.decide([1, 2, 3])] == [2, 3]


def test_who_takes_more_than_it_was_granted_leaves_less_for_others():
    taken = {1: 0, 2: 0}
    room: Room[int] = Room(taken.__getitem__, lambda: Available(1000 - sum(taken.values()), "a test"))
    room.ask(1, 100)
    assert len(list(room.decide([1, 2]))) == 1
    taken[1] = 700
    room.ask(2, 300)
    assert list(room.decide([1, 2])) == []


def test_what_earlier_tasks_left_with_idle_workers_does_not_keep_one_from_running():
    room: Room[int] = Room(lambda who: 300 * who, lambda: Available(700, "a test"))
    room.ask(0, 800)
    (decision,) = room.decide([0, 1])
    assert decision.refused is None


def test_a_refusal_names_both_numbers():
    fault = too_much(5 << 30, Available(4 << 30, "a test says so"))
    assert "5 GiB" in fault.what
    assert "4 GiB" in fault.how and "a test says so" in fault.how
    assert fault.code == ExitCode.ENVIRONMENT


def share_of(path: Path, whole_bytes: int = 1 << 40) -> Share:
    """Of a machine of which tasks get so much."""
    return Share(path, lambda: Available(int(whole_bytes / 0.9) + 1, "a test says so"))


def test_tasks_that_know_nothing_of_each_other_share_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "POLL_S", 0.01)
    path, order = tmp_path / "ledger", list[str]()
    first, second = share_of(path), share_of(path)
    first.admit(6 << 37)

    def wait() -> None:
        second.admit(4 << 37)
        order.append("second")

    waiting = threading.Thread(target=wait)
    waiting.start()
    while b'"waiting": [[[' not in path.read_bytes():
        pass
    order.append("first")
    first.leave()
    waiting.join()
    assert order == ["first", "second"]
    with pytest.raises(Fault, match="this takes 2 TiB"):
        share_of(path).admit(1 << 41)
    second.leave()
    assert path.stat().st_mode & 0o777 == 0o600


DYING = """
import sys
from pathlib import Path
from tests.pure.test_room import share_of
share_of(Path(sys.argv[1])).admit(1 << 40)
print("has it", flush=True)
"""


def test_what_a_dead_process_had_is_free_again(tmp_path):
    path = tmp_path / "ledger"
    said = subprocess.check_output(
        [sys.executable, "-c", DYING, str(path)], cwd=Path(__file__).parent.parent.parent
    )
    assert said == b"has it\n"
    assert b'"granted": [[[' in path.read_bytes()
    share_of(path).admit(1 << 40)  # and does not wait


@pytest.mark.parametrize("text", [b"", b"[", b"[1]", b'{"granted": [[1, 2]]}', b'{"granted": 7}', b"\xff"])
def test_a_ledger_that_says_nothing_sensible_is_begun_anew(tmp_path, text):
    path = tmp_path / "ledger"
    path.write_bytes(text)
    share_of(path).admit(1 << 40)
    assert str(os.getpid()).encode() in path.read_bytes()


def test_a_ledger_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "ledger").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Fault, match="cannot be noted"):
        share_of(tmp_path / "ledger").admit(1)
    assert not (tmp_path / "elsewhere").exists()
