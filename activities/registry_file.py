"""The registry on disk: found, read, and read again when it changes."""

import os
from collections.abc import Mapping
from pathlib import Path

from perfwright.models.registry import FILE_NAME, MAX_CHARACTERS, Registry, RegistryInvalid, RegistryProblem, parse_registry
from perfwright.models.target import Target

PATH_VARIABLE = "PERFWRIGHT_CONFIG"

_Stamp = tuple[int, int, int, int]


class RegistryFile:
    """`perfwright.toml`: given, or named by PERFWRIGHT_CONFIG, or in the working directory.

    A file that was named must exist. Without any, the registry is empty where inline targets are allowed, and an error elsewhere.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        *,
        allow_inline_targets: bool = False,
        environ: Mapping[str, str] = os.environ,
        working_directory: Path | None = None,
    ) -> None:
        named = str(config) if config else environ.get(PATH_VARIABLE, "")
        here = working_directory or Path.cwd()
        self.path = here / Path(named or FILE_NAME).expanduser()
        self._named_by = "--config" if config else PATH_VARIABLE if named else ""
        self._inline_by_caller = allow_inline_targets
        self._stamp: _Stamp | None = None
        self._valid: Registry | None = None
        self._problems: list[RegistryProblem] = []

    @property
    def folder(self) -> Path:
        """Relative paths in the registry start here."""
        return self.path.parent

    def allows_inline_targets(self) -> bool:
        """Whether the worker's own configuration or the registry allows targets given in the input."""
        return self._inline_by_caller or self.latest_valid().worker.allow_inline_targets

    def registered(self, name: str) -> Target | None:
        """The target of that name in the last valid registry; None: there is none, or there never was one."""
        try:
            return self.latest_valid().target(name)
        except RegistryInvalid:
            return None

    def read(self) -> Registry:
        """The registry as it stands in the file now; raises RegistryInvalid, for new starts."""
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
        except OSError as trouble:
            return self._without_file(trouble)
        if stamp != self._stamp:
            self._problems = []
            try:
                self._valid = parse_registry(self._text(), str(self.path))
            except RegistryInvalid as invalid:
                self._problems = invalid.problems
            self._stamp = stamp
        if self._problems or self._valid is None:
            raise RegistryInvalid(self._problems, str(self.path))
        return self._valid

    def latest_valid(self) -> Registry:
        """The same, but the last valid registry while an edit is broken: for processes that run. Raises only if there never was one."""
        try:
            return self.read()
        except RegistryInvalid:
            if self._valid is None:
                raise
            return self._valid

    def _text(self) -> str:
        try:
            with self.path.open("rb") as file:
                # Four bytes are the longest character of UTF-8.
                return file.read(4 * MAX_CHARACTERS + 1).decode("utf-8")
        except UnicodeDecodeError as trouble:
            raise self._invalid(f"not UTF-8 text: {trouble.reason} at byte {trouble.start}") from None
        except OSError as trouble:
            raise self._invalid(f"cannot be read: {trouble.strerror}") from None

    def _without_file(self, trouble: OSError) -> Registry:
        if not isinstance(trouble, FileNotFoundError):
            raise self._invalid(f"cannot be read: {trouble.strerror}") from None
        self._stamp = None
        if self._named_by:
            raise self._invalid(f"no such file; {self._named_by} names it") from None
        if not self._inline_by_caller:
            way = f"write one with `perfwright init`, or name one with --config or {PATH_VARIABLE}"
            raise self._invalid(f"no registry here; {way}") from None
        self._valid = Registry()
        return self._valid

    def _invalid(self, message: str) -> RegistryInvalid:
        return RegistryInvalid([RegistryProblem("", None, message)], str(self.path))
