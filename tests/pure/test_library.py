import sys
from pathlib import Path
from typing import Any

import pytest

from tracer.faults import ExitCode, Fault
from tracer.probes import library

LATTICE = "class Lattice: ...\n"
load = library.load.__wrapped__  # without its cache


@pytest.fixture
def places(tmp_path, monkeypatch) -> Any:
    """A path with one empty folder, and no packages of the distribution."""
    (tmp_path / "site").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setattr(library, "DIST_PACKAGES", tmp_path / "dist")
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "bcc"}
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "bcc"]:
        del sys.modules[name]
    sys.modules.update(real)


def package(folder: Path, text: str, *, bindings: bool) -> Path:
    made = folder / "bcc"
    made.mkdir(parents=True)
    (made / "__init__.py").write_text(text)
    if bindings:
        (made / "libbcc.py").write_text("")
    return made / "__init__.py"


def fault_of(call) -> Any:
    with pytest.raises(Fault) as caught:
        call()
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert len(str(caught.value).splitlines()) == 3
    return caught.value


def test_no_bcc_at_all_names_the_distributions_package(places):
    fault = fault_of(library.locate)
    assert "not installed" in fault.what
    assert "python3-bpfcc" in fault.fix
    assert "pip" not in fault.fix


def test_pypis_bcc_is_recognised_and_never_taken_for_the_compiler(places):
    wrong = package(places / "site", LATTICE, bindings=False)
    fault = fault_of(library.locate)
    assert "crystal-lattice" in fault.what
    assert str(wrong) in fault.how
    assert fault.fix.startswith("pip uninstall bcc")
    assert "python3-bpfcc" in fault.fix


def test_a_single_module_called_bcc_is_not_the_compiler_either(places):
    (places / "site/bcc.py").write_text(LATTICE)
    assert "crystal-lattice" in fault_of(library.locate).what


def test_a_wrong_bcc_is_not_imported(places):
    package(places / "site", "raise SystemExit('ran')", bindings=False)
    fault_of(load)
    assert "bcc" not in sys.modules


def test_the_distributions_bcc_is_found_outside_the_path(places):
    right = package(places / "dist", "__version__ = '0.26'", bindings=True)
    assert library.locate().origin == str(right)
    assert load().__version__ == "0.26"


def test_the_distributions_bcc_wins_over_pypis(places):
    package(places / "site", LATTICE, bindings=False)
    right = package(places / "dist", "__version__ = '0.26'", bindings=True)
    assert library.locate().origin == str(right)
    assert load().__version__ == "0.26"


def test_a_real_bcc_on_the_path_is_taken(places):
    right = package(places / "site", "", bindings=True)
    package(places / "dist", "", bindings=True)
    assert library.locate().origin == str(right)


def test_its_own_modules_are_importable(places):
    made = package(places / "dist", "from .libbcc import lib\n", bindings=True)
    (made.parent / "libbcc.py").write_text("lib = 1\n")
    assert load().lib == 1
    sys.modules.pop("bcc.libbcc", None)


@pytest.mark.parametrize("error", ["OSError('libbcc.so.0: cannot open')", "ImportError('no libbcc.so.0')"])
def test_a_bcc_whose_library_is_missing_is_a_fault_and_leaves_no_half_module(places, error):
    package(places / "dist", f"raise {error}\n", bindings=True)
    fault = fault_of(load)
    assert "does not load" in fault.what
    assert "libbcc.so.0" in fault.how
    assert "bcc" not in sys.modules
