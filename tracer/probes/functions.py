"""Probes on the kernel's own functions: what tracepoints do not show, where the kernel lets us look.

Each is its own small unit: C text over the function's arguments, which are found by name in the kernel's
description of itself (`btf`), never by its version. A unit has up to two forms: fentry/fexit, and
kprobe/kretprobe; `attach` tries them in that order. One that this kernel does not have, or does not
allow, is left out with its reason, and the others do not notice.

Most of these functions run under the zone lock with interrupts off, so what happens between entry and
return happens on one CPU: a per-CPU slot carries what the return must know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tracer.format import Op
from tracer.image.btf import BadTypes, load
from tracer.image.kallsyms import Symbol

FENTRY, KPROBE = "fentry", "kprobe"
ENTRY, RETURN = "entry", "return"
MAX_ARGUMENTS = 6  # those that travel in registers
NEEDS_PAGE_MAP = "page"  # the argument that must become a pfn


@dataclass(frozen=True)
class Hook:
    """What is done at a function's entry or return.

    Attributes:
        body: C statements over the arguments' names, and `result` at a return.
        reads: names of the arguments; `a|b` is called one or the other, and `a` in the body.
    """

    body: str
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Function:
    """One unit.

    Attributes:
        names: the function; of several, the first that the kernel has.
        ops: what its events are called in the trace.
        entry, leave: what is done there.
        after: the unit without which this one would tell wrong things. A kernel that does not have
            that function at all has nothing to tell apart.
    """

    names: tuple[str, ...]
    ops: tuple[Op, ...]
    entry: Hook | None = None
    leave: Hook | None = None
    after: str | None = None

    @property
    def name(self) -> str:
        """What the unit is called."""
        return self.names[0]

    @property
    def reads(self) -> tuple[str, ...]:
        """All arguments it needs."""
        return (self.entry.reads if self.entry else ()) + (self.leave.reads if self.leave else ())


_PAGE, _ORDER, _TYPE = "page", "order", "mt|migratetype"

# In the order in which they are attached: who marks a state comes before who asks for it.
FUNCTIONS = (
    Function(
        ("page_reporting_process",),
        (Op.PASS_START, Op.PASS_END),
        entry=Hook("set_reporter(task()); NOTE(PASS_START, 0);"),
        leave=Hook("NOTE(PASS_END, 0); set_reporter(NOBODY);"),
    ),
    Function(("__page_reporting_notify",), (Op.NOTIFY,), entry=Hook("NOTE(NOTIFY, 0);")),
    Function(
        ("virtballoon_free_page_report", "hv_free_page_report"),
        (Op.REPORT,),
        entry=Hook("NOTE(REPORT, nents);", ("nents",)),
    ),
    Function(
        ("__isolate_free_page",),
        (Op.ISOLATE, Op.REPORTING_ISOLATE),
        leave=Hook(
            "if (!page || !(u32)result) return 0;"
            " if (by_reporting()) BLOCK(REPORTING_ISOLATE, 0, PAGE_TO_PFN(page), order, -1, 0);"
            " else BLOCK(ISOLATE, 0, PAGE_TO_PFN(page), order, -1, cause());",
            (_PAGE, _ORDER),
        ),
        after="page_reporting_process",
    ),
    Function(
        ("__putback_isolated_page",),
        (Op.PUT_BACK, Op.REPORTING_PUT_BACK),
        entry=Hook(
            "set_putting_back(1);"
            " if (by_reporting()) BLOCK(REPORTING_PUT_BACK, 0, PAGE_TO_PFN(page), order, mt, 0);"
            " else BLOCK(PUT_BACK, 0, PAGE_TO_PFN(page), order, mt, cause());",
            (_PAGE, _ORDER, _TYPE),
        ),
        leave=Hook("set_putting_back(0);"),
        after="page_reporting_process",
    ),
    Function(
        ("__free_one_page",),
        (Op.BUDDY_FREE,),
        entry=Hook("BLOCK(BUDDY_FREE, putting_back(), pfn, order, mt, 0);", ("pfn", _ORDER, _TYPE)),
        after="__putback_isolated_page",
    ),
)
# Tracepoints between which a task is compacting memory, and the C functions for them. They make no events.
COMPACTION = (("mm_compaction_begin", "begin_compaction"), ("mm_compaction_end", "end_compaction"))


@dataclass(frozen=True)
class Program:
    """One BPF program: the C function `function`, to run where `target` is entered or left."""

    function: str
    target: str
    at: str


@dataclass(frozen=True)
class Form:
    """One way to attach a unit: all of its programs, or none."""

    kind: str
    programs: tuple[Program, ...]
    text: str


@dataclass(frozen=True)
class Unit:
    """A function of this kernel, and the ways to probe it, best first."""

    function: Function
    target: str
    forms: tuple[Form, ...]


@dataclass(frozen=True)
class Plan:
    """What could be attached here, and why the rest cannot.

    Attributes:
        left_out: name of a unit -> why.
        absent: units whose function this kernel does not have at all.
    """

    units: tuple[Unit, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()

    @property
    def ops(self) -> tuple[Op, ...]:
        """Of all units, in the order of their counters."""
        return tuple(op for unit in self.units for op in unit.function.ops)


def plan(symbols: Mapping[str, Symbol], kinds: Sequence[str] = (FENTRY, KPROBE)) -> Plan:
    """Choose among FUNCTIONS. `symbols`: `kallsyms.read(all_names())`; `kinds`: what may be tried."""
    units, left_out, absent = [], {}, set()
    for function in FUNCTIONS:
        try:
            units.append(_unit(function, symbols, kinds))
        except _Absent as reason:
            absent.add(function.name)
            left_out[function.name] = str(reason)
        except BadTypes as reason:
            left_out[function.name] = str(reason)
    return Plan(tuple(units), left_out, frozenset(absent))


def all_names() -> list[str]:
    """Every function that may be probed."""
    return [name for function in FUNCTIONS for name in function.names]


class _Absent(BadTypes):
    """The kernel has no such function."""


def _unit(function: Function, symbols: Mapping[str, Symbol], kinds: Sequence[str]) -> Unit:
    target = next((name for name in function.names if name in symbols), None)
    if target is None:
        other = [name for name in symbols if name.split(".")[0] in function.names]
        if other:
            raise BadTypes(f"only as {other[0]}, whose arguments cannot be known")
        raise _Absent("the kernel has no such function, or only inlined")
    module = symbols[target].module
    names = load(module or "vmlinux").function(target)
    if names is None:
        raise BadTypes("its arguments are not described in BTF")
    places = {read: _place(read, names) for read in function.reads}
    # libbcc finds fentry targets in the kernel's own BTF only.
    possible = [kind for kind in kinds if kind != FENTRY or not module]
    forms = tuple(_form(kind, function, target, places, len(names)) for kind in possible)
    return Unit(function, target, forms)


def _place(read: str, names: list[str]) -> int:
    """Which argument it is, from 0."""
    for name in read.split("|"):
        if name in names[:MAX_ARGUMENTS]:
            return names.index(name)
    raise BadTypes(f"it has no argument {read} but {', '.join(names)}")


_PROGRAM = """
int {name}({context} *ctx)
{{
{statements}
    return 0;
}}
"""
_CONTEXT = {FENTRY: "u64", KPROBE: "struct pt_regs"}


def _form(kind: str, function: Function, target: str, places: Mapping[str, int], arguments: int) -> Form:
    """The programs of one kind. Only fexit is handed the arguments again; a kretprobe needs them kept."""
    entry, leave = function.entry, function.leave
    kept = leave.reads if leave and kind == KPROBE else ()
    programs, texts = [], []

    def add(at: str, statements: list[str]) -> None:
        name = f"{kind}_{at}_{target}"
        programs.append(Program(name, target, at))
        lines = "\n".join(f"    {statement}" for statement in statements)
        texts.append(_PROGRAM.format(name=name, context=_CONTEXT[kind], statements=lines))

    if entry or kept:
        reads = dict.fromkeys((entry.reads if entry else ()) + kept)
        keeping = [f"keep_argument({slot}, {_variable(read)});" for slot, read in enumerate(kept)]
        add(ENTRY, [_argument(kind, r, places[r]) for r in reads] + keeping + [entry.body if entry else ""])
    if leave:
        reading = [f"u64 {_variable(read)} = kept_argument({slot});" for slot, read in enumerate(kept)]
        if kind == FENTRY:
            reading = [_argument(kind, read, places[read]) for read in leave.reads]
        result = f"ctx[{arguments}]" if kind == FENTRY else "PT_REGS_RC(ctx)"
        uses_result = [f"u64 result = {result};"] if "result" in leave.body else []
        add(RETURN, [*reading, *uses_result, leave.body])
    return Form(kind, tuple(programs), "".join(texts))


def _variable(read: str) -> str:
    return read.split("|", maxsplit=1)[0]


def _argument(kind: str, read: str, place: int) -> str:
    """Reads one argument. Of an int, the upper half of its register means nothing."""
    name = _variable(read)
    wide = name in ("page", "pfn")
    if kind == KPROBE:
        value = f"PT_REGS_PARM{place + 1}(ctx)"
        return f"u64 {name} = {value};" if wide else f"u64 {name} = (u32){value};"
    if name == NEEDS_PAGE_MAP:
        # The verifier knows it for a pointer and would refuse to compute with it; a copy is a number.
        return f"u64 {name} = 0; bpf_probe_read_kernel(&{name}, sizeof({name}), &ctx[{place}]);"
    return f"u64 {name} = ctx[{place}];" if wide else f"u64 {name} = (u32)ctx[{place}];"


_PROLOGUE = """
#include <uapi/linux/ptrace.h>

