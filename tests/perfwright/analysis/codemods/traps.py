"""Code with a trap in it, as tables: what the trap is, and the code, or what is to be put in place of what."""

MEMBERSHIP = {
    "the list shrinks between two turns of `while any(...)`": """
def f(xs, ys):
    while any(x in ys for x in xs):
        ys.pop()
""",
    "a generator is asked while its consumer changes the list": """
def f(xs, ys):
    for x in (v for v in xs if v in ys):
        ys.remove(x)
""",
    "a generator outlives the list as it is": """
def f(xs, ys):
    found = (x for x in xs if x in ys)
    ys.clear()
    return list(found)
""",
    "the loop's own source takes from the list": """
def f(ys):
    for x in iter(ys.pop, None):
        if x in ys:
            return x
""",
    "a comprehension in another one whose condition takes from the list": """
def f(xs, ys):
    return [ys.pop() for x in xs if any(v in ys for v in x)]
""",
    "a key function takes from the list": """
def f(xs, ys, key):
    for x in xs:
        if x in ys:
            print2 = max(xs, key=key)
""",
    "other tasks run in an asynchronous loop": """
async def f(xs, ys):
    async for x in xs:
        if x in ys:
            return x
""",
    "other tasks run in an asynchronous comprehension": """
async def f(xs, ys):
    return [x async for x in xs if x in ys]
""",
    "another thread has the lock meanwhile": """
def f(xs, ys, lock):
    for x in xs:
        with lock:
            if x in ys:
                return x
""",
    "a thread is waited for": """
def f(threads, ys):
    for one in threads:
        one.join()
        if one.name in ys:
            return one
""",
    "a list with two names is multiplied": """
class A:
    def f(self, xs, ys):
        for x in xs:
            if x in ys:
                self.same *= 0
""",
    "a builtin's name means something else here": """
from .numbers import sum

def f(xs, ys):
    for x in xs:
        if x in ys:
            sum(ys)
""",
    "a star may have brought another `sum`": """
from numbers2 import *

def f(xs, ys):
    for x in xs:
        if x in ys:
            sum(ys)
""",
    "global state": """
seen = []

def f(xs):
    global seen
    for x in xs:
        if x not in seen:
            note(x)
""",
    "a closure changes it": """
def f(xs, ys):
    def drop():
        nonlocal_ = ys.pop()
    for x in xs:
        if x in ys:
            drop()
""",
    "the function looks at its own names": """
def f(xs, ys):
    for x in xs:
        if x in ys:
            pass
    return sorted(locals())
""",
    "a compiler for numbers reads the source": """
import numba

@numba.njit
def f(xs, ys):
    for x in xs:
        if x in ys:
            return x
""",
    "a method of the same object may replace it": """
class A:
    def f(self, xs):
        for x in xs:
            if x in self.known:
                self.forget(x)
""",
    "the body stands on the line of the def": """
def f(xs, ys): return [x for x in xs if x in ys]
""",
    "a method of the module's own that is called like a dictionary's": """
class Pool:
    def get(self, key):
        self.free.append(self.free.pop(0))

def f(xs, pool):
    for x in xs:
        if x in pool.free:
            pool.get(x)
""",
    "a builtin hands the list itself on": """
def f(xs, ys):
    seen = []
    for x in xs:
        if x in seen:
            longer = max(ys, seen, key=len)
            longer.pop()
        seen.append(x)
""",
    "a walrus names another list": """
def f(xs, ys):
    for x in xs:
        if x in ys and (ys := [x]):
            return ys
""",
    "a generator made before the loop takes its turns in between": """
def f(xs, ys):
    source = taking(ys)
    for x in source:
        if x in ys:
            return x
""",
    "a generator expression made before the loop takes from the list": """
def f(xs, ys):
    source = (ys.pop() for x in xs)
    for x in source:
        if x in ys:
            return x
""",
    "an inner function is called by the loop's own source": """
def f(xs, ys):
    def replace(x):
        ys[0] = x
        return True
    for x in filter(replace, xs):
        if x in ys:
            return x
""",
    "a method of the list's owner that is called like a dictionary's": """
from pools import Pool

def f(xs, pool):
    for x in xs:
        if x in pool.free:
            pool.get(x)
""",
    "a function of a module that is called like a dictionary's method": """
import registry

def f(xs, ys):
    for x in xs:
        if x in ys:
            registry.get(x)
""",
    "what other threads do is waited for": """
def f(queue, ys):
    while True:
        if queue.get() in ys:
            return ys
""",
    "`with` names an element": """
def f(xs):
    ys = [0]
    for x in xs:
        with x as ys[0]:
            if x in ys:
                return x
""",
    "a key function is asked between two elements of a generator": """
def f(xs, ys):
    return max((x for x in xs if x in ys), key=lambda x: ys.pop())
""",
    "a number that is a list later": """
def f(xs, ys, lists):
    n = 0
    for x in xs:
        for n in lists:
            n *= 0
        if x in ys:
            return x
""",
    "the rest of a mapping takes its name": """
def f(xs, ys):
    for x in xs:
        match x:
            case {"a": 1, **ys}:
                pass
        if x in ys:
            return x
""",
    "a star may have brought another `set` for the helper": """
from numbers2 import *

def f(xs, ys):
    for x in xs:
        if x in ys:
            return x
""",
    "the helper would use another `len`": """
def len(x):
    return 0

def f(xs, ys):
    for x in xs:
        if x in ys:
            return x
""",
    "a generator that waits is asked beside the test": """
def f(xs, ys):
    source = (ys.pop() for x in xs)
    for x in xs:
        for y in source:
            break
        if x in ys:
            return x
""",
    "a text shows the test itself": """
def f(xs, ys):
    return [f"{x in ys=}" for x in xs]
""",
}
FIRST_MATCH = """
def merge(counts, names, lock):
    merged = []
    for count in counts:
        for known in merged:
            if known.key == count.key:
                known.pieces += count.pieces
                break
        else:
            merged.append(count)
    return merged
"""
FIRST_MATCHES = {
    "keys change in a function that is called": ("    return", "        names.rename(count)\n    return"),
    "keys change while others run": ("    return", "        yield count\n    return"),
    "another thread changes keys": ("        for known", "        with lock:\n            pass\n        for known"),
    "it is a dictionary": ("merged = []", "merged = {1: 2}"),
    "the key is worked out each time": (
        "\ndef merge",
        "\nclass C:\n    @property\n    def key(self):\n        return self.pieces\n\n\ndef merge",
    ),
    "the key is one of several targets": ("known.pieces += count.pieces", "known.key, known.pieces = count.pieces, 1"),
    "the list is not always made": ("    merged = []", "    if names:\n        merged = []"),
    "what is appended comes of a function, which knows the others": ("merged.append(count)", "merged.append(renamed(count))"),
    "the class has another name for its key": (".key == count.key", ".__key == count.__key"),
    "the loop's source was made before and gives the same object again": (
        "    for count in counts:",
        "    source = renaming(counts)\n    for count in source:",
    ),
}
INVARIANTS = {
    "it is held by a dictionary": "        dict(rows=sorted(values))['rows'].append(one)\n",
    "it is what a sum begins with": "        sum([], sorted(values)).append(one)\n",
    "its first element is assigned with others": "        sorted(values)[0], b = 1, 2\n",
    "a loop assigns its element": "        for sorted(values)[0] in wanted:\n            pass\n",
    "one of two is handed on": "        max(sorted(values), [one]).append(one)\n",
    "a generator makes it later": "        waiting = (v for v in wanted if v in sorted(values))\n        values.pop()\n",
}
MEMOISE = {
    "a tuple of lists": "return tuple([one.split(',') for one in x.split(';')])",
    "a list's list": "rows = [one.split(',') for one in x.split(';')]\n    return rows[0]",
    "a part of a list": "return x.split()[1:]",
    "the rest of a list": "first, *rest = x.split()\n    return rest",
    "an element of a list of lists": "for row in [[x], [x, x]]:\n        if row:\n            return row",
    "the largest of lists": "return max([x], [x, x])",
    "lists added up": "return sum(([x], [x]), [])",
    "a list that goes through another function": "return g(x.split())",
    "a default that all calls of another function share": "return h(x)",
    "a function that is another one later": "return later(x)",
    "the environment": "return os.environ.get(x)",
    "the clock": "return time.monotonic() > x",
    "state of the module": "return x * RATE",
    "itself": "return f(x - 1) if x else 0",
    "a walrus that keeps a list": "return (parts := x.split())",
    "where a generator stands in memory": "return str(one for one in x)",
}
MODULE = """
import os
import time

RATE = 2


def g(parts):
    return parts


def h(x, held=[]):
    return held


def later(x):
    return x


later = print


def faster():
    global RATE
    RATE += 1


def f(x):
    {body}
"""
DEQUES = {
    "taken from more often than there are": ("node = waiting.pop(0)", "nodes = [waiting.pop(0) for turn in range(2)]"),
    "an inner function takes from it": ("    waiting = [start]", "    waiting = [start]\n    take = lambda: waiting.pop()"),
    "handed to itself": ("waiting.append(other)", "waiting.extend(waiting)"),
    "a comment says that it is a list": ("    waiting = [start]", "    waiting = [start]  # type: list[int]"),
}
QUEUE = """
def f(start, edges):
    waiting = [start]
    while waiting:
        node = waiting.pop(0)
        for other in edges:
            waiting.append(other)
"""
PATTERNS = {
    "an option that prints each time": "def f(text, flags):\n    return re.match('a', text, flags)\n",
    "wrong only with its flags": "def f(text):\n    return re.match('(a#)', text, re.VERBOSE)\n",
    "flags that exclude each other": "def f(text):\n    return re.match('a', text, re.A | re.U)\n",
    "warned of where it is used": "def f(text):\n    return re.match('[[a]]', text)\n",
}
PARTS = """
def f(rows):
    text = ""
    for row in rows:
        text += f"{row}"
    return text
"""
