"""Which functions of two profiles are the same, and what to call them: `get (views.py)` may be two of many.

A profile shortens its files as far as they stay apart in it, so that one file may be `shop/views.py` in one run and `srv/shop/views.py` in
another, where a second one ends alike.
"""

from collections.abc import Collection, Sequence

Function = tuple[str, str]
"""Name, and file as the profile shows it; empty where it has none."""


def name_functions(earlier: Sequence[Function], later: Sequence[Function]) -> tuple[list[str], list[str]]:
    """A name for each function of both profiles: equal in both where it surely is the same one, and different for all others.

    With as much of the path as tells it from the other functions of its name.
    """
    names: dict[tuple[int, Function], str] = {}
    sides = (earlier, later)
    for function in {name for name, _ in (*earlier, *later)}:
        before, now = ({file for name, file in side if name == function} for side in sides)
        whole = {(0, file): _whole(file, before, now) for file in before} | {(1, file): _whole(file, now, before) for file in now}
        for (side, file), path in whole.items():
            place = _shortest(path, set(whole.values()))
            names[(side, (function, file))] = f"{function} ({place})" if place else function
    return [names[(0, one)] for one in earlier], [names[(1, one)] for one in later]


def _whole(file: str, mine: Collection[str], theirs: Collection[str]) -> str:
    """The longer of both paths, where one file of the other profile, and only one, may be this."""
    if file in theirs:
        return file
    partners = [one for one in theirs if one not in mine and _may_be_same(one, file)]
    if len(partners) != 1 or sum(_may_be_same(partners[0], one) for one in mine if one not in theirs) != 1:
        return file
    return max(file, partners[0], key=len)


def _may_be_same(one: str, other: str) -> bool:
    return bool(one and other) and (f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}"))


def _shortest(file: str, others: Collection[str]) -> str:
    parts = file.split("/")
    for count in range(1, len(parts)):
        name = "/".join(parts[-count:])
        if not any(f"/{one}".endswith(f"/{name}") for one in others if one != file):
            return name
    return file
