"""The page: one HTML file with everything in it, so that it opens anywhere and asks no network.

Only the scripts whose digests the page names may run, and nothing may be fetched: a trace is data, and
what its names hold stays text.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.report.choice import choose
from replay.report.findings import findings
from replay.report.rows import Rows
from replay.report.table import GROUPS, cells
from replay.report.theme import theme
from replay.report.trust import trust
from tracer import Fault, human_bytes, plain
from tracer.units import human_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment

    from replay.report.figures import Figure
    from replay.report.material import Material

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Made:
    """How a page came to be: the command that makes it again, and when (UTC, as people write it)."""

    command: str
    when: str


def html(material: "Material", drawn: "Sequence[Figure]", made: Made) -> str:
    """The whole page as text. `drawn`: its figures, in order.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    from tracer import __version__

    answer = material.answer
    rows = Rows.of(answer)
    charts = {figure.name: figure.chart for figure in drawn if figure.chart is not None}
    scripts = [bundle(), _own("page.js")] if charts else [_own("page.js")]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            trace=answer["trace"],
            name=Path(answer["trace"]["path"]).name,
            fidelity=answer["fidelity"],
            trust=trust(answer),
            findings=findings(answer),
            rows=rows,
            choice=choose(rows),
            most=max((row.byte_seconds for row in rows.rows), default=0),
            groups=GROUPS,
            cells=cells,
            figures=drawn,
            data=_json({"charts": charts, "themes": {"light": theme(False), "dark": theme(True)}}),
            style=_own("page.css"),
            scripts=scripts,
            policy=_policy(scripts),
            made=made,
            version=__version__,
        )
    )


def _policy(scripts: list[str]) -> str:
    """The page's Content-Security-Policy. Styles are inline since Vega's elements carry theirs."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(value: dict[str, Any]) -> str:
    r"""JSON for inside a script element: no `<`, so that no text in it can end the element."""
    told = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return told.replace("<", "\\u003c")


def _own(name: str) -> str:
    return (TEMPLATES / name).read_text()


@cache
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    try:
        import vl_convert
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return re.sub(r"</(?=script)", r"<\\/", script, flags=re.IGNORECASE).replace("<!--", "<\\!--")


@cache
def environment() -> "Environment":
    """Where the templates are, every value escaped.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: plain(value) if type(value) is str else value,  # not what is markup already
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"worded": worded, "size": human_bytes, "lasts": human_duration, "plain": plain}
    return environment


def _missing(error: ModuleNotFoundError) -> Fault:
    return Fault(
        "a page cannot be made", f"there is no module {error.name}", "pip install 'pagetide[report]'"
    )


def worded(text: str) -> Any:  # noqa: ANN401 - jinja2's Markup
    """Plain text for the page, what is between backquotes as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(plain(text)))))  # noqa: S704 - escaped
