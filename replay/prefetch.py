"""Memory that is needed soon, asked for ahead: the world of a large guest fits no cache, and which of
its units the next events are of is known before.
"""

from typing import Any

import numba as nb
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils
from numba.core.cgutils import int32_t, voidptr_t
from numba.extending import intrinsic

_PREFETCH = ir.FunctionType(ir.VoidType(), [voidptr_t, int32_t, int32_t, int32_t])
_TO_WRITE, _TO_KEEP, _DATA = 1, 3, 1  # llvm.prefetch: read or write, locality, instructions or data


def _ask_for(_typing: Any, array: Any, index: Any) -> Any:  # noqa: ANN401 - Numba's types
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401 - LLVM's
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        element = builder.bitcast(builder.gep(data, [values[1]]), voidptr_t)
        prefetch = cgutils.get_or_insert_function(builder.module, _PREFETCH, "llvm.prefetch.p0")
        builder.call(prefetch, [element, *map(int32_t, (_TO_WRITE, _TO_KEEP, _DATA))])
        return context.get_dummy_value()

    return nb.types.void(array, index), emit


# ask_for(array, index): ask for an element of a one-dimensional array, to be written to. It need not exist.
ask_for: Any = intrinsic(_ask_for)
