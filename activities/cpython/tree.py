"""A process and all Python processes below it, as they come and go."""

import os
from contextlib import suppress
from pathlib import Path
from random import Random

from activities.cpython.memory import Unreadable
from activities.cpython.process import NotPython, PythonProcess

LOOKS_AT_NEW, LOOKS_AT_OLD = 5, 10
"""A process that has just been started has no interpreter yet: it is tried again at each of so many looks, and at every tenth later on."""
MOST_PROCESSES = 256


class ProcessTree:
    """`processes`: those that can be read. `unread`: pid of Python processes that cannot -> why."""

    def __init__(self, root: int, chance: Random) -> None:
        """Raises Unreadable when the root cannot be read."""
        self.root = root
        self._chance = chance
        self.processes: dict[int, PythonProcess] = {root: PythonProcess(root, chance)}
        self.unread: dict[int, str] = {}
        self._parents: dict[int, int] = {}
        self._looks: dict[int, int] = {}
        self._titles: dict[int, str] = {}

    def look(self, *, below: bool) -> None:
        """Once a second. `below`: whether the processes below the root are wanted as well."""
        for process in list(self.processes.values()):
            try:
                process.look_again()
            except Unreadable:
                self._drop(process)
        for pid in self._below() if below else (self.root,):
            if pid not in self.processes and len(self.processes) < MOST_PROCESSES:
                self._looks[pid] = looks = self._looks.get(pid, 0) + 1
                if looks <= LOOKS_AT_NEW or looks % LOOKS_AT_OLD == 0:
                    self._try(pid)

    def title(self, pid: int) -> str:
        """`process 4711:"python3"`, without its arguments."""
        if pid not in self._titles:
            program = ""
            with suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes()[:4_096].split(b"\0", 1)[0]
                program = os.path.basename(command.decode("utf-8", "replace"))  # noqa: PTH119
            self._titles[pid] = f'process {pid}:"{program}"'
        return self._titles[pid]

    def line(self, pid: int) -> list[int]:
        """The process and its forebears, from the root on."""
        line = [pid]
        while pid != self.root and pid in self._parents and len(line) < MOST_PROCESSES:
            pid = self._parents[pid]
            line.append(pid)
        return line[::-1]

    def _try(self, pid: int) -> None:
        try:
            self.processes[pid] = PythonProcess(pid, self._chance)
            self.unread.pop(pid, None)
        except NotPython:
            pass
        except Unreadable as why:
            self.unread[pid] = str(why)

    def _drop(self, process: PythonProcess) -> None:
        process.close()
        self.processes.pop(process.pid, None)
        self._titles.pop(process.pid, None)
        self._looks.pop(process.pid, None)

    def _below(self) -> list[int]:
        """The root and all below it."""
        alive = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208  names only, hundreds of them every second
        for pid in self._parents.keys() - alive:
            del self._parents[pid]
            self._looks.pop(pid, None)
            self.unread.pop(pid, None)
        for pid in alive - self._parents.keys():
            with suppress(OSError, ValueError, IndexError):
                self._parents[pid] = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        found = [self.root]
        children: dict[int, list[int]] = {}
        for pid, parent in self._parents.items():
            children.setdefault(parent, []).append(pid)
        for pid in found:
            found += children.get(pid, [])
        return found
