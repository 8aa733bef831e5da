"""`python -m replay.reference`: write the pages; `--check`: say whether they are what the code says."""

import sys
from pathlib import Path

from replay.reference import markdown, roff

ROOT = Path(__file__).parents[2]
PAGES = {"docs/commands.md": markdown.page, "share/man/man1/pagetide.1": roff.page}


def stale() -> list[str]:
    """The pages in the checkout that are not what the code says."""
    return [
        name
        for name, page in PAGES.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text() != page()
    ]


def main() -> int:
    """Write or check; returns the exit code."""
    for name in stale():
        if "--check" in sys.argv:
            print(f"{name} is not what the code says: python -m replay.reference")
            continue
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(PAGES[name]())
        print(f"wrote {name}")
    return 1 if "--check" in sys.argv and stale() else 0


if __name__ == "__main__":
    sys.exit(main())
