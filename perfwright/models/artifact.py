"""What crosses the workflow boundary instead of the data itself."""

from perfwright.models.vocabulary import Model


class ArtifactRef(Model):
    """A file in the artifact store, found by `uri`, checked by `sha256` on every read."""

    uri: str
    """Path inside the store, relative to its root: `cpu-profiling-investigation/shop/<run>/stacks.json.gz`."""
    sha256: str
    size_bytes: int
    media_type: str
    title: str = ""
