import ast
import subprocess
import sys
from pathlib import Path

import pytest

from replay import policies

REPO = Path(__file__).parents[2]
HEAVY = ("numpy", "numba", "polars", "pyarrow", "bcc", "rich.table", "tqdm")


def loaded(code: str) -> set[str]:
    """Modules a fresh Python has after running `code`."""
    program = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True
    )
    return set(run.stderr.split())


def sources(*packages: str) -> list[Path]:
    found = [path for package in packages for path in sorted((REPO / package).rglob("*.py"))]
    assert found
    return found


def imports(path: Path) -> set[str]:
    """Every module a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_and_version_import_nothing_heavy(arguments):
    code = f"sys.argv = ['pagetide', *{arguments}]; from replay.main import main; main()"
    assert loaded(code).isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["tracer", "replay"])
def test_importing_a_package_is_free(module):
    assert loaded(f"import {module}").isdisjoint(HEAVY)


def test_replaying_never_needs_bcc():
    modules = loaded("import replay.api, replay.cli, replay.validation, replay.tables")
    assert "replay.engine" in modules
    assert "bcc" not in modules
    assert not [name for name in modules if name.startswith("tracer.probes")]


def test_recording_never_imports_polars_numba_or_the_other_half():
    modules = loaded(
        "import tracer.recording.recorder, tracer.cli, tracer.doctor, tracer.describe, tracer.converting"
    )
    assert "tracer.recording.encoder" in modules
    assert modules.isdisjoint({"polars", "numba", "bcc"})
    assert not [name for name in modules if name.partition(".")[0] == "replay"]


def test_help_of_a_verb_of_one_half_leaves_the_other_alone():
    modules = loaded("sys.argv = ['pagetide', 'record', '--help']; from replay.main import main; main()")
    assert "tracer.cli" in modules
    assert modules.isdisjoint({"replay.cli", "replay.engine", "polars", "numba"})


def test_the_tracer_never_imports_replay():
    for path in sources("tracer"):
        assert not [name for name in imports(path) if name.partition(".")[0] == "replay"], path


def test_replay_reads_traces_through_the_public_api_only():
    allowed = {"tracer", "tracer.faults", "tracer.units"}
    for path in sources("replay"):
        named = {name for name in imports(path) if name.startswith("tracer.")}
        modules = {name for name in named if (REPO / (name.replace(".", "/") + ".py")).is_file()}
        assert modules <= allowed, path


def test_pypis_bcc_is_no_dependency():
    assert "bcc" not in {
        line.strip(' ",').split(">")[0] for line in (REPO / "pyproject.toml").read_text().splitlines()
    }


def string_constants(path: Path) -> set[str]:
    """Strings of a file, without docstrings."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    }


def elsewhere() -> list[Path]:
    folder = REPO / "replay/policies"
    return [path for path in sources("tracer", "replay") if not path.is_relative_to(folder)]


def test_the_registry_names_the_built_in_policies():
    assert {"never", "upstream", "oracle"} <= set(policies.registry())


@pytest.mark.parametrize("path", elsewhere(), ids=lambda path: str(path.relative_to(REPO)))
def test_nothing_outside_the_policies_knows_their_names(path):
    names = set(policies.registry())
    said = {text for text in string_constants(path) if text.partition(":")[0] in names}
    assert not said
    modules = {f"replay.policies.{name}" for name in names}
    assert imports(path).isdisjoint(modules)


def test_a_name_would_be_noticed(tmp_path):
    (tmp_path / "a.py").write_text('"""never"""\nx = {"share_of_oracle": 1}\ny = "upstream:delay=1s"\n')
    assert string_constants(tmp_path / "a.py") == {"share_of_oracle", "upstream:delay=1s"}
