"""Connect to Temporal as the `temporal` CLI does: `temporalio.envconfig` (profiles and TEMPORAL_*) and nothing else."""

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, Plugin
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from starter.failures import CannotStart
from starter.up_state import with_running_up

DEFAULT_ADDRESS = "localhost:7233"
DEFAULT_NAMESPACE = "default"
CONNECT_TIMEOUT_S = 10.0


def load_connection(environ: Mapping[str, str] | None = None) -> ClientConnectConfig:
    """Read profile and environment; where they name no server, the one that `perfwright up` runs in this folder.

    Raises `CannotStart` for a file that is not there, not TOML, or lacks the profile.
    """
    told = with_running_up(os.environ if environ is None else environ)
    if (named := told.get("TEMPORAL_CONFIG_FILE")) and not Path(named).exists():  # the SDK would go on without it
        raise CannotStart(f"TEMPORAL_CONFIG_FILE={named} is not there", way_out="Correct it, or unset it")
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=told)
    except Exception as error:
        raise CannotStart(
            f"the Temporal connection settings cannot be read: {' '.join(str(error).split())}",
            way_out="Correct the file (TEMPORAL_CONFIG_FILE, else ~/.config/temporalio/temporal.toml) or TEMPORAL_PROFILE",
        ) from None
    config.setdefault("target_host", DEFAULT_ADDRESS)
    config.setdefault("namespace", DEFAULT_NAMESPACE)
    return config


async def connect(
    *,
    plugins: Sequence[Plugin] = (),
    runtime: Runtime | None = None,
    identity: str | None = None,
    config: ClientConnectConfig | None = None,
) -> Client:
    """Connect and see that the namespace is there. Raises `CannotStart`, one line, when it cannot be used."""
    config = load_connection() if config is None else config
    address, namespace = config["target_host"], config["namespace"]
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            client = await Client.connect(**config, plugins=list(plugins), runtime=runtime, identity=identity)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except RPCError as error:
        raise _refused(error, address, namespace) from None
    except (RuntimeError, TimeoutError, ValueError) as error:
        reason = _short(str(error)) or f"no answer within {CONNECT_TIMEOUT_S:g} s"
        raise CannotStart(
            f"no Temporal server answers at {address} ({reason})",
            way_out="Start one with `perfwright up`, or set TEMPORAL_ADDRESS or TEMPORAL_PROFILE",
        ) from None
    return client


def _short(reason: str) -> str:
    """The operating system's words out of the SDK's nested ones: `... message: "Connection refused" })` -> `Connection refused`."""
    innermost = re.search(r'message: "([^"]+)"', reason)
    return innermost.group(1) if innermost else " ".join(reason.split())[:200]


def _refused(error: RPCError, address: str, namespace: str) -> CannotStart:
    if error.status == RPCStatusCode.NOT_FOUND:
        return CannotStart(
            f"the namespace {namespace!r} is not there on the Temporal server at {address}",
            way_out=f"Make it (`temporal operator namespace create --namespace {namespace}`) or set TEMPORAL_NAMESPACE",
        )
    if error.status in {RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED}:
        return CannotStart(
            f"the Temporal server at {address} refuses us in namespace {namespace!r}: {error.message}",
            way_out="Check TEMPORAL_API_KEY or the TLS certificate of the profile",
        )
    return CannotStart(
        f"the Temporal server at {address} does not serve ({error.status.name}: {error.message[:200]})",
        way_out="Start one with `perfwright up`, or set TEMPORAL_ADDRESS or TEMPORAL_PROFILE",
    )
