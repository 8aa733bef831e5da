"""Stock Debian kernels for test machines: downloaded by apt, unpacked into the checkout, never installed.

A kernel is named by its series: 5.10, 6.1, 6.12, 7.0. Those that this machine's own package lists do not
know come from the same mirror's other releases, by `debian`.
"""

import hashlib
import lzma
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.guest.debian import Apt, NoPackage, elsewhere

SERIES = "6.1"  # what is booted when nobody says which
CACHE = Path(__file__).parents[2] / ".guest"
_SUMS = "SHA256SUMS"
# What a machine may want to load. All else of the package (400 MB) is left out of the cache.
_MODULE_FOLDERS = ("drivers/virtio/", "fs/9p/", "fs/fscache/", "fs/netfs/", "fs/overlayfs/", "net/9p/")


class NoKernel(Exception):
    """There is no kernel to boot, and why."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package: below `folder` are `vmlinuz*`, `modules.builtin` and modules."""

    folder: Path

    @property
    def image(self) -> Path:
        """What QEMU's -kernel takes."""
        return next(self.folder.rglob("vmlinuz*"))

    def in_load_order(self, names: tuple[str, ...]) -> list[Path]:
        """These modules and all they depend on, each after what it needs.

        Raises:
            NoKernel: when one is not in the cache.
        """
        files = {_module_name(path): path for path in self.folder.rglob("*.ko")}
        built_in = self._built_in()
        order: dict[str, Path] = {}

        def visit(name: str) -> None:
            if name in order or name in built_in:
                return
            if name not in files:
                raise NoKernel(f"{self.folder.name} has no module {name}")
            for needed in _depends(files[name]):
                visit(needed)
            order[name] = files[name]

        for name in names:
            visit(name)
        return list(order.values())

    def _built_in(self) -> set[str]:
        """Modules that are part of the image."""
        lists = [path.read_text() for path in self.folder.rglob("modules.builtin")]
        return {_module_name(Path(line)) for text in lists for line in text.splitlines()}


def _module_name(path: Path) -> str:
    return path.stem.replace("-", "_")


def _depends(module: Path) -> list[str]:
    """What a module's own description says it needs: no depmod, no modules.dep."""
    found = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    names = found[1].decode().split(",") if found else []
    return [name.replace("-", "_") for name in names if name]


def fetch(series: str = SERIES, cache: Path = CACHE) -> Kernel:
    """A kernel to boot: from the cache if it is there and whole, else downloaded and unpacked.

    Raises:
        NoKernel: when apt does not know or cannot get such a package.
    """
    cached = [path for path in cache.glob(f"linux-image-{series}.*") if _is_whole(path)]
    return Kernel(max(cached, key=_version) if cached else _download(series, cache))


def _newest(apt: Apt, series: str) -> str | None:
    """The newest package of a series that these lists know."""
    flavour = re.compile(rf"linux-image-{re.escape(series)}\.[0-9.]+(-[0-9]+)?(\+deb[0-9.]+)?-amd64")
    found = [name for name in apt.names(f"^linux-image-{series}") if flavour.fullmatch(name)]
    return max(found, key=lambda name: _version(Path(name)), default=None)


def _parts(apt: Apt, package: str) -> list[str]:
    """The package and those that hold what it is made of: newer ones are split."""
    parts = [name for name in apt.depends(package) if re.match("<?linux-(base|binary|modules)-[0-9]", name)]
    gone = [name for name in parts if name.startswith("<")]
    if gone:
        raise NoKernel(f"{package} is no longer whole: there is no {gone[0]}")
    return [package, *parts]


def _version(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.name.partition("-amd64")[0])]


def _download(series: str, cache: Path) -> Path:
    """Download (apt checks its signature) and unpack; nobody sees a half-filled folder."""
    cache.mkdir(exist_ok=True)
    try:
        apt = Apt()
        package = _newest(apt, series)
        if package is None:
            apt = elsewhere(cache / "apt")
            package = _newest(apt, series)
        if package is None:
            raise NoKernel(f"no Debian release has a kernel {series} for x86-64")
        with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as name:
            tree = Path(name) / "tree"
            for deb in apt.download(_parts(apt, package), Path(name)):
                _unpack(deb, tree)
            (tree / _SUMS).write_text("".join(f"{_sha256(p)}  {p.relative_to(tree)}\n" for p in _files(tree)))
            shutil.rmtree(cache / package, ignore_errors=True)
            return tree.rename(cache / package)
    except NoPackage as reason:
        raise NoKernel(str(reason)) from reason


def _unpack(deb: Path, tree: Path) -> None:
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        wanted = (member for member in tar if member.isfile() and _is_wanted(member.name))
        tar.extractall(tree, members=wanted, filter="data")
        # What follows the archive's end must be read too, or dpkg-deb sees a broken pipe.
        while process.stdout and process.stdout.read(1 << 20):
            pass
    for path in tree.rglob("*.ko.xz"):
        path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        path.unlink()


def _is_wanted(name: str) -> bool:
    _, inside, module = name.partition("/kernel/")
    if inside:
        return module.startswith(_MODULE_FOLDERS)
    return Path(name).name.startswith("vmlinuz") or name.endswith("/modules.builtin")


def _is_whole(folder: Path) -> bool:
    """Does every file still have the checksum it was unpacked with?"""
    try:
        lines = (folder / _SUMS).read_text().splitlines()
        named = [line.split("  ", 1) for line in lines]
        return all(_sha256(folder / path) == checksum for checksum, path in named)
    except OSError:
        return False


def _files(tree: Path) -> list[Path]:
    return sorted(path for path in tree.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
