import gzip
from pathlib import Path

import pytest

from tracer.faults import ExitCode, Fault
from tracer.format import Zone
from tracer.guest.procfs import (
    hz_from_jiffies,
    parse_buddyinfo,
    parse_pagetypeinfo,
    parse_timer_list,
    parse_zoneinfo,
    pcp_orders,
    read_buddyinfo,
    read_guest,
    read_hz,
    read_reporting,
    read_zones,
)

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

FIRST_JIFFY = 1 << 32  # minus 300 s


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_zones_are_read_with_the_zones_own_high_and_not_the_pagesets():
    dma, normal = parse_zoneinfo(ZONEINFO)
    assert dma == Zone(0, "DMA", 1, 4095, 3998, 3840, free=3840, min=39, low=48, high=57, boost=0)
    assert normal == Zone(
        0,
        "Normal",
        1048576,
        5505024,
        5505024,
        884736,
        free=689206,
        min=8997,
        low=11246,
        high=13495,
        boost=512,
    )


def test_zones_without_managed_memory_are_left_out():
    assert [zone.name for zone in parse_zoneinfo(ZONEINFO)] == ["DMA", "Normal"]


def test_two_nodes_of_an_old_kernel_without_boost():
    first, second = parse_zoneinfo(TWO_NODES)
    assert (first.node, first.name, first.managed, first.boost) == (0, "DMA32", 765900, 0)
    assert (second.node, second.name, second.start_pfn, second.low) == (1, "Normal", 1048576, 1375)


def test_a_zone_whose_memory_is_cma_counts_as_any(tmp_path):
    text = ZONEINFO.replace("cma      0", "cma      16384").replace("nr_free_cma  0", "nr_free_cma  9000")
    assert read_zones(put(tmp_path, {"zoneinfo": text})) == parse_zoneinfo(ZONEINFO)


def test_no_zones_in_an_empty_text():
    assert parse_zoneinfo("") == []


def test_buddyinfo_keeps_zones_orders_and_the_instants_of_the_read():
    dma, normal = parse_buddyinfo(BUDDYINFO, 5, 7)
    assert (dma.node, dma.zone, dma.blocks) == (0, "DMA", [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3])
    assert normal.blocks[-1] == 286
    assert (normal.read_begin_ns, normal.read_end_ns) == (5, 7)


def test_buddyinfo_of_two_nodes():
    text = BUDDYINFO + BUDDYINFO.replace("Node 0", "Node 1")
    assert [(info.node, info.zone) for info in parse_buddyinfo(text, 0, 0)] == [
        (0, "DMA"),
        (0, "Normal"),
        (1, "DMA"),
        (1, "Normal"),
    ]


def test_reading_buddyinfo_brackets_the_read(tmp_path):
    (info, _) = read_buddyinfo(put(tmp_path, {"buddyinfo": BUDDYINFO}))
    assert 0 < info.read_begin_ns <= info.read_end_ns


def test_migratetypes_are_numbered_as_the_kernel_does():
    assert parse_pagetypeinfo(PAGETYPEINFO) == (
        9,
        ["Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate"],
    )


def test_cma_has_its_number_before_isolate():
    order, names = parse_pagetypeinfo(WITH_CMA)
    assert order == 13
    assert names.index("CMA") == 4
    assert names.index("Isolate") == 5


def test_a_pagetypeinfo_of_another_form_is_a_fault_of_the_machine():
    with pytest.raises(Fault) as caught:
        parse_pagetypeinfo("nothing known")
    assert caught.value.code == ExitCode.ENVIRONMENT


def test_the_timer_list_gives_the_newest_jiffies_and_the_instant():
    assert parse_timer_list(TIMER_LIST) == (4296194893, 5210376573687)


@pytest.mark.parametrize("lost", ["now at", "jiffies: "])
def test_a_timer_list_without_one_half_gives_nothing(lost):
    kept = [line for line in TIMER_LIST.splitlines() if not line.startswith(lost)]
    assert parse_timer_list("\n".join(kept)) is None


def test_hz_of_this_machine():
    assert hz_from_jiffies(4296194893, 5210376573687) == 250


@pytest.mark.parametrize("hz", [100, 250, 300, 1000])
@pytest.mark.parametrize("uptime_s", [1, 60, 400, 5210, 40 * 86400])
def test_hz_from_jiffies_and_uptime(hz, uptime_s):
    jiffies = FIRST_JIFFY + hz * (uptime_s - 300)
    assert hz_from_jiffies(jiffies, uptime_s * 10**9) == hz


def test_no_hz_fits_jiffies_that_started_elsewhere():
    assert hz_from_jiffies(123456, 5210 * 10**9) is None


