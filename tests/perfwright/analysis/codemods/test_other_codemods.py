"""Patterns, first matches, invariants, joined texts, queues and the linter's fixes: equal results and exceptions, or left alone."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.codemods import deques, first_match, invariants, joining, patterns
from perfwright.analysis.codemods.code_reading import Edited, HotCode, Left
from perfwright.analysis.codemods.linter_edits import LinterEdit, Span
from perfwright.analysis.codemods.linter_fixes import linter_proposals
from perfwright.analysis.codemods.proposals import find_proposals, touches_world, unified_patch
from tests.perfwright.analysis.codemods.proposing import edited, hot, loaded, outcome_of, proposed

PATTERNS = """import re


def found(words, text, flags):
    kept = []
    for word in words:
        match = re.search(rf"^{re.escape(word)}=(.*)$", text, re.MULTILINE)  # one a line
        if match:
            kept.append(match[1])
    return kept, re.sub(r"\\s+", " ", text), re.split("[;,]", text, maxsplit=1), re.match("a", text, flags)
"""
MERGE = """
class Count:
    def __init__(self, key, pieces):
        self.key, self.pieces = key, pieces

    def __repr__(self):
        return f"{self.key!r}: {self.pieces!r}"


def merge(lists):
    merged = []
    for counts in lists:
        for count in counts:
            for known in merged:
                if known.key == count.key:  # the same article
                    known.pieces += count.pieces
                    break
            else:
                merged.append(Count(count.key, count.pieces))
    return merged
"""
RANKS = """
def ranks(values, wanted):
    found = []
    for one in wanted:
        if one in sorted(values) and len(set(values)) > 1:
            found.append(sorted(values)[0])
    return found
"""
TEXT = """
def table(rows):
    text = ""
    for row in rows:
        if not row:
            continue
        text += f"{row[0]};"
        text += "-" + "{}".format(row)
    return text + "."
"""
QUEUE = """
def reached(start, edges):
    waiting = [start]
    seen = []
    while waiting:
        node = waiting.pop(0)
        seen.append(node)
        for other in edges.get(node, ()):
            if other not in seen and len(waiting) < 50:
                waiting.append(other)
    return seen
"""
plain = st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2)
anything = plain | st.lists(plain, max_size=2) | st.floats() | st.tuples(plain)


@dataclass
class Counted:
    key: Any
    pieces: Any


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text("ab=[(", max_size=3), max_size=4) | anything, st.text("ab=;, \n") | anything, st.sampled_from([0, 2, "i", None]))
def test_patterns_match_and_fail_as_before(words: Any, text: Any, flags: Any) -> None:
    """Constant and made patterns, a text that is none, flags that are none."""
    changed = edited(PATTERNS, "found", patterns.NAME).source
    assert outcome_of(loaded(changed, "found"), words, text, flags) == outcome_of(loaded(PATTERNS, "found"), words, text, flags)


def test_constant_patterns_go_to_the_top() -> None:
    """Made ones are kept in a cache larger than re's; comments stay."""
    changed = edited(PATTERNS, "found", patterns.NAME).source
    assert '_FOUND_PATTERN = re.compile(r"\\s+")\n' in changed
    assert 'match = _compiled(rf"^{re.escape(word)}=(.*)$", re.MULTILINE).search(text)  # one a line' in changed
    assert "_FOUND_PATTERN_2.split(text, maxsplit=1)" in changed and "import re\nfrom functools import lru_cache\n" in changed


@pytest.mark.parametrize(
    "call",
    [
        're.match("(", text)',
        "re.match(pattern, text(), re.I)",
        're.match("a", text, re.LOCALE)',
        "re.match(*text)",
        're.compile("a", re.DEBUG)',
    ],
)
def test_other_patterns_are_left_alone(call: str) -> None:
    """A wrong pattern fails where it is used; what depends on more than itself is compiled where it was."""
    assert isinstance(proposed(f"import re\n\ndef f(pattern, text):\n    return {call}\n", "f", patterns.NAME), Left)


