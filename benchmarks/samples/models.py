"""What the sample processes are given and return."""

from pydantic import BaseModel


class Request(BaseModel):
    target: str
    duration_s: float = 30.0


class StepResult(BaseModel):
    number: int
    seconds: float = 0.25
    note: str = "measured"


class Result(BaseModel):
    verdict: str = "passed"
    steps: int
    seconds: float


class Answer(BaseModel):
    gate: str
    by: str
    comment: str = ""


class GateRule(BaseModel):
    """How a gate is answered, read by an activity when it opens."""

    policy: str = "ask"
    deadline_s: float = 86_400.0


class LeaseOrder(BaseModel):
    resource: str
    times: int


class Bracket(BaseModel):
    """From when to when a lease was held, in seconds since 1970 by the server's clock."""

    token: str
    entered_s: float
    left_s: float
