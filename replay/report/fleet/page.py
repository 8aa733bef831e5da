"""The page of a batch: which setting for these guests, who gains, what it costs, and how sure that is."""

from collections.abc import Sequence

from replay.batching.dataset import RESULTS
from replay.fleets.fleet import Fleet
from replay.fleets.measures import WEIGHTS
from replay.report import drawing
from replay.report.figures import Figure
from replay.report.fleet.compared import Compared
from replay.report.fleet.findings import findings
from replay.report.fleet.tables import MOST_GUESTS, of_guests, of_settings, of_weights
from replay.report.fleet.tasks import Tasks
from replay.report.fleet.trust import trust
from replay.report.page import Made
from replay.report.sheet import TEMPLATES, sheet
from tracer import Place


def fleet_html(told: Fleet, tasks: Tasks | None, source: Place, made: Made) -> str:
    """The whole page as text.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    of = Compared(told)
    drawn = figures(of)
    heads, guests = of_guests(of)
    return sheet(
        TEMPLATES / "fleet.html.j2",
        {figure.name: figure.chart for figure in drawn if figure.chart is not None},
        name=(source.path.resolve().name if source.local else source.name) or "fleet",
        count=told.count,
        hours=float(of.guests["duration_s"].sum()) / 3600,
        memory_bytes=float(of.guests["managed_bytes"].sum()),
        weights=WEIGHTS[told.weights],
        trust=trust(of, tasks),
        findings=findings(of),
        groups=of_settings(of),
        settings=len(told.compared),
        weightings=list(WEIGHTS.values()),
        weighted=of_weights(of),
        baseline=of.names[of.baseline],
        guest_heads=heads,
        guests=guests,
        most_guests=MOST_GUESTS,
        results=str(source / RESULTS),
        figures=drawn,
        made=made,
    )


def figures(of: Compared) -> Sequence[Figure]:
    """In the order of the page.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    drawing()
    from replay.report.fleet import by_guest, over, prices

    return [
        over.given_back(of), by_guest.gains(of), prices.price(of), over.latency(of), by_guest.stranded(of),
    ]  # fmt: skip
