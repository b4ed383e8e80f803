import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.cost_shapes import SHAPES, shape_of
from perfwright.analysis.frames import CodeFacts, enclosing_function, frame_origin, short_files, short_function


@pytest.mark.parametrize(
    ("runtime", "function", "file", "origin"),
    [
        ("python", "match", "/srv/shop/rules.py", "user"),
        ("python", "match", "rules.py", "user"),
        ("python", "compile", "/usr/lib/python3.11/re/__init__.py", "runtime"),
        ("python", "compile", "/root/.pyenv/versions/3.13.1/lib/python3.13/re/__init__.py", "runtime"),
        ("python", "_find_and_load", "<frozen importlib._bootstrap>", "runtime"),
        ("python", "route", "/usr/lib/python3/dist-packages/starlette/routing.py", "library"),
        ("python", "route", "/srv/shop/.venv/lib/python3.11/site-packages/starlette/routing.py", "library"),
        ("python", "<module>", "/srv/shop/.venv/bin/uvicorn", "library"),
        ("python", "list_contains", "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", "native"),
        ("python", "__pyx_f", "/srv/.venv/lib/python3.11/site-packages/lxml/etree.so", "native"),
        ("python", "do_syscall_64_[k]", "", "kernel"),
        ("jvm", "java.util.ArrayList.indexOf", "", "runtime"),
        ("jvm", "jdk.internal.misc.Unsafe.park", "", "runtime"),
        ("jvm", "org.springframework.web.Dispatcher.serve", "", "library"),
        ("jvm", "com.example.shop.Pricing.match", "", "user"),
        ("jvm", "Main.hot", "", "user"),
        ("jvm", "memmove", "/usr/lib/libc.so.6", "native"),
        ("node", "slowDedupe", "file:///srv/app/hot.js", "user"),
        ("node", "parse", "/srv/app/node_modules/qs/lib/parse.js", "library"),
        ("node", "onread", "node:internal/stream_base_commons", "runtime"),
        ("node", "(garbage collector)", "", "runtime"),
        ("native", "hot", "/srv/bin/orders", "user"),
        ("native", "memcpy", "/usr/lib/x86_64-linux-gnu/libc.so.6", "native"),
        ("native", "memcpy", "[unknown]", "native"),
        ("native", "clear_page", "[kernel.kallsyms]", "kernel"),
        ("native", "sort", "/opt/orders/libfast.so", "library"),
    ],
)
def test_whose_code_a_frame_is(runtime: str, function: str, file: str, origin: str) -> None:
    """Own code, libraries, runtimes, compiled code and the kernel are told apart by path and name."""
    assert frame_origin(runtime, function, file) == origin  # type: ignore[arg-type]


def test_facts_win_over_guesses() -> None:
    """What is known about the target decides: its folders, its program, its packages."""
    facts = CodeFacts(
        executable="/usr/lib/orders/orders", user_prefixes=("/usr/lib/python3.11/site-packages/ourlib",), user_packages=("org.apache.ours",)
    )
    assert frame_origin("python", "f", "/usr/lib/python3.11/site-packages/ourlib/x.py", facts) == "user"
    assert frame_origin("python", "f", "/usr/lib/python3.11/site-packages/ourlibrary/x.py", facts) == "library"
    assert frame_origin("native", "hot", "/usr/lib/orders/orders", facts) == "user"
    assert frame_origin("jvm", "org.apache.ours.Main.run", "", facts) == "user"
    assert frame_origin("jvm", "com.example.Other.run", "", facts) == "library"


def test_short_names_of_files() -> None:
    """Files are shown by what people call them, with more folders only where two would look the same."""
    names = short_files(
        [
            "/usr/lib/python3.11/json/encoder.py",
            "/v/lib/python3.11/site-packages/starlette/routing.py",
            "/srv/a/shop/x.py",
            "/srv/b/shop/x.py",
            "<frozen abc>",
            "",
        ]
    )
    assert list(names.values()) == ["json/encoder.py", "starlette/routing.py", "a/shop/x.py", "b/shop/x.py", "<frozen abc>", ""]


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "lib", "python3.11", "x.py"]), min_size=1, max_size=6).map("/".join), unique=True, max_size=12
    )
)
def test_short_names_never_collide(files: list[str]) -> None:
    """Two different files never share a display name."""
    names = short_files(["/" + file for file in files])
    assert len(set(names.values())) == len(files)


def test_functions_are_named_as_people_write_them() -> None:
    """Inner functions, comprehensions and Java methods are named short; comprehensions belong to the function around them."""
    assert short_function("C.m.<locals>.inner") == "C.m.inner"
    assert short_function("com.example.shop.Pricing.match(java.util.List)", "jvm") == "Pricing.match"
    assert len(short_function("x" * 500)) == 120
    assert enclosing_function("C.m.<locals>.<lambda>.<locals>.<listcomp>") == "C.m"
    assert enclosing_function("<listcomp>") == enclosing_function("(anonymous)") == ""
    assert enclosing_function("plain") == "plain"


@pytest.mark.parametrize("file", ["<frozen abc>", "/usr/lib/python3.10/abc.py"])
def test_type_checks_are_introspection(file: str) -> None:
    """`isinstance` against an abstract class is told by its frame, also since CPython has that module inside."""
    function = "ABCMeta.__instancecheck__" if file.startswith("<") else "__instancecheck__"
    assert SHAPES[shape_of(function, file)].name == "introspection"
