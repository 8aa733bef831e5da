"""Texts of /proc as different kernels write them, and made-up folders of them."""

import re
from pathlib import Path

from tracer.guest.files import GuestFiles

# This machine, Linux 6.18, two zones shortened.
ZONEINFO = """\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 29797
      nr_slab_reclaimable 18434
      nr_file_pages 117524
  pages free     3840
        boost    0
        min      39
        low      48
        high     57
        promo    66
        spanned  4095
        present  3998
        managed  3840
        cma      0
        protection: (0, 3019, 6475, 6475, 6475)
      nr_free_pages 3840
      nr_free_cma  0
  pagesets
    cpu: 0
              count:    0
              high:     0
              batch:    1
              high_min: 24
              high_max: 240
  vm stats threshold: 4
  node_unreclaimable:  0
  start_pfn:           1
Node 0, zone   Normal
  pages free     689206
        boost    512
        min      8997
        low      11246
        high     13495
        promo    15744
        spanned  5505024
        present  5505024
        managed  884736
        cma      0
        protection: (0, 0, 0, 0, 0)
      nr_free_pages 689206
  pagesets
    cpu: 0
              count:    3790
              high:     33154
              batch:    63
              high_min: 5623
              high_max: 55296
  vm stats threshold: 24
  node_unreclaimable:  0
  start_pfn:           1048576
Node 0, zone  Movable
  pages free     0
        boost    0
        min      32
        low      32
        high     32
        spanned  0
        present  0
        managed  0
        cma      0
        protection: (0, 0, 0, 0, 0)
"""

# Two nodes, Linux 5.4: no boost, the second node has one zone, per-node stats come twice.
TWO_NODES = """\
Node 0, zone    DMA32
  per-node stats
      nr_inactive_anon 9
  pages free     400000
        min      500
        low      625
        high     750
        spanned  1044480
        present  782304
        managed  765900
        protection: (0, 0, 0, 0, 0)
  pagesets
    cpu: 0
              count: 120
              high:  378
              batch: 63
  vm stats threshold: 24
  node_unreclaimable:  0
  start_pfn:           4096
Node 0, zone   Device
  pages free     0
        min      0
        low      0
        high     0
        spanned  0
        present  0
        managed  0
        protection: (0, 0, 0, 0, 0)
Node 1, zone   Normal
  per-node stats
      nr_inactive_anon 7
  pages free     900000
        min      1100
        low      1375
        high     1650
        spanned  1048576
        present  1048576
        managed  1031000
        protection: (0, 0, 0, 0, 0)
  node_unreclaimable:  0
  start_pfn:           1048576
"""

BUDDYINFO = """\
Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3 
Node 0, zone   Normal     85    368    253    180   1986   1423    995    713    316    156    286 
"""  # noqa: W291 - the kernel ends its lines so

PAGETYPEINFO = """\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2      3      4      5      6      7
Node    0, zone      DMA, type    Unmovable      0      0      0      0      0      0      0      0
Node    0, zone      DMA, type      Movable      0      0      0      0      0      0      0      0

Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic      Isolate 
Node 0, zone      DMA            1            7            0            0            0 
"""  # noqa: W291 - as above

WITH_CMA = """\
Page block order: 13
Pages per block:  8192

Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic          CMA      Isolate 
Node 0, zone      DMA            1            7            0            0            8            0 
"""  # noqa: W291 - as above

# Linux 5.10 with contiguous allocations and two nodes, three orders: each node brings its headings
# anew, a list of 100,000 blocks is cut off, and the kernel tracks page owners.
TWO_NODES_PAGETYPEINFO = """\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2 
Node    0, zone    DMA32, type    Unmovable      1      2      3 
Node    0, zone    DMA32, type      Movable >100000     20  99999 
Node    0, zone    DMA32, type  Reclaimable      4      0      0 
Node    0, zone    DMA32, type   HighAtomic      0      0      0 
Node    0, zone    DMA32, type          CMA      0      0      7 
Node    0, zone    DMA32, type      Isolate      0      0      0 

Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic          CMA      Isolate 
Node 0, zone    DMA32           11         1500           12            0            8            1 

Number of mixed blocks    Unmovable      Movable  Reclaimable   HighAtomic          CMA      Isolate 
Node 0, zone    DMA32            3            5            0            0            0            0 
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2 
Node    1, zone   Normal, type    Unmovable      0      0 >100000 
Node    1, zone   Normal, type      Movable      0      5     50 
Node    1, zone   Normal, type  Reclaimable      0      0      0 
Node    1, zone   Normal, type   HighAtomic      0      1      0 
Node    1, zone   Normal, type          CMA      0      0      0 
Node    1, zone   Normal, type      Isolate      0      0      0 

Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic          CMA      Isolate 
Node 1, zone   Normal            1         2047            0            1            0            0 

Number of mixed blocks    Unmovable      Movable  Reclaimable   HighAtomic          CMA      Isolate 
Node 1, zone   Normal            0            9            0            0            0            0 
"""  # noqa: W291 - as above

