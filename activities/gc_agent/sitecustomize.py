"""Found by a CPython program through PYTHONPATH: writes down its garbage collections, and gives the collector its settings.

    PERFWRIGHT_GC_LOG        folder for `gc-PID.jsonl`: `[monotonic s, generation, ms, collected, uncollectable]` a line, in a file of a
                             fixed size that the kernel keeps whatever happens to the program; what does not fit is counted in the header
    PERFWRIGHT_GC_SETTINGS   `10000,10,10`, `freeze`, or both with a semicolon: thresholds now; freeze once, when it begins to listen

Runs in programs of others, on every CPython: standard library alone, nothing printed, nothing raised. The program's own
`sitecustomize` runs afterwards.
"""

# As few modules as can be, on as old a Python as can be; and a program is never ended by its observer.
# ruff: noqa: PTH100, PTH118, PTH120, UP031, S110, SIM105, B023
# mypy: ignore-errors


def _record(folder):
    import gc
    import mmap
    import os
    import sys
    import time

    size, state = 4 << 20, {"pid": 0, "began": 0.0, "file": None, "at": 0, "dropped": 0}
    clock = time.monotonic
    header = '{"version": "' + sys.version.split()[0] + '", "thresholds": [%10d, %10d, %10d], "dropped": %10d}\n'

    def tell_state():
        head = header % (gc.get_threshold() + (state["dropped"],))
        state["file"][: len(head)] = head.encode()
        return len(head)

    def open_file():
        state["pid"] = os.getpid()
        path = os.path.join(folder, "gc-%d.jsonl" % os.getpid())
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, size)
            state["file"] = mmap.mmap(handle, size)
        finally:
            os.close(handle)
        state["at"] = tell_state()

    def noted(phase, info):
        try:
            if phase == "start":
                state["began"] = clock()
                return
            ended = clock()
            if state["pid"] != os.getpid():  # a child that was forked writes its own
                open_file()
            line = b"[%.6f,%d,%.4f,%d,%d]\n" % (
                ended,
                info["generation"],
                (ended - state["began"]) * 1e3,
                info.get("collected", 0),
                info.get("uncollectable", 0),
            )
            if state["at"] + len(line) <= size:
                state["file"][state["at"] : state["at"] + len(line)] = line
                state["at"] += len(line)
            else:
                state["dropped"] += 1
            if info["generation"] == 2 or state["dropped"] % 1000 == 1:
                tell_state()
        except Exception:
            pass

    open_file()
    gc.callbacks.append(noted)


def _set(settings):
    import gc

    for part in settings.split(";"):
        if part == "freeze":
            import socket

            listen = socket.socket.listen

            def listening(self, *arguments):
                socket.socket.listen = listen
                gc.collect()
                gc.freeze()
                return listen(self, *arguments)

            socket.socket.listen = listening
        else:
            gc.set_threshold(*[int(one) for one in part.split(",")])


def _begin():
    import os

    for name, act in (("PERFWRIGHT_GC_SETTINGS", _set), ("PERFWRIGHT_GC_LOG", _record)):
        if os.environ.get(name):
            try:
                act(os.environ[name])
            except Exception:
                pass


def _the_programs_own():
    import os
    import sys

    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [one for one in sys.path if os.path.abspath(one or ".") != here]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        sys.modules["sitecustomize"] = ours


_begin()
_the_programs_own()
