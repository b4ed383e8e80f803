"""What `perfwright doctor` says of one thing."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "absent", "missing"]
"""`absent`: not there, and only some targets need it. `missing`: something that was asked for cannot work without it."""


@dataclass(frozen=True)
class Looked:
    """One thing that was looked at."""

    section: str
    name: str
    state: State
    told: str
