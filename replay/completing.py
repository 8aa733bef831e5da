"""What a shell may offer for `--policy`: names, and behind a colon the parameters of that policy."""


def policies(incomplete: str) -> list[str]:
    """`up`: `upstream`; `upstream:delay=2s,or`: `upstream:delay=2s,order=`."""
    from replay.policies import registry

    known = registry()
    name, colon, rest = incomplete.partition(":")
    if not colon:
        return [each for each in known if each.startswith(name)]
    given, comma, last = rest.rpartition(",")
    taken = {pair.partition("=")[0] for pair in given.split(",")}
    begin = f"{name}:{given}{comma}"
    names = [parameter.name for parameter in known[name].parameters] if name in known else []
    return [f"{begin}{each}=" for each in names if each.startswith(last) and each not in taken]
