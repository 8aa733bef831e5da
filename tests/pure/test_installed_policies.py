"""Policies of other distributions: what is usable is as good as built in, what is not says so in a line."""

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import replay
from replay import policies
from replay.capabilities import MEANINGS, capabilities
from replay.policies import comparison
from replay.policies.installed import ENTRY_POINTS
from tests.pure import small_traces
from tests.pure.installing import install, pagetide, python
from tracer import Fault, open_trace

HEAD = """
from replay.policies.plain import Verbs, plain_program
from replay.parameters import Parameter
from replay.policies.protocol import ORDER, Policy

def policy(name="mine", parameters=(ORDER,), **more):
    build = lambda *_: plain_program(Verbs())
    return Policy(name, "does [nothing]", parameters, "here", "nothing", build, **more)

"""

COMPILED = """
import numpy as np
from replay.buddy.area import NOBODY
from replay.geometry import MOVABLE
from replay.isolation import drain, isolate
from replay.jit import compiled
from replay.policies.protocol import (
    ARRIVE, DEADLINE, ORDER, REGISTERED, REPORT, SLEEP, TELL, WAKE, Policy, Program, new_memory
)
from replay.state import MAX_ORDER, NEVER

WANTED = 1

@compiled(ARRIVE)
def arrive(s, memory, now_ns, unit, order, merged, quiet, cpu):
    return SLEEP

@compiled(TELL)
def tell(s, memory, now_ns, what, where):
    if what == REGISTERED:
        memory[DEADLINE] = now_ns + 1_000_000_000

@compiled(WAKE)
def wake(s, memory, now_ns):
    memory[DEADLINE] = NEVER
    drain(s, now_ns, True)
    if memory[1]:
        return SLEEP
    memory[1] = 1
    for _ in range(WANTED):
        unit = np.int64(s.area.lists[0, s.shape[MAX_ORDER], MOVABLE].head)
        if unit != NOBODY:
            isolate(s, unit, MOVABLE, now_ns)
    return REPORT

POLICY = Policy(
    "greedy", "some blocks, once", (ORDER,), "here", "nothing",
    lambda *_: Program(arrive, wake, tell, new_memory(2), capacity=3),
    without={"compaction": "no list is reshuffled"},
)
"""

SEARCHER = HEAD + 'POLICY = policy("searcher", requires=frozenset({"compaction"}))'


@pytest.fixture(scope="module")
def trace(tmp_path_factory) -> Path:
    return small_traces.write(tmp_path_factory.mktemp("traces") / "a.trace")


# In this process, with entry points of our own


@pytest.fixture
def offered(tmp_path, monkeypatch) -> Any:
    """Offer policies by entry point: the texts of their modules, by name."""

    def offer(**texts: str) -> None:
        entries = []
        for name, text in texts.items():
            (tmp_path / f"offered_{name}.py").write_text(text)
            entries.append(EntryPoint(name, f"offered_{name}:POLICY", ENTRY_POINTS))
        monkeypatch.setattr("replay.policies.installed.entry_points", lambda *, group: entries)

    monkeypatch.syspath_prepend(tmp_path)
    policies._found.cache_clear()
    yield offer
    policies._found.cache_clear()
    for name in [name for name in sys.modules if name.startswith("offered_")]:
        del sys.modules[name]


UNUSABLE = {
    "does not import": ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
    "has a slip": ("1 // 0", "offered_bad.py, line 1"),
    "leaves Python": ("raise SystemExit('bye')", "SystemExit: bye"),
    "has no POLICY": ("", "AttributeError"),
    "is no policy": ("POLICY = 'upstream'", "it is a str, not a replay.policies.protocol.Policy"),
    "has a name that is taken": (HEAD + "POLICY = policy('upstream')", "there is a policy upstream already"),
    "has a name that cannot be given": (HEAD + "POLICY = policy('a:b')", "'a:b' is no name"),
    "has no order": (HEAD + "POLICY = policy(parameters=())", "no parameter order"),
    "has another order": (
        HEAD + "POLICY = policy(parameters=(Parameter('order', 'bool', True, ''),))",
        "no parameter order of kind int",
    ),
    "needs what nobody can tell": (
        HEAD + "POLICY = policy(requires=frozenset({'the moon'}))",
        "no trace can say that it has the moon",
    ),
}


