"""Whether another count of workers is worth a trial: what is asked, and the answer."""

from perfwright.models.change import LaunchSpec
from perfwright.models.cpu_optimization import Candidate, CodeBase
from perfwright.models.cpu_profiling import ProcessUse, Utilisation
from perfwright.models.vocabulary import Model
from perfwright.models.worker_counts import WorkerCount


class WorkersQuery(Model):
    """Whether more workers are worth a trial."""

    code: CodeBase
    workers: WorkerCount
    usage: ProcessUse | None = None
    utilisation: Utilisation | None = None


class WorkersProposed(Model):
    """Another count of workers as a candidate, and the change of the launch; none, and why."""

    candidate: Candidate | None = None
    launch: LaunchSpec | None = None
    why: str = ""
    memory_times: float = 0.0
    """How many times the memory that the program was seen to take all of them may take; 0: it was not seen."""