# Linux 4.19, before counts were cut off: a list longer than 100,000 is counted to its end.
OLD_PAGETYPEINFO = """\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1 
Node    0, zone   Normal, type    Unmovable 123456      2 
Node    0, zone   Normal, type      Movable      0 1234567 
Node    0, zone   Normal, type  Reclaimable      0      0 
Node    0, zone   Normal, type   HighAtomic      0      0 
Node    0, zone   Normal, type      Isolate      0      0 

Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic      Isolate 
Node 0, zone   Normal            1            7            0            0            0 
"""  # noqa: W291 - as above

TIMER_LIST = """\
Timer List Version: v0.10
HRTIMER_MAX_CLOCK_BASES: 8
now at 5210376573687 nsecs

cpu: 0
active timers:
 #0: <000000007b27b217>, tick_nohz_handler, S:01
 # expires at 5210378000000-5210378000000 nsecs [in 1426313 to 1426313 nsecs]
  .idle_jiffies   : 4296194868
  .last_jiffies   : 4296194890
jiffies: 4296194890
cpu: 1
  .idle_jiffies   : 4296194886
jiffies: 4296194893
"""

VMSTAT = """\
nr_free_pages 693046
nr_zone_inactive_anon 1462
nr_slab_reclaimable 18434
nr_slab_unreclaimable 8603
nr_anon_pages 3546
nr_mapped 2690
nr_file_pages 117524
pgpgin 4812210
compact_migrate_scanned 77
compact_isolated 31
compact_stall 5
compact_fail 3
compact_success 2
"""

# Linux 6.1: a boost, no promo, a pcp high without its bounds.
ZONEINFO_6_1 = """\
Node 0, zone    DMA32
  per-node stats
      nr_inactive_anon 115
      nr_file_pages 48211
  pages free     412345
        boost    0
        min      11264
        low      14080
        high     16896
        spanned  520160
        present  520160
        managed  499402
        cma      0
        protection: (0, 0, 0, 0)
      nr_free_pages 412345
      nr_zone_inactive_anon 115
  pagesets
    cpu: 0
              count: 371
              high:  7012
              batch: 63
  vm stats threshold: 24
    cpu: 1
              count: 1200
              high:  7012
              batch: 63
  vm stats threshold: 24
  node_unreclaimable:  0
  start_pfn:           4096
"""


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def with_cpus(zoneinfo: str, cpus: int, count: int) -> str:
    """The same zones on a machine of many CPUs, each with `count` frames on its lists."""
    one = "".join(
        f"    cpu: {cpu}\n              count:    {count}\n              high:     7830\n"
        "              batch:    63\n              high_min: 7830\n              high_max: 139264\n"
        "  vm stats threshold: 32\n"
        for cpu in range(cpus)
    )
    parts = re.split(r"(?s)  pagesets\n.*?(?=  node_unreclaimable)", zoneinfo)
    return f"  pagesets\n{one}".join(parts)


def proc_folder(root: Path, **texts: str | None) -> Path:
    """A /proc with this module's texts, or those given; None leaves one out."""
    usual = {
        "kpageflags": "",
        "zoneinfo": ZONEINFO,
        "buddyinfo": BUDDYINFO,
        "pagetypeinfo": PAGETYPEINFO,
        "timer_list": TIMER_LIST,
        "vmstat": VMSTAT,
    }
    return put(root, {name: text for name, text in (usual | texts).items() if text is not None})


def guest_files(root: Path, **texts: str | None) -> GuestFiles:
    """Such a folder's files, open."""
    return GuestFiles(proc_folder(root, **texts))
