"""Every kind of change that can be carried out: one line each."""

from activities.changes.files import FileEdits
from activities.changes.indexes import Indexes
from activities.changes.interpreters import Interpreters
from activities.changes.kind import KindOfChange
from activities.changes.launches import Launches
from activities.changes.patches import Patches
from activities.changes.settings import Settings
from perfwright.models.change import ChangeSpec

KINDS: tuple[KindOfChange, ...] = (FileEdits(), Indexes(), Interpreters(), Launches(), Patches(), Settings())


def kind_of(spec: ChangeSpec) -> KindOfChange:
    """The kind that carries it out."""
    return next(kind for kind in KINDS if isinstance(spec, kind.spec))