@NUMBERS@
#define NOTE(NAME, aux) note(PROBE_##NAME, OP_##NAME, aux)
#define BLOCK(NAME, skip, pfn, order, type, aux) \\
    keep(PROBE_##NAME, (skip) || UNWANTED(order), OP_##NAME, pfn, order, (u64)(s64)(type), aux)

#define NOBODY 1 /* no worker has the first task's number */

struct arguments { u64 value[3]; };
BPF_ARRAY(reporter, u32, 1);
BPF_HASH(compacting, u32, u8, 4096);
BPF_PERCPU_ARRAY(kept, struct arguments, 1);
BPF_PERCPU_ARRAY(put_back, u32, 1);

static __always_inline u32 task(void) { return bpf_get_current_pid_tgid(); }

static __always_inline void note(u32 probe, u64 op, u64 aux)
{
    struct counter *counter = hit(probe);
    struct record *record = counter ? reserve(op, 0, 0, (u64)-1, aux) : 0;
    if (record)
        events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
    else if (counter)
        counter->ring_full++;
}

static __always_inline void set_reporter(u32 task) { u32 zero = 0; reporter.update(&zero, &task); }

static __always_inline u64 cause(void)
{
    u32 me = task();
    return compacting.lookup(&me) ? 1 : 2;
}

/* While no pass was seen to begin or end, one may have been running before we came: then a kernel
   worker that isolates and does not compact is the one that reports. */
static __always_inline int by_reporting(void)
{
    u32 zero = 0, *worker = reporter.lookup(&zero);
    if (!worker || *worker)
        return worker && *worker == task();
    char name[16] = {};
    bpf_get_current_comm(&name, sizeof(name));
    return name[0] == 'k' && name[1] == 'w' && name[2] == 'o' && name[3] == 'r' && cause() != 1;
}

static __always_inline void set_putting_back(u32 yes)
{
    u32 zero = 0, *slot = put_back.lookup(&zero);
    if (slot)
        *slot = yes;
}

static __always_inline u32 putting_back(void)
{
    u32 zero = 0, *slot = put_back.lookup(&zero);
    return slot ? *slot : 0;
}

static __always_inline void keep_argument(u32 n, u64 value)
{
    u32 zero = 0;
    struct arguments *slot = kept.lookup(&zero);
    if (slot)
        slot->value[n] = value;
}

static __always_inline u64 kept_argument(u32 n)
{
    u32 zero = 0;
    struct arguments *slot = kept.lookup(&zero);
    return slot ? slot->value[n] : 0;
}

int begin_compaction(void *ctx)
{
    u32 me = task();
    u8 yes = 1;
    compacting.update(&me, &yes);
    return 0;
}

int end_compaction(void *ctx)
{
    u32 me = task();
    compacting.delete(&me);
    return 0;
}
"""


def source(chosen: Plan, first: int) -> str:
    """C text of all forms, to stand behind `program`'s. `first`: the number of their first counter."""
    numbers = []
    for number, op in enumerate(chosen.ops, first):
        numbers += [f"#define PROBE_{op.name} {number}", f"#define OP_{op.name} {int(op)}"]
    head = _PROLOGUE.replace("@NUMBERS@", "\n".join(numbers))
    return head + "".join(form.text for unit in chosen.units for form in unit.forms)
