"""Random conditional spaces, and a model of them that goes through everything."""

import itertools

from hypothesis import strategies as st

from supernet.space import Architecture, Choice, Condition, Option, SearchSpace

OPTIONS: tuple[Option, ...] = (1, "one", 0)


@st.composite
def spaces(draw: st.DrawFn, least: int = 0) -> SearchSpace:
    """Up to five choices of up to three options; any may depend on any earlier ones."""
    choices: list[Choice] = []
    conditions: list[Condition] = []
    for number in range(draw(st.integers(least, 5))):
        name, count = f"c{number}", draw(st.integers(1, 3))
        for _ in range(draw(st.integers(0, 3 if choices else 0))):
            on = draw(st.lists(st.sampled_from(choices), min_size=1, max_size=2, unique=True))
            needs = [
                (c.name, tuple(draw(st.lists(st.sampled_from(c.options), min_size=1, unique=True))))
                for c in on
            ]
            conditions.append(Condition(name, tuple(needs)))
        choices.append(Choice(name, tuple(draw(st.permutations(OPTIONS))[:count])))
    return SearchSpace(tuple(choices), tuple(draw(st.permutations(conditions))))


def spellings(space: SearchSpace) -> list[Architecture]:
    """Every complete assignment, whether it is canonical or not."""
    names = [choice.name for choice in space.choices]
    products = itertools.product(*(choice.options for choice in space.choices))
    return [Architecture(dict(zip(names, options, strict=True))) for options in products]


def counts(space: SearchSpace, arch: Architecture, name: str) -> bool:
    """Whether a choice counts, as the definition has it."""
    ways = [condition.needs for condition in space.conditions if condition.choice == name]
    return not ways or any(
        all(arch[parent] in options and counts(space, arch, parent) for parent, options in needs)
        for needs in ways
    )


def meaning(space: SearchSpace, arch: Architecture) -> dict[str, Option]:
    """What an architecture says that counts: equal for those that are one."""
    return {name: option for name, option in arch.items() if counts(space, arch, name)}


def blocks(count: int) -> SearchSpace:
    """A depth, and in every block an operation, which may have a kernel: 1 + 2 * count choices."""
    choices, conditions = [Choice("depth", tuple(range(count + 1)))], list[Condition]()
    for number in range(1, count + 1):
        op, kernel = f"{number:02}.op", f"{number:02}.kernel"
        choices += Choice(op, ("skip", "conv")), Choice(kernel, (3, 5, 7))
        deep = ("depth", tuple(range(number, count + 1)))
        conditions += Condition(op, (deep,)), Condition(kernel, (deep, (op, ("conv",))))
    return SearchSpace(tuple(choices), tuple(conditions))
