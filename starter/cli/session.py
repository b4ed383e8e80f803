"""What every command does that talks to the server: connect, run to the end, and leave cleanly at Ctrl-C."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from starter.client import Perfwright

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
Config = Annotated[
    str, typer.Option("--config", metavar="FILE", help="The target registry (default: PERFWRIGHT_CONFIG, else ./perfwright.toml).")
]
RunName = Annotated[str, typer.Argument(metavar="ID", help="A run: cpu-profiling-investigation/shop, shop, shop#12, or its run id.")]


def connected(work: "Callable[[Perfwright], Awaitable[T]]", config: str = "") -> T:
    """Run `work` with a connection."""
    import asyncio

    from temporalio.service import RPCError

    from starter.client import Perfwright
    from starter.refusals import NotCarriedOut

    async def go() -> T:
        try:
            async with Perfwright.connect(config=config or None) as perf:
                return await work(perf)
        except RPCError as error:
            raise NotCarriedOut(f"the Temporal server answered {error.status.name}: {' '.join(error.message.split())[:300]}") from None

    return asyncio.run(go())
