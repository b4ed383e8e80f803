"""Sessions of MySQL's process list in the words that looks at sessions have.

Source: MySQL 8.4 reference manual, 10.14 "Examining Server Thread (Process) Information"; MariaDB "Thread States".
"""

from perfwright.analysis.database.activity import Session
from perfwright.analysis.mysql.shapes import masked

_LOCKS = ("lock", "Locked")
_CONNECTING = ("Connect", "login", "Init DB", "Quit", "Reset Connection", "Change user")
WAITING_FOR_LOCK = "LOCK WAIT"


def session_of(command: str, state: str | None, text: str | None, transaction: str | None, transaction_s: int | None) -> Session:
    """One row: command and state of the thread, its statement, state and age in seconds of its transaction (None: none, or hidden)."""
    shown = masked(text or "")
    age_s = float(transaction_s) if transaction_s is not None else None
    if command == "Sleep":
        return Session("idle in transaction" if transaction is not None else "idle", "Client", "ClientRead", shown, age_s)
    if command in _CONNECTING:
        return Session("idle", None, None, shown, age_s)
    if transaction == WAITING_FOR_LOCK:
        return Session("active", "Lock", "row lock", shown, age_s)
    if state and state.startswith("Waiting for") and any(word in state for word in _LOCKS):
        return Session("active", "Lock", state.removeprefix("Waiting for ").strip(), shown, age_s)
    return Session("active", None, None, shown, age_s)
