"""What an op of a trace means to the buddy."""


def meaning_of(
    op: str,
    order: int,
    recorded: set[str],
    pcp_orders: set[int],
    *,
    owners_only: bool,
    by_pageblock: bool = True,
) -> str:
    """What an op does to the buddy: enter, exit, fallback, claim, isolate, put_back or nothing, by its name.

    ``recorded`` are the ops that the trace has probes for. Without ``by_pageblock`` (before 6.10) each
    extfrag is followed by the zone_locked of what was taken.
    """
    if owners_only:
        return {"page_alloc": "exit", "page_free": "enter"}.get(op, "nothing")
    always = {
        "zone_locked": "exit",
        "extfrag": "fallback" if by_pageblock else "claim",
        "isolate": "isolate",
        "put_back": "put_back",
        "buddy_free": "enter",
    }
    if op in always:
        return always[op]
    if "buddy_free" in recorded:
        return "nothing"  # every entry that is not a put-back has told itself
    if op == "pcpu_drain" or (op == "page_free" and order not in pcp_orders):
        return "enter"
    return "nothing"
