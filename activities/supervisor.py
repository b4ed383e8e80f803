"""The small program between the worker and one tool: it sees to it that the tool never outlives the worker.

    worker  <== one socket ==>  supervisor  -- posix_spawn, own session -->  tool, its children, their children

Started by `activities/subprocesses.py` with `python -I -S`; it imports little more than C modules, so that it starts in about 20 ms.
The worker holds the other end of the socket; when that end closes, by exit, crash or SIGKILL, everything below is stopped. A parent-death
signal would not do: it fires when the *thread* that forked ends.

Over the socket, downwards: one marshalled order (length first), then lines `stop SIGNAL GRACE_MS` and `signal NUMBER`.
Upwards: `started PID`, or `refused WHAT ERRNO`; at the end one
`ended STATUS CPU_US PEAK_RSS_KB WALL_US TIMED_OUT LEFT_OVER UNKILLED,PIDS`, where STATUS is the exit code or minus the signal.

Orphans come to us, because we are their subreaper (prctl(2), PR_SET_CHILD_SUBREAPER), also those that left the group or the session. So
"nothing is left" is a fact that wait4(2) tells (ECHILD), not a guess.
"""

# ruff: noqa: SIM105, PTH112, PTH123, PTH208  # contextlib and pathlib would lengthen every start

# `signal` without its enums, whose import is a third of the start-up time.
import _signal as signal  # type: ignore[import-not-found]
import ctypes
import marshal
import os
import select
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
LEFT_OVER_GRACE_S = 1.0
"""What a tool left behind when it ended by itself gets this long to end as well."""
KILL_LIMIT_S = 10.0
"""A process in uninterruptible sleep, or of another user, cannot be killed: after this long its pid is reported instead."""
KILL_EVERY_S = 0.05

RUNNING, STOPPING, KILLING = range(3)


