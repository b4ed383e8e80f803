"""Where a run stands: what `perfwright show` and the query `progress` tell."""

from perfwright.models.gate import OpenGate
from perfwright.models.result import Step
from perfwright.models.vocabulary import Model


class Progress(Model):
    """Where a run stands: the answer of the query `progress`."""

    process: str = ""
    target: str = ""
    environment: str = ""
    phase: str = ""
    step: str = ""
    """The step that is running, or several, with commas."""
    steps: tuple[Step, ...] = ()
    """What is done, in order."""
    latest: tuple[str, ...] = ()
    """The newest results, one sentence each, newest last."""
    waiting_for: str = ""
    """Who or what the run waits for besides people: the holder of the target's lease."""
    open_gates: tuple[OpenGate, ...] = ()
    noted_gates: tuple[OpenGate, ...] = ()
    """Reviews that policy let pass and that objections are still taken for."""
    refused_decisions: int = 0
    elapsed_s: float = 0.0
