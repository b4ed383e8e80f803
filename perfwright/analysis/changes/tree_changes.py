"""Which files a commit changes, as `git diff-tree --raw -z` tells, and which of them no change may touch."""

from dataclasses import dataclass

FILES_MOST = 200
_FILE_MODES = frozenset({"000000", "100644", "100755"})


@dataclass(frozen=True)
class ChangedPath:
    """A file of the difference."""

    path: str
    mode_before: str
    mode_after: str


def parse_raw(output: str) -> list[ChangedPath]:
    """`:100644 100755 <id> <id> M\\0path\\0`, repeated; renames are not looked for, so each entry has one path."""
    words = output.split("\0")
    found = []
    for head, path in zip(words[::2], words[1::2], strict=False):
        before, after, *_ = head.lstrip(":").split(" ")
        found.append(ChangedPath(path, before, after))
    return found


def refusal(changed: list[ChangedPath]) -> str:
    """Why this is not carried out; empty: it may be."""
    if not changed:
        return "it changes nothing"
    if len(changed) > FILES_MOST:
        return f"it changes {len(changed)} files, at most {FILES_MOST} are allowed"
    for one in changed:
        parts = one.path.split("/")
        if one.path.startswith("/") or ".." in parts:
            return f"{one.path[:200]} is outside of the repository"
        if any(part.lower().rstrip(". ") == ".git" or part.lower().startswith("git~") for part in parts):
            return f"{one.path[:200]} is part of git's own folder"
        if parts[-1] in (".gitmodules", ".gitattributes"):
            return f"{one.path[:200]} decides what git runs"
        for mode in (one.mode_before, one.mode_after):
            if mode == "120000":
                return f"{one.path[:200]} is a symbolic link"
            if mode not in _FILE_MODES:
                return f"{one.path[:200]} is no file (mode {mode})"
    return ""