@pytest.mark.parametrize(("text", "told"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_policy_that_cannot_be_used_says_why_and_leaves_the_others_alone(offered, text, told) -> None:
    built_in = list(policies.registry())
    policies._found.cache_clear()
    offered(bad=text, good=HEAD + "POLICY = policy()")
    assert list(policies.registry()) == [*built_in, "mine"]
    assert list(policies.unusable()) == ["bad"]
    with pytest.raises(Fault) as caught:
        policies.policy_named("bad")
    fault = caught.value
    assert fault.what == "policy bad (offered_bad:POLICY) cannot be used"
    assert told in fault.how
    assert len(str(fault).splitlines()) == 3


def test_of_two_policies_of_one_name_the_first_is_used(offered) -> None:
    offered(first=HEAD + "POLICY = policy()", second=HEAD + "POLICY = policy()")
    assert "mine" in policies.registry()
    assert policies.unusable()["second"].how == "there is a policy mine already"


def test_a_comparison_leaves_out_what_the_trace_does_not_tell_enough_for(offered, trace) -> None:
    opened = open_trace(trace)
    everywhere = [setting.policy.name for setting in comparison(opened.manifest.guest)]
    policies._found.cache_clear()
    offered(searcher=SEARCHER, broken="1 // 0")
    done = replay.replay(opened)
    fit = [name for name in everywhere if policies.registry()[name].requires <= capabilities(opened)]
    assert [result.policy for result in done.results] == fit
    left_out = " | ".join(done.left_out)
    assert "policy searcher cannot be replayed" in left_out
    assert MEANINGS["compaction"] in left_out
    assert "policy broken (offered_broken:POLICY) cannot be used: ZeroDivisionError" in left_out
    assert set(done.left_out) <= set(done.limits)


def test_a_policy_asked_for_by_name_is_refused_where_the_trace_lacks_what_it_needs(offered, trace) -> None:
    offered(searcher=SEARCHER)
    with pytest.raises(Fault) as caught:
        replay.run(trace, "searcher")
    assert "cannot be replayed" in caught.value.what
    assert MEANINGS["compaction"] in caught.value.how


def test_what_a_result_does_not_show_is_noted(offered, trace) -> None:
    offered(mine=HEAD + "POLICY = policy(without={'compaction': 'no resets', 'cpu': 'no CPUs'})")
    result = replay.run(trace, "mine")
    assert result.notes == result.summary["notes"] == ["no resets"]


# Really installed


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    modules = {"greedy": COMPILED, "searcher": SEARCHER, "crashing": "import no_such_thing"}
    entries = {name: f"{name}:POLICY" for name in modules}
    return install(tmp_path_factory.mktemp("site"), "others", modules, entries)


def blocks(site: Path, trace: Path) -> int:
    done = pagetide(site, "replay", trace, "--policy", "greedy", "--start", "cold", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return int(json.loads(done.stdout)["results"][0]["reports"]["blocks"])


def test_an_installed_compiled_policy_is_kept_on_disk_until_its_file_changes(site, trace) -> None:
    hits = "import greedy; greedy.wake.nopython_signatures; print(sum(greedy.wake.stats.cache_hits.values()))"
    assert blocks(site, trace) == 1
    assert python(site, hits).stdout == "1\n"
    (site / "greedy.py").write_text(COMPILED.replace("WANTED = 1", "WANTED = 2"))
    assert python(site, hits).stdout == "0\n"
    assert blocks(site, trace) == 2


def test_the_command_tells_which_policies_cannot_be_used_and_goes_on(site) -> None:
    done = pagetide(site, "policies")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("pagetide: policy crashing (crashing:POLICY) cannot be used: ModuleNotFoundError")
    assert "mend or uninstall the distribution others" in line
    assert "searcher: does [nothing]" in done.stdout
    assert f"needs of the trace: {MEANINGS['compaction']}" in done.stdout
    assert f"without {MEANINGS['compaction']}: no list is reshuffled" in " ".join(done.stdout.split())
    said = json.loads(pagetide(site, "policies", "--json").stdout)
    assert [policy["name"] for policy in said["policies"]][-2:] == ["greedy", "searcher"]
    assert [broken["entry_point"] for broken in said["unusable"]] == ["crashing"]


@pytest.mark.parametrize(
    ("name", "what"), [("searcher", "cannot be replayed on"), ("crashing", "cannot be used")]
)
def test_a_mismatch_is_one_clear_line_and_exit_code_1(site, trace, name, what) -> None:
    done = pagetide(site, "replay", trace, "--policy", name)
    first, how, fix = done.stderr.splitlines()
    assert first.startswith(f"pagetide: policy {name} ")
    assert what in first
    assert how.startswith("  how we know: ")
    assert fix.startswith("  what to do:  ")
    assert (done.returncode, done.stdout) == (1, "")


def test_the_table_says_what_was_left_out_and_what_a_result_does_not_show(site, trace) -> None:
    done = pagetide(site, "replay", trace)
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert "note: left out: policy searcher cannot be replayed" in said
    assert "note: left out: policy crashing (crashing:POLICY) cannot be used" in said
    assert "no list is reshuffled" in said
