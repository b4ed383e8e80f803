"""A kept change in the form in which its owner keeps state, and its marks on dashboards."""

from typing import Literal

from perfwright.models.artifact import ArtifactRef
from perfwright.models.vocabulary import Model


class DeliveryOrder(Model):
    """Which change, and where what is written goes."""

    change_id: str
    artifact_prefix: str
    reason: str = ""
    """Why, for the first line of what is written."""


class DeliveredFile(Model):
    """One file, as text."""

    name: str
    media_type: str
    content: str
    title: str


class Delivered(Model):
    """What was written."""

    artifacts: tuple[ArtifactRef, ...] = ()
    branch: str = ""
    """Of a patch: it stays, with its commits."""
    told: str = ""


class AnnotationOrder(Model):
    """A mark on dashboards."""

    target: str
    change_id: str
    word: Literal["applied", "undone"]
    title: str
    workflow_id: str = ""
