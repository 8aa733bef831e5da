"""Allocation flags from the names the kernel prints (include/trace/events/mmflags.h) to numbers.

The bits are those Linux has had since 5.0 (include/linux/gfp_types.h); later flags, whose bits
differ between kernels and configurations, have no number here.
"""

_BITS = {
    "__GFP_DMA": 0, "__GFP_HIGHMEM": 1, "__GFP_DMA32": 2, "__GFP_MOVABLE": 3, "__GFP_RECLAIMABLE": 4,
    "__GFP_HIGH": 5, "__GFP_IO": 6, "__GFP_FS": 7, "__GFP_ZERO": 8, "__GFP_ATOMIC": 9,
    "__GFP_DIRECT_RECLAIM": 10, "__GFP_KSWAPD_RECLAIM": 11, "__GFP_WRITE": 12, "__GFP_NOWARN": 13,
    "__GFP_RETRY_MAYFAIL": 14, "__GFP_NOFAIL": 15, "__GFP_NORETRY": 16, "__GFP_MEMALLOC": 17,
    "__GFP_COMP": 18, "__GFP_NOMEMALLOC": 19, "__GFP_HARDWALL": 20, "__GFP_THISNODE": 21,
    "__GFP_ACCOUNT": 22, "__GFP_ZEROTAGS": 23,
}  # fmt: skip
FLAGS = {name: 1 << bit for name, bit in _BITS.items()} | {"none": 0}


def _add(name: str, parts: str) -> None:
    value = 0
    for part in parts.split():
        value |= FLAGS[part]
    FLAGS[name] = value


# Each is made of those before it.
_add("__GFP_RECLAIM", "__GFP_DIRECT_RECLAIM __GFP_KSWAPD_RECLAIM")
_add("GFP_DMA", "__GFP_DMA")
_add("GFP_DMA32", "__GFP_DMA32")
_add("GFP_NOWAIT", "__GFP_KSWAPD_RECLAIM")
_add("GFP_ATOMIC", "__GFP_HIGH __GFP_KSWAPD_RECLAIM")
_add("GFP_NOIO", "__GFP_RECLAIM")
_add("GFP_NOFS", "GFP_NOIO __GFP_IO")
_add("GFP_KERNEL", "GFP_NOFS __GFP_FS")
_add("GFP_KERNEL_ACCOUNT", "GFP_KERNEL __GFP_ACCOUNT")
_add("GFP_USER", "GFP_KERNEL __GFP_HARDWALL")
_add("GFP_HIGHUSER", "GFP_USER __GFP_HIGHMEM")
_add("GFP_HIGHUSER_MOVABLE", "GFP_HIGHUSER __GFP_MOVABLE")
_add("GFP_TEMPORARY", "GFP_KERNEL __GFP_RECLAIMABLE")
_TRANSHUGE = "GFP_HIGHUSER_MOVABLE __GFP_COMP __GFP_NOMEMALLOC __GFP_NOWARN"
_add("GFP_TRANSHUGE_LIGHT", _TRANSHUGE)
FLAGS["GFP_TRANSHUGE_LIGHT"] &= ~FLAGS["__GFP_RECLAIM"]
_add("GFP_TRANSHUGE", "GFP_TRANSHUGE_LIGHT __GFP_DIRECT_RECLAIM")


def gfp_bits(text: str) -> tuple[int, list[str]]:
    """The number of `NAME|NAME|0x…`, and the names in it that have none."""
    value, unknown = 0, []
    for name in text.split("|"):
        if name in FLAGS:
            value |= FLAGS[name]
        else:
            try:
                value |= int(name, 0) & 0xFFFFFFFF
            except ValueError:
                unknown.append(name)
    return value, unknown
