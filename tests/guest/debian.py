"""Debian's packages: by this machine's own package lists, or by lists of our own over all releases."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Where kernels of other series than this machine's own are: each release has one, backports many.
SUITES = ("bullseye", "bookworm", "trixie", "trixie-backports")
MIRROR = "http://deb.debian.org/debian"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class NoPackage(Exception):
    """apt does not know or cannot get it, and why."""


@dataclass(frozen=True)
class Apt:
    """apt with some options; without any, as this machine is set up."""

    options: tuple[str, ...] = ()

    def names(self, pattern: str) -> list[str]:
        """Names of the packages that match a regular expression and can be had."""
        text = self._output("apt-cache", "search", "--names-only", pattern)
        return [line.split(" ", 1)[0] for line in text.splitlines()]

    def depends(self, package: str) -> list[str]:
        """What a package needs; a name in angle brackets cannot be had."""
        text = self._output("apt-cache", "depends", "--no-recommends", "--no-suggests", package)
        return re.findall(r"Depends: (\S+)", text)

    def download(self, packages: Sequence[str], folder: Path) -> list[Path]:
        """The packages' files, now in this folder; apt has checked their signatures."""
        self._output("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages, cwd=folder)
        return list(folder.glob("*.deb"))

    def update(self) -> None:
        """Get the lists anew."""
        self._output("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "update")

    def mirror(self) -> str:
        """Where this machine's Debian packages come from."""
        uris = self._output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
        found = [uri.rstrip("/") for uri in uris.splitlines() if re.search("/debian/?$", uri)]
        return found[0] if found else MIRROR

    def _output(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        command = (program, *self.options, *arguments)
        try:
            done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise NoPackage(f"there is no {program} here") from error
        if done.returncode:
            reason = (done.stderr.strip() or "failed").splitlines()[-1]
            raise NoPackage(f"{' '.join((program, *arguments))}: {reason}")
        return done.stdout


def elsewhere(folder: Path) -> Apt:
    """apt over SUITES, with sources and lists of its own in `folder`: nothing of the system changes."""
    sources, lists = folder / "sources.list", folder / "lists"
    given = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": lists,
        "Dir::Cache": folder / "cache",
        "APT::Architecture": "amd64",
        "Acquire::Languages": "none",
    }
    apt = Apt(tuple(text for key, value in given.items() for text in ("-o", f"{key}={value}")))
    for part in (lists, folder / "cache/archives"):
        (part / "partial").mkdir(parents=True, exist_ok=True)
    mirror = Apt().mirror()
    sources.write_text("".join(f"deb [signed-by={KEYS}] {mirror} {suite} main\n" for suite in SUITES))
    apt.update()
    return apt
