"""Processes that start together where nothing was compiled yet compile each function once."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, time
import numba as nb
from replay.jit import compiled

@compiled(nb.int64(nb.int64))
def inner(number):
    return number + 1

@compiled(nb.int64(nb.int64))
def outer(number):
    return inner(number) * 2

compile = outer._compiler.compile

def compile_slowly(*args):
    time.sleep(0.5)
    return compile(*args)

outer._compiler.compile = compile_slowly  # so that the other one wants it meanwhile
print("ready", flush=True)
sys.stdin.readline()
missed = lambda: sum(sum(each.stats.cache_misses.values()) for each in (inner, outer))
print(outer(20), missed())
"""


def test_of_two_processes_one_compiles_and_the_other_finds_it(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)  # another path: another entry of the cache
    paths = os.pathsep.join(each for each in sys.path if each)
    both = [
        subprocess.Popen(
            [sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": paths},
            cwd=Path(__file__).parents[2],
        )
        for _ in range(2)
    ]
    for each in both:
        assert each.stdout and each.stdout.readline() == "ready\n"
    for each in both:
        assert each.stdin
        each.stdin.write("go\n")
        each.stdin.flush()
    said = [each.communicate()[0].split() for each in both]
    assert [told for told, _ in said] == ["42", "42"]
    assert sum(int(missed) for _, missed in said) == 2
