"""Something that can be applied and reverted."""

import hashlib
from typing import Literal

from perfwright.models.vocabulary import Model

RiskClass = Literal["observe", "reload", "restart", "irreversible"]
"""What applying it does to the target: nothing, a reload, a restart, or something no undo restores."""

ChangeKind = Literal["sql", "settings", "patch", "command", "file", "cache", "sysctl", "mount"]


class Change(Model):
    """Describes itself exactly for the gate: what is done, and what undoes it."""

    kind: ChangeKind
    title: str
    apply: str
    """The exact DDL, diff or command."""
    undo: str
    """What restores the earlier state, with the values it restores."""
    risk: RiskClass
    undo_cost: str = ""
    """What the undo costs: how long a dropped index takes to rebuild."""

    @property
    def digest(self) -> str:
        """Sixteen hex digits over everything that would happen."""
        text = "\0".join((self.kind, self.apply, self.undo, self.risk))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
