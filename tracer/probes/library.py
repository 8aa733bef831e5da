"""Finding the distribution's BCC from any Python, and never PyPI's `bcc` (a crystal-lattice library)."""

import importlib
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from tracer.faults import environment

DIST_PACKAGES = Path("/usr/lib/python3/dist-packages")
INSTALL = "as root: apt-get install python3-bpfcc"


def _spec_outside_the_venv() -> Any:  # noqa: ANN401 - a ModuleSpec or None
    """The distribution's bcc by location, when the first one on the path is another or none."""
    init = DIST_PACKAGES / "bcc" / "__init__.py"
    if not init.is_file():
        return None
    return importlib.util.spec_from_file_location("bcc", init, submodule_search_locations=[str(init.parent)])


def _is_bpf(spec: Any) -> bool:  # noqa: ANN401 - a ModuleSpec or None
    """BCC's package ships libbcc's bindings beside it; the lattice library does not."""
    places = spec.submodule_search_locations if spec else None
    return any((Path(place) / "libbcc.py").is_file() for place in places or [])


def locate() -> Any:  # noqa: ANN401 - a ModuleSpec
    """The import spec of the real BCC.

    Raises:
        Fault: when there is none, naming PyPI's package if that is what was found.
    """
    found = importlib.util.find_spec("bcc")
    if _is_bpf(found):
        return found
    spec = _spec_outside_the_venv()
    if spec is not None:
        return spec
    if found is not None:
        raise environment(
            "the `bcc` installed here is PyPI's crystal-lattice library, not the BPF compiler",
            f"{found.origin} has no libbcc bindings",
            f"pip uninstall bcc; then {INSTALL}",
        )
    raise environment(
        "the BPF compiler collection (BCC) is not installed",
        f"no module bcc on sys.path or in {DIST_PACKAGES}",
        INSTALL,
    )


@cache
def load() -> Any:  # noqa: ANN401 - the bcc module, which has no types
    """Import BCC.

    Raises:
        Fault: when it is missing, is the wrong one, or its C library does not load.
    """
    spec = locate()
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        del sys.modules["bcc"]
        raise environment("BCC is installed but does not load", str(error), INSTALL) from error
    return module


def version() -> str:
    """BCC's version, without loading it.

    Raises:
        Fault: when there is none, or the wrong one.
    """
    origin = locate().origin
    try:
        text = (Path(origin).parent / "version.py").read_text()
    except OSError:
        text = ""
    found = re.search(r"__version__ = '([^']+)'", text.replace('"', "'"))
    return f"{found[1] if found else 'unknown version'} at {origin}"
