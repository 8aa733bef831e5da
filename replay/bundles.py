"""Bundles of arrays that compiled functions take as one word.

Numba passes a tuple of arrays as all of their addresses, shapes and strides, in every call that is not
inlined: for the thirty arrays of a policy's world some 30 ns a call. A bundle is passed by its address,
and a field of it is read where it is used.
"""

from dataclasses import fields
from typing import Any, get_type_hints

import numba as nb
import numpy as np
from numba.core import cgutils
from numba.core.cgutils import intp_t, voidptr_t
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox
from numba.np.arrayobj import populate_array

# Numba's types of arrays, as fields of bundles have them.
NUMBERS, NUMBERS_2D, TYPES = nb.int64[::1], nb.int64[:, ::1], nb.int8[::1]


class BundleType(nb.types.Type):
    """Numba's type of a kind of bundle. Its words: of each array the address, then the shape; of a
    function, or a bundle inside it, the address.

    Attributes:
        members: the type of each field.
        places: the first word of each field.
    """

    def __init__(self, name: str, members: dict[str, Any]) -> None:
        self.members, self.places, place = members, dict[str, int](), 0
        for field, member in members.items():
            self.places[field] = place
            place += 1 + member.ndim if isinstance(member, nb.types.Array) else 1
        super().__init__(name)


class Bundle:
    """Derive a frozen dataclass from it, each field `Annotated[Any, its Numba type]`: an array in C order,
    a compiled function, or another bundle. `bundle_type` is then what signatures say.
    """

    def __post_init__(self) -> None:
        """Note where all is: it stays there, since fields are never set again.

        Raises:
            TypeError: for a field of another type.
        """
        members = bundle_type(type(self)).members
        words = [word for name, member in members.items() for word in _words_of(getattr(self, name), member)]
        object.__setattr__(self, "_words", np.array(words, np.int64))

    def __reduce__(self) -> tuple[type["Bundle"], tuple[Any, ...]]:
        """A copy is made of copies of the fields, so that it notes where those are."""
        return type(self), tuple(getattr(self, name) for name in bundle_type(type(self)).members)

    @property
    def address(self) -> int:
        """Of the words that `BundleType` describes."""
        return int(self._words.ctypes.data)  # type: ignore[attr-defined]

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        return sum(getattr(getattr(self, name), "nbytes", 0) for name in bundle_type(type(self)).members)


def _words_of(value: Any, member: Any) -> list[int]:  # noqa: ANN401 - a field, and its type
    if isinstance(member, nb.types.FunctionType):
        made = value.get_compile_result(member.signature)
        return [made.library.get_pointer_to_function(made.fndesc.llvm_func_name)]
    if nb.typeof(value) != member:
        raise TypeError(f"a field is {nb.typeof(value)}, not {member}")
    return [value.address] if isinstance(value, Bundle) else [value.ctypes.data, *value.shape]


_types: dict[type[Bundle], BundleType] = {}


def bundle_type(kind: type[Bundle]) -> BundleType:
    """Numba's type of a kind of bundle."""
    if kind not in _types:
        hints = get_type_hints(kind, include_extras=True)
        members = {field.name: hints[field.name].__metadata__[0] for field in fields(kind)}  # type: ignore[arg-type]
        _types[kind] = BundleType(kind.__name__, members)
    return _types[kind]


def records(dtype: "np.dtype[Any]", ndim: int = 1) -> Any:  # noqa: ANN401 - a Numba type
    """Numba's type of an array of records."""
    return nb.types.Array(nb.from_dtype(dtype), ndim, "C")


# What follows teaches Numba the type: what it is in Python, what a word of it is, how fields are read.


@typeof_impl.register(Bundle)
def _typeof(bundle: Bundle, _context: Any) -> BundleType:  # noqa: ANN401 - Numba's
    return bundle_type(type(bundle))


register_model(BundleType)(models.OpaqueModel)


@unbox(BundleType)  # type: ignore[untyped-decorator]
def _unbox(_type: BundleType, bundle: Any, c: Any) -> NativeValue:  # noqa: ANN401 - Numba's
    address = c.pyapi.object_getattr_string(bundle, "address")
    value = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    return NativeValue(value, is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


@infer_getattr
class _Fields(AttributeTemplate):
    key = BundleType

    def generic_resolve(  # type: ignore[override] # which is no function there
        self, bundle: BundleType, name: str
    ) -> Any:  # noqa: ANN401 - a Numba type
        return bundle.members.get(name)


@lower_getattr_generic(BundleType)  # type: ignore[untyped-decorator]
def _field(context: Any, builder: Any, bundle: BundleType, value: Any, name: str) -> Any:  # noqa: ANN401 - Numba's
    """Read the words of a field. They never change, so one reading of them serves for many."""
    first, member = bundle.places[name], bundle.members[name]
    never_changes = builder.module.add_metadata([])

    def word(index: int, kind: Any) -> Any:  # noqa: ANN401 - LLVM's
        words = builder.bitcast(value, kind.as_pointer())
        read = builder.load(builder.gep(words, [intp_t(first + index)]))
        read.set_metadata("invariant.load", never_changes)
        return read

    if isinstance(member, BundleType):
        return word(0, voidptr_t)
    if isinstance(member, nb.types.FunctionType):
        function = cgutils.create_struct_proxy(member)(context, builder)
        function.c_addr = function.py_addr = function.jit_addr = word(0, voidptr_t)
        return function._getvalue()  # noqa: SLF001 - Numba's own name
    array = context.make_array(member)(context, builder)
    element = context.get_data_type(member.dtype)
    itemsize = context.get_abi_sizeof(element)
    shape = [word(1 + axis, intp_t) for axis in range(member.ndim)]
    strides = [intp_t(itemsize)]
    for size in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], size))
    populate_array(array, word(0, element.as_pointer()), shape, strides, itemsize, None)
    return array._getvalue()  # noqa: SLF001