class Supervisor:
    def __init__(self, channel: int) -> None:
        os.set_inheritable(channel, False)  # else the tool would hold it open and the worker would never see our end
        self.channel = channel
        self.unread = b""
        self.wake, wake_write = os.pipe()
        for end in (self.wake, wake_write):
            os.set_blocking(end, False)
        # SIGCHLD and SIGTERM only wake the loop: whoever terminates the supervisor means the tool.
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.poll = select.poll()
        self.poll.register(channel, select.POLLIN)
        self.poll.register(self.wake, select.POLLIN)

        self.phase = RUNNING
        self.pid = 0
        self.status: int | None = None
        self.cpu_s = 0.0
        self.peak_rss_kb = 0
        self.wall_s = 0.0
        self.timed_out = False
        self.left_over = 0
        self.next_phase_at = float("inf")

    def run(self) -> None:
        order = self.read_order()
        become_subreaper()
        try:
            what = "directory"
            os.chdir(order["directory"])
            what = "program"
            if order["core"] >= 0:
                os.sched_setaffinity(0, {order["core"]})  # the tool inherits it
            self.started = time.monotonic()
            self.pid = os.posix_spawn(
                order["program"],
                order["argv"],
                order["environment"],
                setsid=True,
                setsigmask=(),
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
        except OSError as trouble:
            self.tell(f"refused {what} {trouble.errno or 0}")
            return
        self.let_go_of_streams()
        self.stop_signal, self.grace_s = order["stop_signal"], order["grace_s"]
        self.ends_at = self.started + order["limit_s"]
        self.tell(f"started {self.pid}")
        self.obey()
        while self.reap():
            if not self.step(time.monotonic()):
                break
            self.listen()
        unkilled = ",".join(map(str, sorted(children_of(os.getpid())))) or "-"
        status = "-" if self.status is None else self.status
        self.tell(
            f"ended {status} {self.cpu_s * 1e6:.0f} {self.peak_rss_kb} {self.wall_s * 1e6:.0f} "
            f"{int(self.timed_out)} {self.left_over} {unkilled}"
        )

    def read_order(self) -> dict:  # type: ignore[type-arg]  # as marshal gives it
        data = b""
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            more = os.read(self.channel, 1 << 16)
            if not more:
                raise SystemExit(0)  # the worker died before it ordered anything
            data += more
        end = 4 + int.from_bytes(data[:4], "big")
        self.unread = data[end:]
        return marshal.loads(data[4:end])  # type: ignore[no-any-return]  # noqa: S302  # from our own worker, the same interpreter

    def let_go_of_streams(self) -> None:
        """Without this the worker would never see the end of the tool's output."""
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.close(null)

    def tell(self, line: str) -> None:
        try:
            os.write(self.channel, line.encode() + b"\n")
        except OSError:
            pass  # the worker is gone; what is left to do does not need it

    def reap(self) -> bool:
        """Collect everything that ended; False when no descendant is left at all."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.cpu_s += usage.ru_utime + usage.ru_stime
            self.peak_rss_kb = max(self.peak_rss_kb, usage.ru_maxrss)
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)
                self.wall_s = time.monotonic() - self.started

    def step(self, now: float) -> bool:
        """Move to the next phase when it is due; False when what is left cannot be killed."""
        if self.phase == RUNNING and self.status is not None:
            self.left_over = len(descendants())
            self.stop(signal.SIGTERM, LEFT_OVER_GRACE_S)
        elif self.phase == RUNNING and now >= self.ends_at:
            self.timed_out = True
            self.stop(self.stop_signal, self.grace_s)
        if self.phase == STOPPING and now >= self.next_phase_at:
            self.phase, self.next_phase_at = KILLING, now + KILL_LIMIT_S
        if self.phase == KILLING:
            if now >= self.next_phase_at:
                return False
            # Only the group and our own children: their pids cannot be reused before we reap them. Whoever loses
            # its parent becomes our child and is met in the next round.
            self.signal_group(signal.SIGKILL)
            for pid in children_of(os.getpid()):
                send(pid, signal.SIGKILL)
        return True

    def stop(self, number: int, grace_s: float) -> None:
        """Ask everything to end, and wake what is stopped so that it can; a shorter grace than the running one wins."""
        until = time.monotonic() + grace_s
        if self.phase == RUNNING:
            self.phase, self.next_phase_at = STOPPING, until
        elif self.phase == STOPPING:
            self.next_phase_at = min(self.next_phase_at, until)
        outside = [pid for pid, group in descendants() if group != self.pid or self.status is not None]
        for signal_number in (number, signal.SIGCONT):
            self.signal_group(signal_number)
            for pid in outside:
                send(pid, signal_number)

    def signal_group(self, number: int) -> None:
        if self.status is None:  # once the leader is reaped, its number may belong to somebody else
            try:
                os.killpg(self.pid, number)
            except OSError:
                pass

    def listen(self) -> None:
        """Wait for a child's end, a word of the worker or the next deadline."""
        due = self.ends_at if self.phase == RUNNING else self.next_phase_at
        wait_s = max(0.0, due - time.monotonic())
        if self.phase == KILLING:
            wait_s = KILL_EVERY_S
        for ready, _ in self.poll.poll(min(wait_s, 3600.0) * 1000 + 1):
            if ready == self.wake:
                if signal.SIGTERM in os.read(self.wake, 4096):
                    self.stop(self.stop_signal, self.grace_s)
            elif data := self.hear():
                self.unread += data
                self.obey()
            else:
                self.poll.unregister(self.channel)
                self.stop(self.stop_signal, self.grace_s)

    def hear(self) -> bytes:
        try:
            return os.read(self.channel, 4096)
        except OSError:
            return b""  # reset: the worker died with words of ours unread

    def obey(self) -> None:
        *lines, self.unread = self.unread.split(b"\n")
        for line in lines:
            verb, *numbers = line.split()
            if verb == b"stop":
                self.stop(int(numbers[0]), int(numbers[1]) / 1000)
            elif self.status is None:
                send(self.pid, int(numbers[0]))


def become_subreaper() -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:  # elsewhere than on Linux the process group is all there is
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass  # gone, or of another user: reported as unkilled if it stays


def process_table() -> dict[int, tuple[int, int]]:
    """pid -> (parent, group), from /proc/PID/stat (proc_pid_stat(5)); the program's name may hold blanks and brackets."""
    table = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    _, parent, group = file.read().rpartition(b")")[2].split()[:3]
            except OSError:
                continue  # it ended meanwhile
            table[int(name)] = (int(parent), int(group))
    return table


def children_of(parent: int) -> list[int]:
    return [pid for pid, (its_parent, _) in process_table().items() if its_parent == parent]


def descendants() -> list[tuple[int, int]]:
    """(pid, group) of everything below us."""
    table = process_table()
    found = {os.getpid()}
    grew = True
    while grew:
        below = {pid for pid, (parent, _) in table.items() if parent in found} - found
        found |= below
        grew = bool(below)
    return [(pid, table[pid][1]) for pid in found - {os.getpid()}]


def main() -> None:
    Supervisor(int(sys.argv[1])).run()
