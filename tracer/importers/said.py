"""What the user says of the guest whose events are imported."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GuestSaid:
    """What the user says of the guest, because no file does. None: assumed."""

    page_size: int | None = None
    max_order: int | None = None
    pageblock_order: int | None = None
    pcp_orders: list[int] | None = None
