"""py-spy: stacks of CPython processes, read from outside by ptrace and process memory.

Never two at once on one process (each makes the other's samples fail), never faster than the overhead budget allows. It is stopped with
SIGINT, so that it detaches and writes what it has. Options: https://github.com/benfred/py-spy, `py-spy record --help`.
"""

import asyncio
import json
import os
import re
import signal
import time
from contextlib import AbstractAsyncContextManager, nullcontext

import psutil
from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.finding_processes import not_permitted, still_there
from activities.pause_watch import state_of
from activities.pyspy_output import read_speedscope
from activities.recording_folder import Path
from activities.slice_recorder import OverBudget, SliceOrder, SliceRecorder, SliceTake, Tick, tool_version
from activities.subprocesses import RunningTool, Tool, ToolRun, bundled, run, running
from activities.taken_slices import ReadSlice
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PassKind

WAY_OUT = "pip install py-spy"
PASS_OPTIONS: dict[PassKind, tuple[str, ...]] = {"on_cpu": (), "wall": ("--idle",), "gil": ("--gil",), "native": ("--native",)}
START_ALLOWANCE_S = 20.0
"""Attaching reads the symbols of the interpreter: a second on a slow disk, more with --native."""
OUTPUT_LIMIT_BYTES = 256 * 1024 * 1024
CONTINUED_WITHIN_S = 0.5
"""A stop that a killed tracer left behind shows within this time."""
_SUMMARY = re.compile(r"Samples: (\d+) Errors: (\d+)")
_UNKNOWN_INTERPRETER = ("Failed to find python version", "Unsupported version", "Failed to find a python interpreter", "is this a python")
