"""Whose code a frame is, and what to call it.

A finding is only useful where someone can act: in the target's own code, or in the library call that it makes. Paths and module names tell
the two apart; what is known about the target (`CodeFacts`) makes it sure.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from perfwright.models.cpu_profiling import Runtime
from perfwright.models.profile import Origin


@dataclass(frozen=True)
class CodeFacts:
    """What is known about where the target's code lives. Everything is optional; paths are absolute prefixes."""

    executable: str = ""
    """Path of the program itself: for native programs its own symbols are the user's code."""
    user_prefixes: tuple[str, ...] = ()
    """Folders of the target's own code; they win over every other rule."""
    library_prefixes: tuple[str, ...] = ()
    """Folders of installed packages."""
    runtime_prefixes: tuple[str, ...] = ()
    """Folders of the standard library."""
    user_packages: tuple[str, ...] = ()
    """JVM package prefixes of the target's own code: `com.example.shop`. When given, all that is neither these nor the JDK is library."""


_NO_FACTS = CodeFacts()
_PYTHON_STDLIB = re.compile(r"(^|/)lib(64)?/(python|pypy)\d+\.\d+[a-z]?/|(^|/)python\d+\.zip/|[\\/]Lib[\\/](?!site-packages)")
_PYTHON_LIBRARY = re.compile(r"(^|[\\/])(site-packages|dist-packages)[\\/]|\.egg[\\/]")
_PYTHON_LAUNCHER = re.compile(r"(^|/)bin/[^/]+$")
_NATIVE_FILE = re.compile(r"\.(so(\.[\d.]+)?|c|cc|cpp|h|pyx|pxd|rs|dylib)$")
_JVM_RUNTIME = re.compile(r"^(java|javax|jdk|sun|com\.sun|jakarta\.el)[./]")
_JVM_LIBRARY = re.compile(
    r"^(org\.(springframework|apache|hibernate|eclipse|slf4j|jboss|postgresql|mariadb|h2|hsqldb|jooq|mockito|junit|gradle|codehaus|glassfish"
    r"|bouncycastle|antlr|joda|xerial|yaml|json|aspectj|quartz|elasticsearch|opensearch|infinispan|ehcache|thymeleaf|objectweb|assertj)"
    r"|io\.(netty|vertx|micronaut|quarkus|grpc|undertow|micrometer|opentelemetry|lettuce|reactivex|smallrye|ktor|helidon|r2dbc|prometheus)"
    r"|com\.(fasterxml|google|mysql|zaxxer|squareup|github\.benmanes|codahale|mongodb|rabbitmq|datastax|amazonaws|azure|oracle|ibm|typesafe)"
    r"|ch\.qos|reactor|kotlin|kotlinx|scala|groovy|clojure|akka|okhttp3|okio|redis\.clients|net\.(bytebuddy|sf)|freemarker|antlr)[./]"
)
_SYSTEM_LIBRARY = re.compile(
    r"^(/usr)?/lib(32|64|x32|exec)?/|^\[(vdso|vsyscall|heap|stack|anon)\]|^\[?unknown\]?$|(^|/)(libc|libm|libpthread|ld-linux)\b"
)
_JIT_MAP = re.compile(r"(^|/)perf-\d+\.map$|^\[JIT\]")


def frame_origin(runtime: Runtime, function: str, file: str, facts: CodeFacts = _NO_FACTS) -> Origin:
    """Whose code this frame is. `file` is a full path where the tool tells it, a module or shared object otherwise."""
    if function.endswith("_[k]") or file.startswith(("[kernel", "[k]")) or file.endswith(".ko"):
        return "kernel"
    if file and _under(file, facts.user_prefixes):
        return "user"
    if file and _under(file, facts.library_prefixes):
        return "library"
    if file and _under(file, facts.runtime_prefixes) and not _PYTHON_LIBRARY.search(file):
        return "runtime"
    if runtime == "python":
        return _python_origin(file)
    if runtime == "jvm":
        return _jvm_origin(function, file, facts)
    if runtime == "node":
        return _node_origin(function, file)
    return _native_origin(file, facts)


def _under(file: str, prefixes: tuple[str, ...]) -> bool:
    return any(file == prefix or file.startswith(prefix.rstrip("/") + "/") for prefix in prefixes)


def _python_origin(file: str) -> Origin:
    if file.startswith("<frozen"):
        return "runtime"
    if _PYTHON_LIBRARY.search(file):
        return "native" if _NATIVE_FILE.search(file) else "library"
    if not file or _NATIVE_FILE.search(file) or (_SYSTEM_LIBRARY.search(file) and not file.endswith(".py")):
        return "native"
    if _PYTHON_STDLIB.search(file):
        return "runtime"
    if _PYTHON_LAUNCHER.search(file):
        return "library"
    return "user"


def _jvm_origin(function: str, file: str, facts: CodeFacts) -> Origin:
    name = function.replace("/", ".")
    if _JVM_RUNTIME.match(name):
        return "runtime"
    if facts.user_packages:
        own = any(name.startswith(package.rstrip(".") + ".") for package in facts.user_packages)
        return "user" if own else "library"
    if _JVM_LIBRARY.match(name):
        return "library"
    if _NATIVE_FILE.search(file) or _SYSTEM_LIBRARY.search(file):
        return "native"
    return "user" if "." in name else "native"


