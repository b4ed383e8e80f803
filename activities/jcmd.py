"""What jcmd says when the JVM of a process cannot be attached to, as one of our errors."""

from activities.errors import refuse
from activities.finding_processes import not_permitted
from activities.tool import ToolRun
from perfwright.models.errors import ErrorType

JCMD_LIMIT_S = 30.0


def said_by(ended: ToolRun) -> str:
    """Both of its outputs."""
    return f"{ended.stderr} {ended.stdout}".strip()


def not_attached(pid: int, said: str) -> Exception | None:
    """NotPermitted, with the way out, where that is what `said` means; None: it failed for another reason."""
    if "DisableAttachMechanism" in said or "unable to open socket file" in said.lower() or "well-known file" in said:
        return refuse(
            ErrorType.NOT_PERMITTED,
            f"the JVM of process {pid} does not let itself be attached to",
            way_out="Start it without -XX:+DisableAttachMechanism, and run the host worker as its user or root",
        )
    if "AttachNotSupportedException" in said or "ermission denied" in said or "not permitted" in said:
        return not_permitted(pid)
    return None
