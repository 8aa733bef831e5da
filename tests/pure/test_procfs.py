import gzip
import re
import time
from typing import Any

import pytest

from tests.pure.proc_texts import (
    BUDDYINFO,
    PAGETYPEINFO,
    TIMER_LIST,
    TWO_NODES,
    VMSTAT,
    WITH_CMA,
    ZONEINFO,
    ZONEINFO_6_1,
    guest_files,
    put,
    with_cpus,
)
from tracer.faults import ExitCode, Fault
from tracer.format import Zone
from tracer.guest.procfs import (
    at_its_tick,
    hz_from_jiffies,
    parse_buddyinfo,
    parse_pagetypeinfo,
    parse_timer_list,
    parse_vmstat,
    parse_zoneinfo,
    pcp_orders,
    read_buddyinfo,
    read_guest,
    read_hz,
    read_reporting,
    read_zones,
    zone_counts,
)

FIRST_JIFFY = 1 << 32  # minus 300 s


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
    with guest_files(tmp_path, zoneinfo=text) as files:
        assert read_zones(files) == parse_zoneinfo(ZONEINFO)


def test_a_boost_is_known_before_promo_was():
    (zone,) = parse_zoneinfo(ZONEINFO_6_1)
    assert zone == Zone(0, "DMA32", 4096, 520160, 520160, 499402, 412345, 11264, 14080, 16896, 0)


def test_a_line_that_a_later_kernel_adds_changes_nothing():
    later = ZONEINFO.replace("        spanned", "        demote   7\n        spanned")
    assert parse_zoneinfo(later) == parse_zoneinfo(ZONEINFO)


def test_no_zones_in_an_empty_text():
    assert parse_zoneinfo("") == []


@pytest.mark.parametrize("name", ["free", "min", "low", "high", "spanned", "present", "managed"])
def test_a_zone_without_a_count_that_all_kernels_show_is_a_fault_of_the_machine(name):
    text = "".join(line for line in ZONEINFO.splitlines(keepends=True) if f" {name} " not in line)
    with pytest.raises(Fault) as caught:
        parse_zoneinfo(text)
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert re.search(r"no \w+ count of zone DMA", caught.value.what)


@pytest.mark.parametrize("name", ["zoneinfo", "buddyinfo"])
@pytest.mark.parametrize("text", ["", "nothing known\n"])
def test_a_guest_without_zones_is_a_fault_of_the_machine(tmp_path, name, text):
    reader = {"zoneinfo": read_zones, "buddyinfo": read_buddyinfo}[name]
    with guest_files(tmp_path, **{name: text}) as files, pytest.raises(Fault) as caught:
        reader(files)
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert f"/proc/{name} has no zone" in caught.value.what


def test_frames_on_per_cpu_lists_are_summed_over_the_cpus():
    assert zone_counts(ZONEINFO_6_1)[0, "DMA32"]["pcp"] == 371 + 1200
    assert zone_counts(TWO_NODES)[0, "DMA32"]["pcp"] == 120
    many = zone_counts(with_cpus(ZONEINFO, 64, 100))
    assert (many[0, "DMA"]["pcp"], many[0, "Normal"]["pcp"]) == (6400, 6400)
    assert "pcp" not in many[0, "Movable"]


def test_a_zones_own_counts_do_not_depend_on_the_number_of_cpus():
    assert parse_zoneinfo(with_cpus(ZONEINFO, 256, 7)) == parse_zoneinfo(ZONEINFO)


def test_zones_of_512_cpus_are_parsed_in_a_few_milliseconds():
    text = with_cpus(ZONEINFO, 512, 7)
    assert len(text) > 180_000
    taken = []
    for _ in range(5):
        begin = time.thread_time()
        zone_counts(text)
        taken.append(time.thread_time() - begin)
    assert min(taken) < 0.02


def test_counters_of_vmstat_are_found_by_name():
    assert parse_vmstat(VMSTAT, ["nr_file_pages", "compact_stall", "unheard_of"]) == {
        "nr_file_pages": 117524,
        "compact_stall": 5,
    }


def test_an_empty_vmstat_has_no_counters():
    assert parse_vmstat("", ["nr_file_pages"]) == {}


@pytest.mark.parametrize(
    "damage",
    [
        ("nr_file_pages 117524", "nr_file_pages 117524 kB"),
        ("nr_file_pages 117524", "nr_file_pages"),
        ("nr_file_pages 117524", "nr_file_pages many"),
        ("nr_file_pages 117524", "nr_file_pages -1"),
        ("nr_file_pages 117524", f"nr_file_pages {10**19}"),
    ],
)
def test_a_vmstat_of_another_form_is_a_fault_of_the_machine(damage):
    with pytest.raises(Fault) as caught:
        parse_vmstat(VMSTAT.replace(*damage), ["nr_file_pages"])
    assert caught.value.code == ExitCode.ENVIRONMENT


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
    with guest_files(tmp_path) as files:
        (info, _) = read_buddyinfo(files)
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


@pytest.mark.parametrize(
    ("hz", "began_ns"), [(250, 5210374000000), (1000, 5210376000000), (100, 5210368000000)]
)
def test_jiffies_began_at_a_tick(hz, began_ns):
    assert at_its_tick((7, 5210376573687), TIMER_LIST, hz) == (7, began_ns)


def test_without_a_tick_or_its_rate_the_instant_is_as_it_was_read():
    pair = (7, 5210376573687)
    assert at_its_tick(pair, TIMER_LIST, None) == pair
    assert at_its_tick(pair, TIMER_LIST.replace("tick_nohz_handler", "hrtimer_wakeup"), 250) == pair


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


def described(tmp_path, **texts) -> Any:
    with guest_files(put(tmp_path / "proc", SYSCTL), **texts) as files:
        return read_guest(files, put(tmp_path / "sys", THP))


def test_a_guest_is_described_from_proc_and_sys(tmp_path):
    guest = described(tmp_path)
    assert (guest.max_order, guest.pageblock_order, guest.thp_mode) == (10, 9, "madvise")
    # Its HZ is told by jiffies: the tick before is that of a period of 4 ms.
    assert guest.hz == 250
    assert (guest.jiffies, guest.jiffies_monotonic_ns) == (4296194893, 5210374000000)
    assert guest.migratetypes[1] == "Movable"
    assert guest.pcp_orders == [0, 1, 2, 3, 9]


def test_a_guest_without_a_timer_list_has_no_jiffies(tmp_path):
    guest = described(tmp_path, timer_list=None)
    assert (guest.jiffies, guest.jiffies_monotonic_ns) == (None, None)


def test_a_pagetypeinfo_that_says_nothing_is_a_fault_of_the_machine(tmp_path):
    with pytest.raises(Fault) as caught:
        described(tmp_path, pagetypeinfo="")
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