def test_another_re_is_another_module() -> None:
    assert proposed("import regex as re\n\ndef f(text):\n    return re.match('a', text)\n", "f", patterns.NAME) is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.builds(Counted, anything, anything) | plain, max_size=5), max_size=4))
def test_first_matches_are_the_same(lists: list[list[Any]]) -> None:
    """Keys that are equal, not hashable or NaN, elements without one, pieces that cannot be added."""
    changed = edited(MERGE, "merge", first_match.NAME).source
    assert outcome_of(loaded(changed, "merge"), lists) == outcome_of(loaded(MERGE, "merge"), lists)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("known.pieces += count.pieces", "known.key += count.key"),
        ("known.pieces += count.pieces", "known.add(count)"),
        ("merged = []", "merged = lists[0]"),
        ("merged.append(Count(count.key, count.pieces))", "merged.insert(0, Count(count.key, count.pieces))"),
        ("merged.append(Count(count.key, count.pieces))", "merged.append(known)"),
        ("return merged", "return known"),
    ],
)
def test_searches_that_may_find_another_are_left_alone(old: str, new: str) -> None:
    """A key that changes, a list that others hold, an element that is used after the search."""
    assert isinstance(proposed(MERGE.replace(old, new), "merge", first_match.NAME), Left)


@settings(deadline=None, max_examples=60)
@given(st.lists(anything, max_size=6) | st.tuples(plain, plain) | plain, st.lists(anything, max_size=5))
def test_invariants_are_the_same(values: Any, wanted: list[Any]) -> None:
    """What cannot be sorted or hashed fails where it failed, and not at all where it was not reached."""
    changed = edited(RANKS, "ranks", invariants.NAME).source
    assert outcome_of(loaded(changed, "ranks"), values, wanted) == outcome_of(loaded(RANKS, "ranks"), values, wanted)


@pytest.mark.parametrize(
    "body",
    [
        "        found = sorted(values)\n",
        "        if one in sorted(values):\n            values.sort()\n",
        "        if one in sorted(values):\n            values[0] = one\n",
        "        if one in sorted(values):\n            other(one)\n",
        "        sorted(values)[0] = one\n",
    ],
)
def test_what_is_handed_on_or_changes_is_made_again(body: str) -> None:
    outcome = proposed(f"def f(values, wanted, other):\n    for one in wanted:\n{body}    return found\n", "f", invariants.NAME)
    assert isinstance(outcome, Left)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(plain, max_size=2), max_size=6) | plain)
def test_joined_texts_are_the_same(rows: Any) -> None:
    changed = edited(TEXT, "table", joining.NAME).source
    assert "    text_parts = []\n" in changed and '    text = "".join(text_parts)\n    return text + "."\n' in changed
    assert outcome_of(loaded(changed, "table"), rows) == outcome_of(loaded(TEXT, "table"), rows)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('f"{row[0]};"', "row[0]"),
        ("if not row:", "if len(text) > 5:"),
        ("    for row in rows:", "    look = lambda: text\n    for row in rows:"),
        ('    return text + "."', ""),
    ],
)
def test_texts_that_may_be_seen_or_be_none_are_left_alone(old: str, new: str) -> None:
    assert not isinstance(proposed(TEXT.replace(old, new), "table", joining.NAME), Edited)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5), st.dictionaries(st.integers(0, 5), st.lists(st.integers(0, 5), max_size=4), max_size=6))
def test_queues_are_the_same(start: int, edges: dict[int, list[int]]) -> None:
    changed = edited(QUEUE, "reached", deques.NAME).source
    assert "from collections import deque\n" in changed and "waiting = deque([start])" in changed and "waiting.popleft()" in changed
    assert outcome_of(loaded(changed, "reached"), start, edges) == outcome_of(loaded(QUEUE, "reached"), start, edges)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("while waiting:", "while True:"),
        ("return seen", "return waiting"),
        ("waiting = [start]", "waiting = start"),
        ("len(waiting) < 50", "waiting[0] != 3"),
        ("        seen.append(node)", "        seen.append(node)\n        waiting.sort()"),
    ],
)
def test_lists_that_are_more_than_queues_are_left_alone(old: str, new: str) -> None:
    """An empty one would say another thing, and a deque is no list."""
    assert isinstance(proposed(QUEUE.replace(old, new), "reached", deques.NAME), Left)


