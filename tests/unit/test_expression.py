"""The CPU-set language: what expressions mean, and that errors point at the character."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netuned.cpuset import CpuSet
from netuned.errors import ExpressionError
from netuned.hardware.topology import Topology
from netuned.profiles.expression import Expression, circles, evaluate, names_isolated, parse, steps

from .machines import topology

ROUNDS = settings(max_examples=60, deadline=None)

# 2 nodes of 2 L3 domains of 4 cores of 2 threads: CPU n and n + 16 are siblings, CPUs 0-7 and
# their siblings are node 0.
MACHINE = topology(nodes=2, l3_per_node=2, cores=4, threads=2, isolated="8-9,24-25")
LOCAL = MACHINE.nodes[1]


def value(text: str, machine: Topology = MACHINE, /, **sets: str) -> str:
    named = {name: parse(body) for name, body in sets.items()}
    return str(evaluate(parse(text), machine, LOCAL, named))


def error(text: str, **sets: str) -> tuple[int, str]:
    with pytest.raises(ExpressionError) as caught:
        value(text, **sets)
    return caught.value.offset, caught.value.problem


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("all", "0-31"),
        ("online", "0-31"),
        ("isolated", "8-9,24-25"),
        ("housekeeping", "0-7,10-23,26-31"),
        ("local", "8-15,24-31"),
        ("node:0", "0-7,16-23"),
        ("package:1", "8-15,24-31"),
        ("l3:5", "4-7,20-23"),
        ("core:3", "3,19"),
        ("first-threads", "0-15"),
        ("performance", "0-31"),
        ("efficiency", "0-31"),
        ("0-3,8", "0-3,8"),
        ("0-3, 8 ,9", "0-3,8-9"),
        ("0-15:2/8", "0-1,8-9"),
        ("local & housekeeping & first-threads", "10-15"),
        ("local&housekeeping&first-threads", "10-15"),
        ("((local))", "8-15,24-31"),
        ("local\n  & first-threads", "8-15"),
    ],
)
def test_sets(text: str, cpus: str) -> None:
    assert value(text) == cpus


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-7 - 2", "0-1,3-7"),
        ("0-7 -2", "0-1,3-7"),
        ("0-7- 2", "0-1,3-7"),
        ("(0-7)-2", "0-1,3-7"),
        ("0-7 - 2 - 3", "0-1,4-7"),
        ("first-threads - 0-9", "10-15"),
        ("nohz-full | 3", "3"),
    ],
)
def test_a_dash_between_letters_or_digits_belongs_to_the_word(text: str, cpus: str) -> None:
    assert value(text) == cpus


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0 | 1-3 & 3", "0,3"),
        ("0-3 & 1-2 | 8", "1-2,8"),
        ("0-3 | 8 - 0", "0-3,8"),
        ("0-7 - 0-3 & 0-5", "4-5"),
        ("0-7 & 0-5 - 0-3", "4-5"),
        ("(0 | 1-3) & 3", "3"),
    ],
)
def test_precedence(text: str, cpus: str) -> None:
    assert value(text) == cpus


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("first(3, local)", "8-10"),
        ("last(3, local)", "29-31"),
        ("take(3, local)", "8-10"),
        ("take(10, local)", "8-15,24-25"),
        ("take(3, 0,1,16,17)", "0-1,16"),
        ("first(3, 0,1,16,17)", "0-1,16"),
        ("take(2, 0,16,5)", "0,5"),
        ("first(2, 0,16,5)", "0,5"),
        ("take(2, 16,17,0)", "0,17"),
        ("take(2,0,16)", "0,16"),
        ("take(99, node:0)", "0-7,16-23"),
        ("first(2, last(4, all))", "28-29"),
        ("first(1, 0-3) | last(1, 0-3)", "0,3"),
    ],
)
def test_functions(text: str, cpus: str) -> None:
    assert value(text) == cpus


def test_take_is_one_cpu_per_core_first_where_first_goes_by_number() -> None:
    machine = topology(cores=2, threads=2)  # cores 0,2 and 1,3
    assert value("take(2, 1-3)", machine) == "1-2"
    assert value("take(2, 0,2,3)", machine) == "0,3"
    assert value("first(2, 0,2,3)", machine) == "0,2"


def test_named_sets() -> None:
    assert value("irq", irq="local & spare", spare="first(2, housekeeping & local)") == "10-11"
    assert value("@irq | 0", irq="3") == "0,3"


def test_caches_and_cores_of_a_named_set() -> None:
    assert value("l3:app - core:app", app="6") == "4-5,7,20-21,23"
    assert value("core:app", app="1,20") == "1,4,17,20"
    assert error("l3:app", app="99")[1].startswith("`99` in the set `app`: CPU 99 is not on this")
    sets = {"app": parse("9"), "far": parse("last(1, local)")}
    assert [names_isolated(parse(f"core:{name}"), sets) for name in sets] == [True, False]


OFFLINE = Topology(
    possible=CpuSet.parse_list("0-7"),
    present=CpuSet.parse_list("0-3"),
    online=CpuSet.parse_list("0,2-3"),
    cores=tuple(CpuSet.of([cpu]) for cpu in (0, 2, 3)),
    nodes={0: CpuSet.parse_list("0,2-3"), 1: CpuSet()},
)


def test_only_online_cpus_come_out() -> None:
    assert value("all", OFFLINE) == "0,2-3"
    assert value("first(2, 0-3)", OFFLINE) == "0,2"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1", "`1`: CPU 1 is offline"),
        ("4-7", "`4-7`: CPUs 4-7 are offline"),
        ("64-65", "`64-65`: CPUs 64-65 are not on this host (it has 0-7)"),
        ("core:1", "`core:1`: CPU 1 is offline (online are 0,2-3)"),
        ("l3:99", "`l3:99`: CPU 99 is not on this host (online are 0,2-3)"),
        ("node:1", "`node:1`: NUMA node 1 has no online CPU"),
        ("node:2", "`node:2`: this host has no NUMA node 2 (it has 0-1)"),
        ("package:0", "`package:0`: this host has no package 0 (it has none)"),
    ],
)
def test_says_why_a_set_is_empty(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value(text, OFFLINE)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("text", "offset", "problem"),
    [
        ("nohz-full", 0, "`nohz-full` is empty on this host"),
        ("local & nohz-full", 8, "`local & nohz-full`: `nohz-full` is empty on this host"),
        ("nohz-full & local", 0, "`nohz-full` is empty on this host"),
        (
            "first-threads & local & node:0",
            24,
            "`first-threads & local & node:0` is empty: `first-threads & local` (8-15) and "
            "`node:0` (0-7,16-23) have no CPU in common",
        ),
        (
            "isolated & local - 8-31",
            19,
            "`isolated & local - 8-31` is empty: `8-31` takes away all of "
            "`isolated & local` (8-9,24-25)",
        ),
        ("0-3 & (nohz-full | 4)", 6, "`0-3 & (nohz-full | 4)` is empty: `0-3` and "
         "`(nohz-full | 4)` (4) have no CPU in common"),
        ("first(2, nohz-full)", 9, "`nohz-full` is empty on this host"),
        ("nohz-full | 99", 0, "`nohz-full | 99`: none of these has an online CPU"),
        ("nohz-full | (3 & 4)", 17, "`3 & 4` is empty: `3` and `4` have no CPU in common"),
    ],
)  # fmt: skip
def test_says_which_step_left_nothing(text: str, offset: int, problem: str) -> None:
    assert error(text) == (offset, problem)


def test_says_which_named_set_is_empty() -> None:
    with pytest.raises(ExpressionError) as caught:
        value("0-3 & irq", irq="local & nohz-full")
    assert caught.value.text == "local & nohz-full"
    assert caught.value.problem == (
        "`local & nohz-full`: `nohz-full` in the set `irq` is empty on this host"
    )


NAMES = (
    "all, efficiency, first-threads, housekeeping, isolated, local, nohz-full, online, performance"
)
MISSING = "an operator is missing here: & (both), | (either) or - (without)"
TAKE = "`take` is written take(N, set), like take(4, local)"


@pytest.mark.parametrize(
    ("text", "offset", "problem"),
    [
        ("", 0, "the expression is empty; write a CPU set, like `local & housekeeping` or 0-3"),
        ("  ", 2, "the expression is empty; write a CPU set, like `local & housekeeping` or 0-3"),
        ("local &", 7, "a CPU set is missing after `&`"),
        ("& local", 0, "a CPU set is expected here, not `&`"),
        ("local & | online", 8, "a CPU set is expected after `&`, not `|`"),
        ("local & (isolated", 8, "this parenthesis is never closed"),
        ("local)", 5, "no parenthesis is open here"),
        ("()", 1, "a CPU set is expected after `(`, not `)`"),
        ("local isolated", 6, MISSING),
        ("local (isolated)", 6, MISSING),
        ("local(isolated)", 0, "`local` is no function; there are take, first, last"),
        ("0-3 8", 4, MISSING),
        ("local && online", 6, "write `&` in place of `&&`"),
        ("local||online", 5, "write `|` in place of `||`"),
        ("local and online", 6, "write `&` in place of `and`"),
        ("local, online", 5, "write `|` in place of `,`"),
        ("not local", 0, "write `all - …` in place of `not …`"),
        ("local ^ 3", 6, "unexpected `^`; operators are & (both), | (either) and - (without)"),
        ("Local", 0, "`Local` is no CPU set; did you mean `local`?"),
        ("3 | houskeeping", 4, "`houskeeping` is no CPU set; did you mean `housekeeping`?"),
        ("nohz_full", 0, "`nohz_full` is no CPU set; did you mean `nohz-full`?"),
        ("local-isolated", 0, "`local-isolated` is no CPU set; "
         "a difference has spaces around its `-`"),
        ("local-2", 0, "`local-2` is no CPU set; a difference has spaces around its `-`"),
        ("zz", 0, f"`zz` is no CPU set; define it under cpus, or use {NAMES}"),
        ("@local", 0, "`local` is no set of the profile; write it without `@`"),
        ("0-7-2", 0, "`0-7-2` is not a CPU number or a range like 0-3; "
         "a difference has spaces around its `-`"),
        ("8 | 3-1", 4, "the range `3-1` runs backwards"),
        ("8 | 0-3, 9-7,11", 9, "the range `9-7` runs backwards"),
        ("local | 3,70000", 10, "`70000` is not a CPU number or a range like 0-3"),
        ("0-7:3/2", 0, "`0-7:3/2`: used/group must be like 2/4"),
        ("0-3x", 0, "`0-3x` is neither a CPU list like 0-3,8 nor a name"),
        ("node:", 5, "`node:` takes one number, like node:0; join several with `|`"),
        ("node:0-1", 5, "`node:` takes one number, like node:0; join several with `|`"),
        ("core:0-1", 5,
         "`core:` takes one CPU, or a set by its name, like core:0; join several with `|`"),
        ("l3:local", 3,
         "`l3:` takes one CPU, or a set by its name, like l3:0; join several with `|`"),
        ("nod:1", 0, "`nod:` names no CPU set; did you mean `node:`?"),
        ("cpu:1", 0, "`cpu:` names no CPU set; only node, l3, package, core take a number"),
        ("take 2", 0, TAKE),
        ("take(local, 2)", 5, f"a number of CPUs is expected here: {TAKE}"),
        ("take(2-3, local)", 5, f"a number of CPUs is expected here: {TAKE}"),
        ("take(2 local)", 7, f"a comma and a CPU set are expected here: {TAKE}"),
        ("take(0, local)", 5, "take(0, …) would leave no CPU; write a number from 1"),
        ("local & first(3, online", 13, "this parenthesis is never closed"),
        ("foo(1, local)", 0, "`foo` is no function; there are take, first, last"),
        ("@", 0, "a CPU set is expected here, not `@`"),
        ("local é", 6, "unexpected `é`; operators are & (both), | (either) and - (without)"),
        ("(" * 100_000, 0, "the expression is longer than 4096 characters"),
        ("(" * 4000, 32, "parentheses are nested more than 32 deep"),
        ("first(1," * 500, 256, "parentheses are nested more than 32 deep"),
    ],
)  # fmt: skip
def test_errors_point_at_the_character(text: str, offset: int, problem: str) -> None:
    assert error(text) == (offset, problem)


def test_long_chains_are_no_deep_recursion() -> None:
    assert value("0" + "|0" * 2000) == "0"
    assert value("all" + " & all" * 600) == "0-31"


def test_many_named_sets_in_a_row_are_no_deep_recursion() -> None:
    sets = {f"s{n}": f"s{n + 1}" for n in range(2000)}
    assert value("s0", s2000="5", **sets) == "5"


def test_sets_that_name_each_other_often_are_evaluated_once() -> None:
    sets = {f"s{n}": f"s{n + 1} | s{n + 1} | s{n + 1}" for n in range(60)}
    assert value("s0", s60="5", **sets) == "5"


def test_a_circle_of_sets_is_an_error_at_the_name_that_closes_it() -> None:
    sets = {"a": "local & b", "b": "c", "c": "0 | a"}
    assert error("a", **sets) == (4, "`a` is defined by itself: a -> b -> c -> a")
    assert error("x", x="x") == (0, "`x` is defined by itself: x -> x")
    parsed = {name: parse(text) for name, text in sets.items()}
    found = [(name, wrong.offset, wrong.problem) for name, wrong in circles(parsed)]
    assert found == [("c", 4, "`a` is defined by itself: a -> b -> c -> a")]


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("local", False),
        ("local & housekeeping", False),
        ("local - isolated", False),
        ("all - 0-3", False),
        ("isolated", True),
        ("local & isolated", True),
        ("local | 8-9", True),
        ("take(2, nohz-full)", True),
        ("core:8", True),
        ("node:1", False),
        ("apart", True),
        ("local - apart", False),
    ],
)
def test_isolated_cpus_count_as_named_only_where_they_are_asked_for(text: str, asks: bool) -> None:
    assert names_isolated(parse(text), {"apart": parse("8-9")}) == asks


ATOMS = ["0-7", "3,5,9", "12-31", "local", "first-threads", "isolated", "node:0", "core:4"]
EXPRESSIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds(lambda a, sign, b: f"{a} {sign} {b}", inner, st.sampled_from("&|-"), inner),
        st.builds(lambda a: f"({a})", inner),
    ),
    max_leaves=8,
)


@ROUNDS
@given(EXPRESSIONS)
def test_means_what_python_means_by_the_same_text(text: str) -> None:
    as_python = text
    for number, atom in enumerate(ATOMS):
        as_python = as_python.replace(atom, f"_{number}_") if atom in as_python else as_python
    values = {f"_{n}_": set(CpuSet.parse_list(value(atom))) for n, atom in enumerate(ATOMS)}
    expected = eval(as_python, {}, values)
    try:
        found = set(CpuSet.parse_list(value(text)))
    except ExpressionError:
        found = set()
    assert found == expected


def shown(text: str, /, **sets: str) -> list[tuple[str, str, str, str]]:
    named = {name: parse(body) for name, body in sets.items()}
    found = steps(parse(text), MACHINE, LOCAL, named)
    return [(step.name, step.text, str(step.cpus), str(step.taken)) for step in found]


def test_steps() -> None:
    assert shown("irq - 10 | 3", irq="take(4, near)", near="local & housekeeping") == [
        ("near", "local", "8-15,24-31", ""),
        ("near", "housekeeping", "0-7,10-23,26-31", ""),
        ("near", "local & housekeeping", "10-15,26-31", "8-9,24-25"),
        ("irq", "near", "10-15,26-31", ""),
        ("irq", "take(4, near)", "10-13", "14-15,26-31"),
        ("", "irq", "10-13", ""),
        ("", "10", "10", ""),
        ("", "irq - 10", "11-13", "10"),
        ("", "3", "3", ""),
        ("", "irq - 10 | 3", "3,11-13", ""),
    ]


def test_steps_of_a_chain_with_parentheses() -> None:
    assert shown("0-7 & (4 | 5-6) - 5") == [
        ("", "0-7", "0-7", ""),
        ("", "4", "4", ""),
        ("", "5-6", "5-6", ""),
        ("", "4 | 5-6", "4-6", ""),
        ("", "0-7 & (4 | 5-6)", "4-6", "0-3,7"),
        ("", "5", "5", ""),
        ("", "0-7 & (4 | 5-6) - 5", "4,6", "5"),
    ]


def test_steps_show_how_a_set_comes_out_empty() -> None:
    assert shown("local & node:0")[-1] == ("", "local & node:0", "", "8-15,24-31")
    with pytest.raises(ExpressionError):
        shown("nowhere & local")


CALLS = st.recursive(
    st.sampled_from([*ATOMS, "one", "@two"]),
    lambda inner: st.one_of(
        st.builds(lambda a, sign, b: f"{a} {sign} {b}", inner, st.sampled_from("&|-"), inner),
        st.builds(lambda a: f"({a})", inner),
        st.builds(
            lambda f, n, a: f"{f}({n}, {a})",
            st.sampled_from(["take", "first", "last"]),
            st.integers(1, 9),
            inner,
        ),
    ),
    max_leaves=8,
)


@ROUNDS
@given(CALLS)
def test_the_last_step_is_what_evaluate_gives(text: str) -> None:
    sets: dict[str, Expression] = {"one": parse("local - two"), "two": parse("last(3, online)")}
    expression = parse(text)
    found = steps(expression, MACHINE, LOCAL, sets)
    try:
        cpus = evaluate(expression, MACHINE, LOCAL, sets)
    except ExpressionError:
        cpus = CpuSet()
    assert found[-1].cpus == cpus
    assert found[-1].name == ""
    assert found[-1].text in text
    for step in found:
        assert not step.cpus & step.taken
        assert not step.cpus - MACHINE.online


def refused(text: str) -> ExpressionError | None:
    """The error that a text gives, if any; every other exception fails the test."""
    try:
        steps(parse(text), MACHINE, LOCAL, {"x": parse("5")})
    except ExpressionError as wrong:
        return wrong
    return None


@ROUNDS
@given(
    st.text(max_size=60) | st.text(alphabet="@tak(1,) \u2003\u00b2\u0661\ud800&|-:", max_size=20)
)
def test_no_text_breaks_the_parser(text: str) -> None:
    wrong = refused(text)
    assert wrong is None or (0 <= wrong.offset <= len(text) and wrong.problem)


WORDS = ["local", "0-3,", "node:", "take(", "2, ", "(", ")", "&", "|", "-", " ", "@x", "1:1/2", ":"]


@ROUNDS
@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
def test_no_sequence_of_words_breaks_the_parser(text: str) -> None:
    wrong = refused(text)
    assert wrong is None or (0 <= wrong.offset <= len(text) and wrong.problem)


@ROUNDS
@given(st.text(alphabet="local0123456789-,:&|() @tkefirsn\n\u00e9", max_size=40))
def test_any_text_is_read_or_refused_within_itself(text: str) -> None:
    wrong = None
    try:
        evaluate(parse(text), MACHINE, LOCAL)
    except ExpressionError as error:
        wrong = error
    assert wrong is None or (0 <= wrong.offset <= len(text) and wrong.problem)


@ROUNDS
@given(st.integers(1, 40), st.sets(st.integers(0, 31), min_size=1))
def test_functions_choose_from_their_set(count: int, cpus: set[int]) -> None:
    for function in ("take", "first", "last"):
        chosen = evaluate(parse(f"{function}({count}, {CpuSet.of(cpus)})"), MACHINE, LOCAL)
        assert set(chosen) <= cpus
        assert len(chosen) == min(count, len(cpus))
    taken = evaluate(parse(f"take({count}, {CpuSet.of(cpus)})"), MACHINE, LOCAL)
    per_core = [len(core & taken) for core in MACHINE.cores if core & CpuSet.of(cpus)]
    possible = [len(core & CpuSet.of(cpus)) for core in MACHINE.cores if core & CpuSet.of(cpus)]
    fullest = max(per_core)
    assert all(n >= min(fullest - 1, most) for n, most in zip(per_core, possible, strict=True))