def _node_origin(function: str, file: str) -> Origin:
    path = file.removeprefix("file://")
    if "/node_modules/" in path or path.startswith("node_modules/"):
        return "library"
    if path.startswith("node:") or function in ("(root)", "(program)", "(idle)", "(garbage collector)"):
        return "runtime"
    if path.startswith("wasm:") or _NATIVE_FILE.search(path) or _SYSTEM_LIBRARY.search(path):
        return "native"
    if _JIT_MAP.search(path):
        return "runtime" if " node:" in function else "library" if "/node_modules/" in function else "user"
    return "user" if path else "runtime"


def _native_origin(file: str, facts: CodeFacts) -> Origin:
    if facts.executable and file and file.rsplit("/", 1)[-1] == facts.executable.rsplit("/", 1)[-1]:
        return "user"
    if not file or _SYSTEM_LIBRARY.search(file):
        return "native"
    if _JIT_MAP.search(file):
        return "user"
    return "library" if _NATIVE_FILE.search(file) and ".so" in file else "user"


def short_files(files: Iterable[str]) -> dict[str, str]:
    """A display name for each path: short, and different for different files.

    `/usr/lib/python3.11/json/encoder.py` -> `json/encoder.py`; `/srv/app/shop/pricing.py` -> `shop/pricing.py`; where two would be equal,
    as many folders are added as tell them apart.
    """
    names = {file: _short_file(file) for file in files}
    while True:
        same = defaultdict(list)
        for file, name in names.items():
            same[name].append(file)
        longer = {file: _longer(file, names[file]) for group in same.values() if len(group) > 1 for file in group}
        longer = {file: name for file, name in longer.items() if name != names[file]}
        if not longer:
            return names
        names |= longer


def _short_file(file: str) -> str:
    for pattern in (_PYTHON_LIBRARY, _PYTHON_STDLIB):
        if found := list(pattern.finditer(file)):
            return file[found[-1].end() :].lstrip("/")
    if "/node_modules/" in file:
        return file.rsplit("/node_modules/", 1)[1]
    parts = file.removeprefix("file://").strip("/").split("/")
    return "/".join(parts[-2:]) if "/" in file and not file.startswith(("<", "node:")) else file


def _longer(file: str, name: str) -> str:
    rest = file[: len(file) - len(name)].rstrip("/") if file.endswith(name) else ""
    return f"{rest.rsplit('/', 1)[-1]}/{name}" if rest else file


def short_function(function: str, runtime: Runtime = "unknown") -> str:
    """A function's display name: Python's `outer.<locals>.inner` -> `outer.inner`, Java's packages and parameter types left out."""
    name = function.replace(".<locals>", "")
    if runtime == "jvm":
        name = name.split("(", 1)[0].replace("/", ".")
        parts = name.split(".")
        name = ".".join(parts[-2:])
    return name if len(name) <= 120 else f"{name[:117]}..."


def matchable(function: str, file: str) -> str:
    """What patterns on frames are matched against: `file:function`, and for a JVM class, which is its own file, `class.method` as well."""
    name = f"{file}:{function}"
    is_class = file and "/" not in file and "." in file and function.split(".")[0] == file.rsplit(".", 1)[-1]
    return f"{name} {file}.{function.rsplit('.', 1)[-1]}" if is_class else name


_ANONYMOUS = re.compile(r"(\.<locals>)?\.?<(lambda|listcomp|genexpr|dictcomp|setcomp)>")


_NAMELESS = "(anonymous)"
"""What V8 calls a function without a name."""


def enclosing_function(function: str) -> str:
    """The named function that a comprehension, generator expression or lambda belongs to; empty where its name does not say.

    `C.m.<locals>.<lambda>.<locals>.<listcomp>` -> `C.m`; `<listcomp>` (Python before 3.11) and V8's `(anonymous)` -> ``.
    """
    return "" if function == _NAMELESS else _ANONYMOUS.sub("", function)


IN_NATIVE = "(in native code)"
"""Leaf below a method that a managed thread called native code from, where a sampler tells such samples from those in managed code."""

_STARTS_AT = re.compile(r"\+0x[0-9a-f]+\]$")


def nameless_function(module: str, start: int | None = None) -> str:
    """What a function without a symbol is called, as in perf's folded stacks: `[liblzma.so.5.4.1]`; with where it begins, if that is known:
    `[liblzma.so.5.4.1+0x6a40]`."""
    return f"[{module}]" if start is None else f"[{module}+{start:#x}]"


def is_nameless(function: str, file: str) -> bool:
    """Code without a symbol; frames that stand for something else than code (`[rare stacks]`) have no file."""
    return bool(file) and function.startswith("[")


def module_of(function: str, file: str) -> str:
    """A function's name; of functions without names, that of all in their module."""
    return _STARTS_AT.sub("]", function) if is_nameless(function, file) else function
