"""What a worker tells of its host, and what is known of a host that no worker answers for."""

from perfwright.models.measurement import EnvironmentFingerprint
from perfwright.models.target import LOCAL_HOST
from perfwright.models.vocabulary import Model


class HostFacts(EnvironmentFingerprint):
    """The machine, the tools on it, and what our worker there may attach to. `software` has tool -> version."""

    worker_identity: str = ""
    worker_pid: int = 0
    worker_version: str = ""
    """Python of the worker."""
    uid: int = -1
    """Effective user id of the worker; 0 may trace everything its capabilities allow."""
    capabilities: tuple[str, ...] = ()
    """Effective Linux capabilities that matter for profiling: `SYS_PTRACE`, `PERFMON`, `SYS_ADMIN`, `BPF`, `SYSLOG`."""
    yama_scope: int | None = None
    """/proc/sys/kernel/yama/ptrace_scope; None where there is none (nothing restricts tracing one's own processes)."""
    perf_event_paranoid: int | None = None
    """/proc/sys/kernel/perf_event_paranoid."""
    free_disk_bytes: int | None = None
    """In the folder for temporary files."""

    @property
    def environment(self) -> EnvironmentFingerprint:
        """The part that measurements carry."""
        return EnvironmentFingerprint(**{field: getattr(self, field) for field in EnvironmentFingerprint.model_fields})

    @property
    def traces_own(self) -> bool:
        """Whether the worker may attach to processes of its own user that it did not start."""
        return self.traces_any or self.yama_scope in (None, 0)

    @property
    def traces_any(self) -> bool:
        """Whether it may attach to processes of other users."""
        return "SYS_PTRACE" in self.capabilities and self.yama_scope != 3


class HostSighting(Model):
    """Who polls a host's queue, as the server remembers it (for about five minutes)."""

    host: str
    queue: str
    identity: str = ""
    """The worker that was seen last: `4711@machine`."""
    last_seen_s: float | None = None
    """Seconds ago; None: never, or longer than the server remembers."""

    @property
    def sentence(self) -> str:
        """What is wrong and the command that helps."""
        if self.host == LOCAL_HOST:
            start = (
                "start `perfwright worker` (or `python worker.py`) on the machine of the targets that name no host; in a deployment, whose "
                'central workers measure nothing, name their host in the registry (host = "NAME")'
            )
        else:
            start = f"start `perfwright worker --host {self.host}` (or `python worker.py --host {self.host}`) on host {self.host}"
        if self.last_seen_s is None:
            return f"no worker has been seen for host {self.host} (task queue {self.queue}): {start}"
        return (
            f"the worker for host {self.host} (task queue {self.queue}) does not answer; {self.identity or 'it'} was last seen "
            f"{self.last_seen_s:.0f} s ago: if it was stopped, {start}; if it runs, look at its log and its connection"
        )
