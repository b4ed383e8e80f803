"""From what a person wrote to the target that is examined."""

from temporalio import activity

from activities.errors import refuse
from activities.registry_file import RegistryFile
from perfwright.models.errors import ErrorType
from perfwright.models.registry import Registry, RegistryInvalid
from perfwright.models.registry_checks import nearest
from perfwright.models.target import INLINE_ENVIRONMENT, LOCAL_HOST, InlineDatabase, InlineTarget, Operation, Target
from perfwright.models.vocabulary import Model

LISTED = 30
"""How many names an error lists; a registry may hold thousands."""


class TargetQuery(Model):
    """Which target, and what a process wants to do with it."""

    target: str | InlineTarget | InlineDatabase
    operation: Operation = "profile"


class Targets:
    """The target registry as an activity."""

    def __init__(self, registry_file: RegistryFile) -> None:
        self._registry_file = registry_file

    @activity.defn
    async def resolve_target(self, query: TargetQuery) -> Target:
        """The target of that name, without secrets.

        Errors: InvalidInput (broken registry), UnknownTarget, TargetRefused (inline target or operation that is not allowed).
        """
        if isinstance(query.target, InlineTarget | InlineDatabase):
            return self._inline(query.target, query.operation)
        registry = self._read()
        target = registry.target(query.target)
        if target is None:
            raise _unknown(query.target, registry, str(self._registry_file.path))
        if query.operation != "profile" and query.operation not in target.allow:
            allowed = ", ".join(("profile", *(word for word in target.allow if word != "profile")))
            raise refuse(
                ErrorType.TARGET_REFUSED,
                f'target "{target.name}" does not allow "{query.operation}" (allowed: {allowed})',
                way_out=f'Add "{query.operation}" to targets.{target.name}.allow in {self._registry_file.path}',
            )
        return target

    def _inline(self, inline: InlineTarget | InlineDatabase, operation: Operation) -> Target:
        try:
            allowed = self._registry_file.allows_inline_targets()
        except RegistryInvalid as invalid:
            raise refuse(ErrorType.INVALID_INPUT, str(invalid)) from None
        if not allowed:
            raise refuse(
                ErrorType.TARGET_REFUSED,
                f"this worker takes no target that is given in the input ({inline.title})",
                way_out=f"Name it in {self._registry_file.path} and give the name, or work on your own machine with `perfwright up`",
            )
        if operation != "profile":
            raise refuse(
                ErrorType.TARGET_REFUSED,
                f'a target given in the input allows only "profile", not "{operation}"',
                way_out=f'Name it in {self._registry_file.path} with allow = ["{operation}"]',
            )
        if isinstance(inline, InlineDatabase):
            return Target(
                name=inline.slug, kind=inline.kind, environment=INLINE_ENVIRONMENT, host=LOCAL_HOST, dsn_env=inline.dsn_env, inline=True
            )
        return Target(
            name=inline.slug, kind="process", environment=INLINE_ENVIRONMENT, host=LOCAL_HOST, process=inline.process, inline=True
        )

    def _read(self) -> Registry:
        try:
            return self._registry_file.read()
        except RegistryInvalid as invalid:
            raise refuse(ErrorType.INVALID_INPUT, str(invalid)) from None


def _unknown(name: str, registry: Registry, source: str) -> Exception:
    names = sorted(registry.targets)
    listed = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
    return refuse(
        ErrorType.UNKNOWN_TARGET,
        f'no target "{name[:100]}" in {source} ({f"targets: {listed}" if names else "it names none"}{nearest(name[:100], names)})',
        way_out=f"Give one of its names, or add [targets.{name[:63]}]",
    )
