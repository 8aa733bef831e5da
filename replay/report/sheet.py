"""A self-contained HTML file: everything in it, so that it opens anywhere and asks no network.

Only the scripts whose digests it names may run, and nothing may be fetched: a trace is data, and what
its names hold stays text.
"""

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.parameters import word_of
from replay.report.theme import theme
from tracer import Fault, human_bytes, plain
from tracer.units import human_duration

if TYPE_CHECKING:
    from jinja2 import Environment

NONE = "\N{EN DASH}"  # where there is nothing to say
TEMPLATES = Path(__file__).parent / "templates"


def sheet(template: Path, charts: dict[str, Any], **words: Any) -> str:  # noqa: ANN401 - a template's
    """The whole file as text. `template`: one that extends `sheet.html.j2`; `charts`: Vega-Lite's
    specifications by the name of the element that holds each; `words`: what else the template asks for.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    from tracer import __version__

    scripts = [bundle(), _own("sheet.js")] if charts else [_own("sheet.js")]
    return (
        environment(template.parent)
        .get_template(template.name)
        .render(
            data=_json({"charts": charts, "themes": {"light": theme(False), "dark": theme(True)}}),
            style=_own("sheet.css"),
            scripts=scripts,
            policy=_policy(scripts),
            version=__version__,
            **words,
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
def environment(folder: Path = TEMPLATES) -> "Environment":
    """Where the templates are, here and in a folder, every value escaped.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: plain(value) if type(value) is str else value,  # not what is markup already
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "worded": worded,
        "size": human_bytes,
        "lasts": lasts,
        "plain": plain,
        "written": word_of,
    }
    return environment


def _missing(error: ModuleNotFoundError) -> Fault:
    return Fault(
        "a page cannot be made", f"there is no module {error.name}", "pip install 'pagetide[report]'"
    )


def lasts(duration_s: float | None) -> str:
    """A duration, or an en dash where there is none."""
    return NONE if duration_s is None else human_duration(duration_s)


def worded(text: str) -> Any:  # noqa: ANN401 - jinja2's Markup
    """Plain text for the page, what is between backquotes as code, between double stars as bold."""
    from markupsafe import Markup, escape

    told = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(plain(text))))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", told))  # noqa: S704 - escaped
