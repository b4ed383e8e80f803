"""What works on this machine, what is missing, and the package or permission that gives it."""

import asyncio
import os
import shutil
import tempfile

import psutil
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from activities.finding_processes import describe, find_process, through_wrappers
from activities.hosts import read_host_facts
from perfwright.analysis.profiler_choice import NEEDS, PARANOID_LIMIT, NoProfiler, choose_profiler
from perfwright.models.host import HostFacts
from perfwright.models.queues import CENTRAL_QUEUE, host_queue
from perfwright.models.registry import Registry
from perfwright.models.target import LOCAL_HOST, Target
from perfwright.report.words import size
from starter.connection import connect, load_connection
from starter.database_diagnosis import look_at_database
from starter.failures import CannotStart
from starter.following import no_worker_on
from starter.here import Here
from starter.looked import Looked
from starter.pollers import pollers_of
from starter.reachable import reach
from starter.refusals import NoStoreHere, Refused, UnknownTarget, nearest
from starter.search_attributes import SEARCH_ATTRIBUTES
from starter.settings import SERVE_LOCAL

DATABASES = ("postgresql", "mysql")
LITTLE_DISK_BYTES = 1_000_000_000
PURPOSES = {
    "py-spy": "Python programs",
    "perf": "native programs, and what no other tool reads",
    "jcmd": "JVMs (flight recorder)",
    "addr2line": "lines of native programs (Debian: binutils)",
    "gdb": "looking closer by hand (Debian: gdb)",
    "java": "the lab's JVM program",
    "node": "the lab's Node program",
}
INSTALLS = dict(NEEDS.values())
"""Program -> how it is installed."""


async def diagnose(here: Here, target: str = "") -> list[Looked]:
    """Everything, or what one target needs. Raises UnknownTarget with the nearest names."""
    registry = here.registry()
    if target and (registry is None or target not in registry.targets):
        names = registry.targets if registry else ()
        raise UnknownTarget(
            f'the registry here names no "{target[:63]}"{nearest(target, names)}', way_out="`perfwright targets` lists them"
        )
    looked, client = await _server()
    looked += await _stores(here)
    facts = await read_host_facts(LOCAL_HOST)
    looked += _machine(facts)
    chosen = [target] if target else list(registry.targets) if registry else []
    for name in chosen:
        assert registry is not None
        looked.append(await _target(name, registry, facts, client))
    looked += await _databases(chosen, registry)
    if registry is None:
        looked.append(Looked("Targets", "registry", "absent", f"no {here.path.name} here: write one with `perfwright init`"))
    return looked


async def _server() -> tuple[list[Looked], Client | None]:
    section = "Temporal"
    try:
        config = load_connection()
        client = await connect(config=config)
    except CannotStart as trouble:
        return [Looked(section, "server", "missing", str(trouble))], None
    looked = [Looked(section, "server", "ok", f"{config['target_host']}, namespace {config['namespace']}")]
    absent = await _unregistered(client)
    told = f"not registered: {', '.join(absent)}; a worker registers them when it starts" if absent else "registered"
    looked.append(Looked(section, "search attributes", "missing" if absent else "ok", told))
    for queue, workflows, name in ((CENTRAL_QUEUE, True, "worker for processes"), (host_queue(LOCAL_HOST), False, "worker for steps here")):
        pollers = await pollers_of(client, queue, workflows=workflows)
        if pollers.present:
            looked.append(Looked(section, name, "ok", f"{', '.join(pollers.identities)} polls {queue}"))
        elif queue == host_queue(LOCAL_HOST) and os.environ.get(SERVE_LOCAL) == "0":
            looked.append(Looked(section, name, "absent", f"{SERVE_LOCAL}=0: every target names its host, whose worker measures it"))
        else:
            looked.append(Looked(section, name, "missing", no_worker_on(queue)))
    return looked, client


async def _unregistered(client: Client) -> list[str]:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        known = (await client.operator_service.list_search_attributes(request)).custom_attributes
    except RPCError:  # not everybody may ask the operator's service; a worker that starts has seen to it
        return []
    return [name for name, kind in SEARCH_ATTRIBUTES.items() if known.get(name) != kind]


async def _stores(here: Here) -> list[Looked]:
    section, looked = "Stores", []
    try:
        store = here.artifacts()
        await store.check()
        looked.append(Looked(section, "artifacts", "ok", f"{store.shown_url} can be written"))
    except (NoStoreHere, Refused) as trouble:
        looked.append(Looked(section, "artifacts", "absent", str(trouble)))
    except ApplicationError as trouble:
        looked.append(Looked(section, "artifacts", "missing", trouble.message))
    try:
        async with here.history() as history:
            looked.append(Looked(section, "history", "ok", history.shown_url))
    except (NoStoreHere, Refused) as trouble:
        looked.append(Looked(section, "history", "absent", str(trouble)))
    return looked


