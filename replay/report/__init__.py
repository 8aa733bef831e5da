"""What people look at: charts. They need the extra `report`."""

from importlib import import_module
from typing import Any

from tracer import Fault


def drawing() -> Any:  # noqa: ANN401 - a module
    """The package `charts`, imported when it is needed.

    Raises:
        Fault: when the extra is not installed.
    """
    try:
        for needed in ("altair", "vl_convert"):  # without the second, Altair saves neither PNG nor SVG
            import_module(needed)
        return import_module("replay.report.charts")
    except ModuleNotFoundError as error:
        how = f"there is no module {error.name}"
        raise Fault("charts cannot be drawn", how, "pip install 'pagetide[report]'") from error