def test_fixes_of_hot_lines_only() -> None:
    """A fix in another function, or on a line that takes no time, is not proposed."""
    source = (
        "def f(xs):\n    ys = []\n    for x in xs:\n        ys.append(x)\n    return ys\n\n\ndef g(xs):\n    return list([x for x in xs])\n"
    )
    fix = LinterEdit(
        "PERF401", "Use a comprehension", 4, 4, (Span((2, 5), (2, 12), "ys = [x for x in xs]"), Span((3, 5), (4, 21), "")), "unsafe"
    )
    other = LinterEdit("C411", "Unnecessary list", 9, 9, (Span((9, 12), (9, 33), "[x for x in xs]"),), "unsafe")
    [proposal] = linter_proposals(source, [hot(source, "f")], [fix, other])
    assert isinstance(proposal.outcome, Edited) and loaded(proposal.outcome.source, "f")((1, 2)) == [1, 2]
    assert "list([x for x in xs])" in proposal.outcome.source
    assert not linter_proposals(source, [], [fix, other])


def test_fixes_that_leave_nothing_of_a_loop() -> None:
    """What was appended before an exception is there after it; a comprehension has nothing then, and leaves no name of its loop."""
    for around, taken in (("try", False), ("with suppress(ValueError)", False), ("with open(xs) as xs", True), ("if xs", True)):
        more = "    finally:\n        print(ys)\n" if around == "try" else ""
        source = f"def f(xs):\n    ys = []\n    {around}:\n        for x in xs:\n            ys.append(int(x))\n{more}    return ys\n"
        fix = LinterEdit("PERF401", "Use a comprehension", 5, 5, (Span((4, 9), (5, 30), "ys = [int(x) for x in xs]"),), "unsafe")
        for text in (source, source.replace("return ys", "return locals()")):
            [proposal] = linter_proposals(text, [hot(text, "f")], [fix])
            assert isinstance(proposal.outcome, Edited) is (taken and text == source), (around, proposal.outcome)


def test_what_cannot_be_read_is_told() -> None:
    with pytest.raises(SyntaxError):
        find_proposals("def f(:\n", [])


def test_functions_that_touch_the_world_are_known() -> None:
    """They are not called with arguments that nobody gave them."""
    from perfwright.analysis.codemods.code_reading import Code

    for body, touches in (("return os.path.join(x)", True), ("open(x).close()", True), ("return x + 1", False), ("x.write(1)", True)):
        code = Code(f"import os\n\ndef f(x):\n    {body}\n")
        function = code.function("f", 3)
        assert function is not None and touches_world(code, function) is touches


def test_patches_apply_without_a_last_newline() -> None:
    assert unified_patch("a.py", "x = 1", "x = 2").endswith("\\ No newline at end of file\n")
    assert unified_patch("a.py", "x = 1\n", "x = 1\n") == ""


@pytest.mark.parametrize(
    ("codemod", "line"),
    [
        ("list membership to set", "if row in seen:"),
        ("compile patterns once", 'if re.match("a+", row):'),
        ("hoisted invariant", "if row in set(seen):"),
    ],
)
def test_cold_lines_stay_as_they_are(codemod: str, line: str) -> None:
    """Only what the profile has is changed: the second half never ran."""
    half = f"    for row in rows:\n        {line}\n            total = total + 1\n"
    source = f"import re\ndef f(rows, seen, total):\n{half}{half}    return total\n"
    [found] = find_proposals(source, [HotCode("f", 2, share=0.9, lines={3: 0.1, 4: 0.5, 5: 0.3})], frozenset(), only=codemod)
    assert isinstance(found.outcome, Edited), found.outcome
    assert found.outcome.source.endswith(f"{half}    return total\n") and found.outcome.source.count(line) == 1
