"""Probes on functions: where arguments are found, what is left out and why, and the text that comes of it."""

import re
from pathlib import Path

import pytest

from tests.pure.small_types import Builder
from tracer.faults import Fault
from tracer.format import Op
from tracer.image import kallsyms
from tracer.image.btf import Types
from tracer.image.kallsyms import Symbol
from tracer.probes import functions, hooks, ladder
from tracer.probes.functions import FENTRY, FUNCTIONS, KPROBE, Form, Plan, Unit, all_names, plan, source
from tracer.probes.hooks import Attached, Hooks
from tracer.probes.ladder import Ladder, climb, rung_of
from tracer.probes.points import BUDDY, FRAME, needless

ARGUMENTS = {
    "page_reporting_process": ["work"],
    "__page_reporting_notify": [],
    "virtballoon_free_page_report": ["device", "sg", "nents"],
    "__isolate_free_page": ["page", "order"],
    "__putback_isolated_page": ["page", "order", "mt"],
    "__free_one_page": ["page", "pfn", "zone", "order", "migratetype", "flags"],
}


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What BTF tells; a test may change it before it plans."""
    arguments = {name: list(names) for name, names in ARGUMENTS.items()}

    def load(_module: str) -> Types:
        made = Builder()
        word = made.integer("long", 8)
        for name, names in arguments.items():
            made.function(name, [(argument, word) for argument in names])
        return Types(made.bytes())

    monkeypatch.setattr(functions, "load", load)
    return arguments


def symbols(*names: str, module: str | None = None) -> dict[str, Symbol]:
    return {name: Symbol(name, 1, module) for name in names}


def forms(made: Plan, name: str) -> dict[str, Form]:
    return {form.kind: form for unit in made.units if unit.function.name == name for form in unit.forms}


def test_a_whole_kernel_leaves_nothing_out(described: dict[str, list[str]]) -> None:
    made = plan(symbols(*ARGUMENTS))
    assert not made.left_out
    assert [unit.target for unit in made.units] == [f.name for f in FUNCTIONS]
    assert len(set(made.ops)) == len(made.ops) == 9


def test_arguments_are_found_by_name_wherever_they_stand(described: dict[str, list[str]]) -> None:
    before = forms(plan(symbols(*ARGUMENTS)), "__free_one_page")
    assert "pfn = PT_REGS_PARM2(ctx);" in before[KPROBE].text
    assert "order = (u32)PT_REGS_PARM4(ctx);" in before[KPROBE].text
    assert "mt = (u32)ctx[4];" in before[FENTRY].text
    described["__free_one_page"] = ["zone", "order", "mt", "pfn"]
    after = forms(plan(symbols(*ARGUMENTS)), "__free_one_page")
    assert "pfn = PT_REGS_PARM4(ctx);" in after[KPROBE].text
    assert "order = (u32)ctx[1];" in after[FENTRY].text
    assert "mt = (u32)ctx[2];" in after[FENTRY].text


def test_a_return_knows_the_arguments_of_its_entry(described: dict[str, list[str]]) -> None:
    both = forms(plan(symbols(*ARGUMENTS)), "__isolate_free_page")
    assert [program.at for program in both[KPROBE].programs] == ["entry", "return"]
    assert "keep_argument(0, page);" in both[KPROBE].text
    assert "u64 page = kept_argument(0);" in both[KPROBE].text
    assert [program.at for program in both[FENTRY].programs] == ["return"]
    assert "result = ctx[2];" in both[FENTRY].text


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ((), "no such function"),
        (("__isolate_free_page.constprop.0",), "only as __isolate_free_page.constprop.0"),
    ],
)
def test_a_function_that_is_not_there_leaves_only_itself_out(
    described: dict[str, list[str]], there: tuple[str, ...], reason: str
) -> None:
    made = plan(symbols(*(set(ARGUMENTS) - {"__isolate_free_page"}), *there))
    assert list(made.left_out) == ["__isolate_free_page"]
    assert reason in made.left_out["__isolate_free_page"]
    assert made.absent == (frozenset() if there else {"__isolate_free_page"})
    assert len(made.units) == len(FUNCTIONS) - 1
    assert Op.ISOLATE not in made.ops


def test_unknown_arguments_leave_a_function_out(described: dict[str, list[str]]) -> None:
    del described["__isolate_free_page"]
    described["__putback_isolated_page"] = ["page", "order", "color"]
    made = plan(symbols(*ARGUMENTS))
    assert made.left_out == {
        "__isolate_free_page": "its arguments are not described in BTF",
        "__putback_isolated_page": "it has no argument mt|migratetype but page, order, color",
    }
    assert not made.absent


def test_a_modules_function_has_no_fentry_form(described: dict[str, list[str]]) -> None:
    there = symbols(*ARGUMENTS) | symbols("virtballoon_free_page_report", module="virtio_balloon")
    made = plan(there)
    assert list(forms(made, "virtballoon_free_page_report")) == [KPROBE]
    assert list(forms(made, "__isolate_free_page")) == [FENTRY, KPROBE]


def test_each_op_has_a_counter_behind_those_of_the_tracepoints(described: dict[str, list[str]]) -> None:
    made = plan(symbols(*(set(ARGUMENTS) - {"__page_reporting_notify"})))
    text = source(made, 7)
    numbers = {name: int(n) for name, n in re.findall(r"#define PROBE_(\w+) (\d+)", text)}
    assert numbers == {op.name: 7 + place for place, op in enumerate(made.ops)}
    ops = {name: int(n) for name, n in re.findall(r"#define OP_(\w+) (\d+)", text)}
    assert ops == {op.name: int(op) for op in made.ops}
    used = set(re.findall(r"(?:NOTE|BLOCK)\((\w+),", text.split("#define BLOCK")[1])) - {"NAME"}
    assert used == set(ops)


def test_kallsyms_tells_functions_changed_by_the_compiler_and_their_module(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(
        "ffffffff812f2a70 t __free_one_page\n"
        "ffffffff812f6860 T __isolate_free_page.constprop.0\n"
        "ffffffff812f6870 T not__isolate_free_page\n"
        "ffffffff812f6880 T __isolate_free_pages\n"
        "ffffffffc0585290 t virtballoon_free_page_report\t[virtio_balloon]\n"
        "0000000000000000 D node_data\n"
    )
    names = [*all_names(), "node_data"]
    assert kallsyms.read(names, path) == {
        "__free_one_page": Symbol("__free_one_page", 0xFFFFFFFF812F2A70, None),
        "__isolate_free_page.constprop.0": Symbol(
            "__isolate_free_page.constprop.0", 0xFFFFFFFF812F6860, None
        ),
        "virtballoon_free_page_report": Symbol(
            "virtballoon_free_page_report", 0xFFFFFFFFC0585290, "virtio_balloon"
        ),
        "node_data": Symbol("node_data", 0, None),
    }
    assert kallsyms.read(names, tmp_path / "absent") == {}


class FakeKernel:
    """Attaches all but what it refuses. Stands in for `hooks._attach_form`."""

    def __init__(self, *refused: tuple[str, str]) -> None:
        self.refused = refused

    def __call__(self, _bpf: object, form: Form) -> list[int]:
        target = form.programs[0].target
        if (form.kind, target) in self.refused:
            raise hooks.Refused("Invalid argument")
        return []


def attach(
    monkeypatch: pytest.MonkeyPatch, made: Plan, *refused: tuple[str, str], pages_known: bool = True
) -> Hooks:
    monkeypatch.setattr(hooks, "_attach_form", FakeKernel(*refused))
    monkeypatch.setattr(hooks, "mark", lambda *_: None)
    done = Hooks()
    hooks.attach(None, made, done, pages_known=pages_known)
    return done


def attached(done: Hooks) -> dict[str, str]:
    return {one.unit.target: one.kind for one in done.attached}


def test_the_best_kind_that_the_kernel_allows_is_taken(
    monkeypatch: pytest.MonkeyPatch, described: dict[str, list[str]]
) -> None:
    refused = [(FENTRY, "__isolate_free_page"), (FENTRY, "__free_one_page"), (KPROBE, "__free_one_page")]
    done = attach(monkeypatch, plan(symbols(*ARGUMENTS)), *refused)
    assert attached(done)["__isolate_free_page"] == KPROBE
    assert attached(done)["__putback_isolated_page"] == FENTRY
    assert done.left_out == {
        "__free_one_page": "fentry: Invalid argument; kprobe: Invalid argument",
    }


def test_what_cannot_be_told_apart_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch, described: dict[str, list[str]]
) -> None:
    refused = [(kind, "page_reporting_process") for kind in (FENTRY, KPROBE)]
    done = attach(monkeypatch, plan(symbols(*ARGUMENTS)), *refused)
    assert set(attached(done)) == {"__page_reporting_notify", "virtballoon_free_page_report"}
    assert done.left_out["__isolate_free_page"] == "it means nothing without page_reporting_process"
    assert done.left_out["__free_one_page"] == "it means nothing without __putback_isolated_page"


def test_a_kernel_without_reporting_has_nothing_to_tell_apart(
    monkeypatch: pytest.MonkeyPatch, described: dict[str, list[str]]
) -> None:
    made = plan(symbols("__isolate_free_page", "__putback_isolated_page", "__free_one_page"))
    assert set(attached(attach(monkeypatch, made))) == {
        "__isolate_free_page",
        "__putback_isolated_page",
        "__free_one_page",
    }


def test_where_pages_cannot_be_mapped_only_functions_without_pages_are_probed(
    monkeypatch: pytest.MonkeyPatch, described: dict[str, list[str]]
) -> None:
    done = attach(monkeypatch, plan(symbols(*ARGUMENTS)), pages_known=False)
    assert not {"__isolate_free_page", "__putback_isolated_page"} & set(attached(done))
    assert "frame numbers" in done.left_out["__isolate_free_page"]


def hooked(*kinds: str) -> Hooks:
    return Hooks([Attached(Unit(FUNCTIONS[0], FUNCTIONS[0].name, ()), kind) for kind in kinds])


def test_the_rung_is_that_of_the_best_probe_in_use() -> None:
    top = Ladder("fentry", None)
    assert rung_of(top, hooked(FENTRY, KPROBE)) == top
    lower = rung_of(top, Hooks(hooked(KPROBE).attached, {"__isolate_free_page": "Invalid argument"}))
    assert lower == Ladder("kprobes", "__isolate_free_page: Invalid argument")
    held = Ladder("kprobes", "held down by PAGETIDE_RUNG")
    assert rung_of(held, Hooks()) == Ladder("tracepoints", "held down by PAGETIDE_RUNG")


def test_a_rung_that_there_is_not_is_a_fault() -> None:
    with pytest.raises(Fault, match="there is no rung roof"):
        climb({"PAGETIDE_RUNG": "roof"})


@pytest.mark.parametrize(
    ("rung", "kinds"),
    [("tracepoints", ()), ("kprobes", (KPROBE,)), ("fentry", (FENTRY, KPROBE))],
)
def test_each_rung_has_the_kinds_below_it(rung: str, kinds: tuple[str, ...]) -> None:
    assert Ladder(rung, None).kinds == kinds
    assert rung in ladder.RUNGS


def test_entries_are_not_told_twice() -> None:
    assert needless({Op.BUDDY_FREE, Op.PUT_BACK}, [BUDDY]) == {Op.PCPU_DRAIN, Op.PAGE_FREE}
    assert needless({Op.BUDDY_FREE, Op.PUT_BACK}, [BUDDY, FRAME]) == {Op.PCPU_DRAIN}
    assert needless({Op.ISOLATE, Op.PUT_BACK}, [BUDDY]) == set()
