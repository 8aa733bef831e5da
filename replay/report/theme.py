"""How charts look in light and in dark: what a page merges into each specification. No library is needed."""

from typing import Any

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def theme(dark: bool) -> dict[str, Any]:
    """The `config` of Vega-Lite for a dark page or a light one. The background is the page's own."""
    ink, quiet, faint = ("#E6E6E6", "#A8ADB4", "#3A3F45") if dark else ("#1B1F23", "#57606A", "#E1E4E8")
    return {
        "background": None,
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": quiet,
            "titleColor": quiet,
            "gridColor": faint,
            "domainColor": faint,
            "tickColor": faint,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "labelOverlap": "greedy",
            "labelFlush": True,
        },
        # A title that lies along its axis costs the width that a phone does not have.
        "axisY": {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "end", "titleX": 0, "titleY": -10},
        "axisX": {"grid": False},
        "legend": {
            "labelColor": ink,
            "titleColor": quiet,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelLimit": 280,
            "offset": 30,  # the title of the vertical axis is below it
            "columnPadding": 14,
            "rowPadding": 3,
        },
        "title": {"color": ink, "subtitleColor": quiet, "fontSize": 14},
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": quiet},
        "style": {"quiet": {"fill": quiet}, "ink": {"stroke": ink}, "halo": {"fill": ink}},
    }
