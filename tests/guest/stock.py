"""A stock Debian kernel for test machines: downloaded by apt, unpacked into the checkout, never installed."""

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "linux-image-amd64"
CACHE = Path(__file__).parents[2] / ".guest"
_SUMS = "SHA256SUMS"
# What a machine may want to load. All else of the package (400 MB) is left out of the cache.
_MODULE_FOLDERS = ("drivers/virtio/", "fs/9p/", "fs/fscache/", "fs/netfs/", "fs/overlayfs/", "net/9p/")


class NoKernel(Exception):
    """There is no kernel to boot, and why."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package: `boot/vmlinuz-*` and `lib/modules/*/kernel/**.ko` below `folder`."""

    folder: Path

    @property
    def image(self) -> Path:
        """What QEMU's -kernel takes."""
        return next((self.folder / "boot").glob("vmlinuz-*"))

    def in_load_order(self, names: tuple[str, ...]) -> list[Path]:
        """These modules and all they depend on, each after what it needs.

        Raises:
            NoKernel: when one is not in the cache.
        """
        files = {path.stem.replace("-", "_"): path for path in self.folder.rglob("*.ko")}
        order: dict[str, Path] = {}

        def visit(name: str) -> None:
            if name not in files:
                raise NoKernel(f"{self.folder.name} has no module {name}")
            if name not in order:
                for needed in _depends(files[name]):
                    visit(needed)
                order[name] = files[name]

        for name in names:
            visit(name)
        return list(order.values())


def _depends(module: Path) -> list[str]:
    """What a module's own description says it needs: no depmod, no modules.dep."""
    found = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    names = found[1].decode().split(",") if found else []
    return [name.replace("-", "_") for name in names if name]


def fetch(cache: Path = CACHE) -> Kernel:
    """The kernel to boot: from the cache if it is there and whole, else downloaded and unpacked.

    Raises:
        NoKernel: when apt does not know or cannot get the package.
    """
    cached = [path for path in sorted(cache.glob("linux-image-*")) if _is_whole(path)]
    return Kernel(cached[-1] if cached else _download(_package(), cache))


def _package() -> str:
    """The package behind the name that follows updates."""
    text = _output("apt-cache", "depends", PACKAGE)
    found = re.search(r"Depends: (linux-image-\S+)", text)
    if not found:
        raise NoKernel(f"apt knows no {PACKAGE}: apt-get update, on Debian for x86-64")
    return found[1]


def _download(package: str, cache: Path) -> Path:
    """Download (apt checks its signature) and unpack; nobody sees a half-filled folder."""
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as name:
        new = Path(name)
        _output("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package, cwd=new)
        tree = new / "tree"
        _unpack(next(new.glob("*.deb")), tree)
        (tree / _SUMS).write_text("".join(f"{_sha256(p)}  {p.relative_to(tree)}\n" for p in _files(tree)))
        shutil.rmtree(cache / package, ignore_errors=True)
        return tree.rename(cache / package)


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


def _is_wanted(name: str) -> bool:
    _, inside, module = name.partition("/kernel/")
    return module.startswith(_MODULE_FOLDERS) if inside else name.startswith("./boot/vmlinuz-")


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


def _output(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NoKernel(f"there is no {command[0]} here") from error
    if done.returncode:
        raise NoKernel(f"{' '.join(command)}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return done.stdout