@pytest.mark.parametrize("hz", [100, 250, 300, 1000])
@pytest.mark.parametrize("uptime_s", [297, 299.7, 300, 300.5, 305])
def test_hz_is_never_guessed_wrong_when_jiffies_wrap(hz, uptime_s):
    jiffies = FIRST_JIFFY + round(hz * (uptime_s - 300))
    assert hz_from_jiffies(jiffies, int(uptime_s * 10**9)) in {hz, None}


def test_the_kernels_configuration_wins_over_jiffies(tmp_path):
    (tmp_path / "config.gz").write_bytes(gzip.compress(b"CONFIG_HZ_300=y\nCONFIG_HZ=300\n"))
    assert read_hz("none-such", (4296194893, 5210376573687), tmp_path) == 300


def test_without_a_configuration_hz_comes_from_jiffies_or_is_unknown(tmp_path):
    assert read_hz("none-such", (4296194893, 5210376573687), tmp_path) == 250
    assert read_hz("none-such", None, tmp_path) is None


SYSCTL = {"sys/vm/percpu_pagelist_high_fraction": "0\n"}
THP = {
    "kernel/mm/transparent_hugepage/hpage_pmd_size": "2097152\n",
    "kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
}


def test_before_5_14_only_single_pages_go_to_pcp_lists(tmp_path):
    assert pcp_orders(4096, tmp_path, put(tmp_path / "sys", THP)) == [0]


def test_pcp_lists_hold_small_orders_and_the_huge_page_order(tmp_path):
    proc, sys = put(tmp_path / "proc", SYSCTL), put(tmp_path / "sys", THP)
    assert pcp_orders(4096, proc, sys) == [0, 1, 2, 3, 9]


def test_without_huge_pages_pcp_lists_hold_small_orders_only(tmp_path):
    assert pcp_orders(4096, put(tmp_path, SYSCTL), tmp_path / "none") == [0, 1, 2, 3]


def test_the_huge_page_order_follows_the_page_size(tmp_path):
    huge = {"kernel/mm/transparent_hugepage/hpage_pmd_size": str(512 << 20)}
    assert pcp_orders(65536, put(tmp_path, SYSCTL), put(tmp_path / "sys", huge))[-1] == 13


def machine(tmp_path: Path, **without: bool) -> tuple[Path, Path]:
    files = {
        "buddyinfo": BUDDYINFO,
        "pagetypeinfo": PAGETYPEINFO,
        "timer_list": TIMER_LIST,
        **SYSCTL,
    }
    proc = put(tmp_path / "proc", {name: text for name, text in files.items() if name not in without})
    return proc, put(tmp_path / "sys", THP)


def test_a_guest_is_described_from_proc_and_sys(tmp_path):
    guest = read_guest(*machine(tmp_path))
    assert (guest.max_order, guest.pageblock_order, guest.thp_mode) == (10, 9, "madvise")
    assert (guest.jiffies, guest.jiffies_monotonic_ns) == (4296194893, 5210376573687)
    assert guest.migratetypes[1] == "Movable"


def test_a_guest_without_a_timer_list_has_no_jiffies(tmp_path):
    guest = read_guest(*machine(tmp_path, timer_list=False))
    assert (guest.jiffies, guest.jiffies_monotonic_ns) == (None, None)


def test_a_pagetypeinfo_that_cannot_be_read_is_a_fault_of_the_machine(tmp_path):
    with pytest.raises(Fault) as caught:
        read_guest(*machine(tmp_path, pagetypeinfo=False))
    assert caught.value.code == ExitCode.ENVIRONMENT


def device(number: int, kind: int, *features: int) -> dict[str, str]:
    bits = "".join("1" if bit in features else "0" for bit in range(64))
    folder = f"bus/virtio/devices/virtio{number}"
    return {f"{folder}/device": f"{kind:#06x}\n", f"{folder}/features": f"{bits}\n"}


ORDER = {"module/page_reporting/parameters/page_reporting_order": "9\n"}
BALLOON, NET = 5, 1


@pytest.mark.parametrize(
    ("devices", "active"),
    [
        (device(0, BALLOON, 1, 2, 5, 32), True),
        (device(0, BALLOON, 1, 2, 3, 4, 32), False),  # hinting and poison, but no reporting
        (device(0, NET, 5, 32), False),  # bit 5 means something else to a network card
        (device(0, NET, 1) | device(1, BALLOON, 5), True),
        (device(0, NET), False),
    ],
)
def test_reporting_is_active_when_a_balloon_negotiated_it(tmp_path, devices, active):
    found = read_reporting(put(tmp_path, ORDER | devices))
    assert (found.order, found.active) == (9, active)


def test_a_balloon_without_its_features_is_not_active(tmp_path):
    files = {"bus/virtio/devices/virtio0/device": "0x0005\n"}
    assert read_reporting(put(tmp_path, files)).active is False


def test_where_virtio_cannot_be_seen_reporting_is_unknown(tmp_path):
    found = read_reporting(tmp_path)
    assert (found.order, found.active) == (None, None)
