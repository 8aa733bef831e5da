"""Each setting's colour and shape, the same in all pictures of a fleet."""

from collections.abc import Sequence

import altair as alt

from replay.report.charts.cast import COLOURS, GREY, SHAPES
from replay.report.charts.drawn import legend
from replay.report.fleet.compared import Compared

TICKS = alt.Axis(tickCount=alt.ExprRef("ceil(width / 90)"))


def looks(of: Compared, shown: Sequence[str]) -> tuple[alt.Color, alt.Shape]:
    """Of the settings shown, with one legend for both; bounds are grey."""
    names = [of.names[each] for each in shown]
    places = {each: at for at, each in enumerate(of.possible)}
    colours = [COLOURS[places[each] % len(COLOURS)] if each in places else GREY for each in shown]
    shapes = [SHAPES[of.fleet.compared.index(each) % len(SHAPES)] for each in shown]
    return (
        alt.Color(
            "setting:N",
            sort=None,
            scale=alt.Scale(domain=names, range=colours),
            legend=legend(names, symbolType="circle"),
        ),
        alt.Shape("setting:N", sort=None, scale=alt.Scale(domain=names, range=shapes), legend=legend(names)),
    )