def _machine(facts: HostFacts) -> list[Looked]:
    section, looked = "Tools", []
    software = facts.software | ({"addr2line": "present"} if shutil.which("addr2line") else {})
    for name, purpose in PURPOSES.items():
        version = software.get(name)
        way = f"; {INSTALLS[name]}" if name in INSTALLS else ""
        looked.append(Looked(section, name, "ok" if version else "absent", version or f"for {purpose}{way}"))
    section = "Permissions"
    if facts.traces_any:
        looked.append(Looked(section, "ptrace", "ok", "processes of every user"))
    elif facts.traces_own:
        looked.append(Looked(section, "ptrace", "ok", "processes of this user only; CAP_SYS_PTRACE (or root) gives the others"))
    else:
        way = "run the worker as root or with CAP_SYS_PTRACE, or `sysctl kernel.yama.ptrace_scope=0`"
        looked.append(Looked(section, "ptrace", "absent", f"kernel.yama.ptrace_scope is {facts.yama_scope}: {way}"))
    may_perf = facts.uid == 0 or {"PERFMON", "SYS_ADMIN"} & set(facts.capabilities) or (facts.perf_event_paranoid or 0) <= PARANOID_LIMIT
    told = f"perf_event_paranoid is {facts.perf_event_paranoid}"
    way = f"; run the worker as root or with CAP_PERFMON, or `sysctl kernel.perf_event_paranoid={PARANOID_LIMIT}`"
    looked.append(Looked(section, "perf events", "ok" if may_perf else "absent", told if may_perf else told + way))
    section = "Disk"
    for name, folder in (("temporary files", tempfile.gettempdir()), ("working directory", ".")):
        free = shutil.disk_usage(folder).free
        little = f"; at least {size(LITTLE_DISK_BYTES)} is wise" if free < LITTLE_DISK_BYTES else ""
        looked.append(Looked(section, name, "missing" if free < LITTLE_DISK_BYTES / 10 else "ok", f"{size(free)} free{little}"))
    return looked


async def _target(name: str, registry: Registry, facts: HostFacts, client: Client | None) -> Looked:
    """Whether a process could examine it now."""
    target = registry.target(name)
    assert target is not None
    if client is not None and not (await pollers_of(client, host_queue(target.host), workflows=False)).present:
        return Looked("Targets", name, "missing", no_worker_on(host_queue(target.host)))
    if target.host != LOCAL_HOST:
        told = f"a worker polls for host {target.host}; `perfwright doctor` there tells about its tools"
        return Looked("Targets", name, "ok", told)
    reached = await reach(target)
    if reached.answers is False or (target.dsn_env and reached.told):
        return Looked("Targets", name, "missing", reached.told)
    return _profiler(target, facts, reached.told)


async def _databases(names: list[str], registry: Registry | None) -> list[Looked]:
    """Those of this host, side by side: what a process would see of them."""
    targets = [registry.target(name) for name in names] if registry else []
    here = [one for one in targets if one and one.host == LOCAL_HOST and one.kind in DATABASES and os.environ.get(one.dsn_env or "")]
    return [line for looked in await asyncio.gather(*(look_at_database(one, os.environ) for one in here)) for line in looked]


def _profiler(target: Target, facts: HostFacts, otherwise: str) -> Looked:
    """Which profiler would record its process."""
    if target.process is None:
        return Looked("Targets", target.name, "ok", otherwise or "answers; it names no process, so its CPU time cannot be profiled")
    if target.process.command is not None:
        program = target.process.command[0]
        if shutil.which(program) is None:
            return Looked("Targets", target.name, "missing", f"{program} is not installed or may not be executed")
        return Looked("Targets", target.name, "ok", f"{target.process.title}: started for each recording")
    try:
        found, _ = through_wrappers(find_process(target.process))
        process = describe(found)
        choice = choose_profiler(process, facts.software, None, host=facts)
    except NoProfiler as none:
        return Looked("Targets", target.name, "missing", f"{none.reason}: {none.way_out}")
    except ApplicationError as refused:
        return Looked("Targets", target.name, "missing", refused.message)
    except psutil.Error as gone:
        return Looked("Targets", target.name, "missing", str(gone))
    return Looked("Targets", target.name, "ok", f"pid {process.pid}, {choice.reason}")
