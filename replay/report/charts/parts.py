"""What the parts of managed memory look like, from top to bottom of a stack."""

# A part's name and colour (Okabe and Ito's as far as they go): the host backs what is below the green.
LOOKS = {
    "reclaimed": ("reclaimed", "#009E73"),
    "never_backed": ("fresh: never used yet", "#A6DCC4"),
    "kept": ("kept: reported, host has it", "#F0E442"),
    "held": ("held: being reported", "#7B4B2A"),
    "waiting": ("waiting for a pass", "#E69F00"),
    "gated": ("gated by a watermark", "#D55E00"),
    "stranded": ("stranded: unit not wholly free", "#CC79A7"),
    "on_pcp": ("on per-CPU lists", "#56B4E9"),
    "page_cache": ("page cache", "#0072B2"),
    "other_used": ("other used memory", "#999999"),
}
