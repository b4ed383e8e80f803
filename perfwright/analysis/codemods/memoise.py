"""A pure function that is called again and again with the same arguments remembers its results, a bounded number of them.

Kept equal: only calls with plain arguments are remembered (an argument that cannot be hashed, an enum, a subclass go to the function
itself, with the exceptions it has for them); 1, True and 1.0 are told apart; exceptions and NaN are never remembered; results cannot be
changed.
"""

import libcst as cst

from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left, walk
from perfwright.analysis.codemods.purity import why_not_pure

NAME = "memoise"
LEAST_CALLS = 50
LEAST_REPEATED = 0.5
"""Share of the calls; below, what remembering costs may be more than what it saves, and memory is taken for nothing."""
LOOKUP_SHARE = 0.1
"""Of the function's time that a remembered call still takes, at most."""
SMALLEST, LARGEST = 256, 16_384

HELPER = '''
def {name}(function):
    """Remembers the last {size:_} results for plain arguments; calls with any other go to the function itself.

    So do those whose result has a NaN in it: lists and sets find the very same NaN again, and another one not.
    """
    plain = frozenset((str, bytes, int, bool, type(None)))

    def is_equal_to_itself(result):
        if isinstance(result, (tuple, frozenset)):
            return all(map(is_equal_to_itself, result))
        try:
            return type(result) in plain or result == result
        except ArithmeticError:
            return False

    @lru_cache(maxsize={size:_}, typed=True)
    def known(*given):
        result = function(*given)
        return result, is_equal_to_itself(result)

    @wraps(function)
    def remembered(*given, **named):
        if not named and plain.issuperset(map(type, given)):
            result, stays = known(*given)
            if stays:
                return result
        return function(*given, **named)

    return remembered
'''
IMPORTS = ("functools.lru_cache", "functools.wraps")


def propose(code: Code, function: cst.FunctionDef, hot: HotCode, words_of_repository: frozenset[str] = frozenset()) -> Edited | Left | None:
    """The function with a memory. None: it has no arguments, or is no function of the module itself."""
    if function not in code.module.body or not function.params.params or hot.calls < LEAST_CALLS:
        return None
    line = code.lines(function)[0]
    if hot.repeated_share < LEAST_REPEATED:
        return None
    if function.decorators:
        return Left(line, "it is decorated: what it is after that is not known here")
    if any(
        default.default is not None and not _is_plain(default.default)
        for default in (*function.params.posonly_params, *function.params.params)
    ):
        return Left(line, "a default is not plain")
    if why := why_not_pure(code, function, words_of_repository):
        return Left(line, why)
    if not all(map(code.is_free, IMPORTS)):
        return Left(line, "the module uses the name lru_cache or wraps for something else")
    size = SMALLEST
    while size < min(2 * hot.distinct, LARGEST):
        size *= 2
    helper = code.unused("_remembered")
    decorated = function.with_changes(decorators=[cst.Decorator(cst.Name(helper))])
    return Edited(
        source=code.edited({function: decorated}, {}, [HELPER.format(name=helper, size=size)], IMPORTS),
        title=f"Remember the results of `{function.name.value}`",
        reasoning=f"it is pure for plain arguments and what it returns cannot be changed; of {hot.calls:,} recorded calls "
        f"{100 * hot.repeated_share:.0f} % repeated earlier arguments ({hot.distinct:,} different ones); at most {size:,} results are kept",
        line=line,
        gain_share=max(0.0, hot.share * (hot.repeated_share - LOOKUP_SHARE)),
    )


def _is_plain(value: cst.BaseExpression) -> bool:
    if isinstance(value, cst.Name):
        return value.value in ("True", "False", "None")
    return isinstance(value, cst.Integer | cst.SimpleString) and not any(isinstance(one, cst.FormattedString) for one in walk(value))
