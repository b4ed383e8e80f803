"""One name for one function in two profiles, and never one name for two."""

from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.same_functions import name_functions


def test_functions_of_one_name_stay_apart() -> None:
    """`get` of two views: each by as much of its path as tells it from the other, whichever is listed first."""
    shop, cart = ("get", "srv/shop/views.py"), ("get", "srv/cart/views.py")
    assert name_functions([shop, cart], [cart, shop]) == (
        ["get (shop/views.py)", "get (cart/views.py)"],
        ["get (cart/views.py)", "get (shop/views.py)"],
    )
    assert name_functions([shop], [cart]) == (["get (shop/views.py)"], ["get (cart/views.py)"])


def test_a_file_that_one_profile_shows_with_more_folders_is_the_same() -> None:
    """A second file that ends alike makes a profile show more of the path; where both may be meant, neither is."""
    short, whole, other = ("get", "shop/views.py"), ("get", "srv/shop/views.py"), ("get", "old/shop/views.py")
    assert name_functions([short], [whole]) == (["get (views.py)"], ["get (views.py)"])
    before, now = name_functions([short], [whole, other])
    assert before == ["get (shop/views.py)"] and not set(before) & set(now)


def test_functions_without_a_file_have_their_name() -> None:
    """Nothing is made up for what has no file."""
    assert name_functions([("GC", "")], [("GC", ""), ("GC", "vm.so")]) == (["GC"], ["GC", "GC (vm.so)"])


FUNCTIONS = st.lists(
    st.tuples(st.sampled_from(["get", "put"]), st.lists(st.sampled_from("abv"), max_size=4).map("/".join)), unique=True, max_size=6
)


@given(FUNCTIONS, FUNCTIONS)
def test_no_name_is_given_twice_in_a_profile(earlier: list[tuple[str, str]], later: list[tuple[str, str]]) -> None:
    """Whatever the files: as many names as functions, and the same function, where both profiles show it alike, has one name."""
    before, now = name_functions(earlier, later)
    assert len(set(before)) == len(earlier) and len(set(now)) == len(later)
    assert all(before[earlier.index(one)] == now[later.index(one)] for one in set(earlier) & set(later))
