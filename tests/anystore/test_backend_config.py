"""How the options of a backend are read: from Python, and as text from the environment."""

import pytest

from anystore.backend_config import bool_option, check_options, count_option, number_option, text_option
from anystore.errors import InvalidOption

URI = "some://host"


@pytest.mark.parametrize(("given", "number"), [(3, 3.0), ("2.5", 2.5), (None, 7.0), (1, 1.0), (10, 10.0)])
def test_numbers(given, number):
    assert number_option({"wait": given}, "wait", 7.0, uri=URI, least=1, most=10) == number
    assert number_option({}, "wait", 7.0, uri=URI, least=1, most=10) == 7.0


@pytest.mark.parametrize("given", [0.9, 10.1, "soon", "", True, [1], float("nan"), "inf", "-1", 10**400])
def test_what_is_no_number_in_between_is_refused(given):
    for read in (number_option, count_option):
        with pytest.raises(InvalidOption, match=r"some://host: the option 'wait' has to be a .* from 1 to 10"):
            read({"wait": given}, "wait", 7, uri=URI, least=1, most=10)


def test_counts_are_whole():
    for given in (3, "3", 3.0):
        count = count_option({"retries": given}, "retries", 7, uri=URI, least=0)
        assert (count, type(count)) == (3, int)
    with pytest.raises(InvalidOption, match=r"a whole number from 0 to 2,147,483,648"):
        count_option({"retries": 2.5}, "retries", 7, uri=URI, least=0)


def test_texts():
    assert text_option({"name": "x"}, "name", uri=URI) == "x"
    assert text_option({"name": ""}, "name", uri=URI) == ""
    assert text_option({"name": None}, "name", uri=URI) is text_option({}, "name", uri=URI) is None
    with pytest.raises(InvalidOption, match="'name' has to be text"):
        text_option({"name": 1}, "name", uri=URI)


@pytest.mark.parametrize(("given", "flag"), [(True, True), ("on", True), ("No", False), ("1", True), (False, False)])
def test_flags(given, flag):
    assert bool_option({"durable": given}, "durable", uri=URI) is flag


@pytest.mark.parametrize("given", ["maybe", 1, ""])
def test_what_is_no_flag_is_refused(given):
    with pytest.raises(InvalidOption, match="true or false"):
        bool_option({"durable": given}, "durable", uri=URI)


def test_a_mistyped_option_is_refused_and_the_others_are_named():
    check_options({"b": 1}, known=("b", "a"), uri=URI)
    with pytest.raises(InvalidOption, match=r"no option 'c'; it takes: a, b"):
        check_options({"c": 1, "b": 1}, known=("b", "a"), uri=URI)
    with pytest.raises(InvalidOption, match="it takes: none"):
        check_options({"c": 1}, known=(), uri=URI)
