"""Rules for functions and methods without weights: how widths pass through.

A rule returns the labels of the result: of a tensor one per axis, of several tensors a list of
these. It returns None where it can't tell; then what is given is fixed: better a choice less than a
network whose parts don't fit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from supernet.networks.conversion.groups import Label
from supernet.networks.conversion.labeling import (
    Labeling,
    Labels,
    argument,
    repeated,
    size_of,
    source_of,
    value_of,
)
from supernet.networks.conversion.numbers import Sized

Rule = Callable[[Labeling, fx.Node], Labels | list[Labels] | None]


# -- position by position ------------------------------------------------------------------------


def elementwise(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Values are combined position by position, so what lies side by side must be equally wide."""
    return combined(labeling, node, node.all_input_nodes, value_of(node).shape)


def combined(
    labeling: Labeling, node: fx.Node, sources: Sequence[fx.Node], shape: Sequence[int]
) -> Labels:
    """Return the labels of values that are spread to a shape and combined."""
    operands = [n for n in sources if isinstance(n.meta["value"], Tensor)]
    out: list[Label | None] = [None] * len(shape)
    for back in range(1, len(shape) + 1):
        wide = [
            n
            for n in operands
            if back <= value_of(n).ndim and value_of(n).shape[-back] == shape[-back]
        ]
        found = [label for n in wide if (label := labeling.of(n)[-back])]
        if not found:
            continue
        if shape[-back] == 1:
            labeling.groups.fix(found[0], "it is one channel that is spread over others")
            continue
        for n in wide:
            if labeling.of(n)[-back] is None:
                for label in found:
                    labeling.groups.fix(label, f"it is combined with {_described(n)}")
        out[-back] = labeling.join(found)
    return tuple(out)


def _described(node: fx.Node) -> str:
    if node.op == "get_attr":
        return "a constant" if "_tensor_constant" in str(node.target) else f"{node.target!r}"
    if node.op == "placeholder":
        return "the model's input"
    # A parameter that was only given another shape first.
    roots = {n for n in node.all_input_nodes if n.op == "get_attr"}
    name = str(node.target) if node.op == "call_module" else node.name
    return _described(min(roots, key=str)) if roots else f"{name!r}, whose width is fixed"


def same(labeling: Labeling, node: fx.Node) -> Labels | None:
    """The result lies as the first argument does, and nothing else is combined with it."""
    labels = labeling.of(source_of(node))
    return labels if len(labels) == value_of(node).ndim else None


def flip(labeling: Labeling, node: fx.Node) -> Labels | None:
    """What is turned round is turned round in its labels."""
    labels = list(labeling.of(source_of(node)))
    for axis in _axes(node, 1, len(labels)):
        if labels[axis] is not None:
            labels[axis] = tuple(reversed(labeling.groups.resolve(labels[axis] or ())))
    return tuple(labels)


def roll(labeling: Labeling, node: fx.Node) -> Labels | None:
    """What is moved along an axis with a width is fixed."""
    labels, dims = labeling.of(source_of(node)), argument(node, 2, "dims")
    if dims is None or dims == ():
        return None
    axes = [dims] if isinstance(dims, int) else list(dims)
    return None if any(labels[axis] for axis in axes) else labels


def keep_channels(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Only what lies behind the second axis changes its size: pooling, resizing, padding."""
    x = source_of(node)
    labels, before, after = labeling.of(x), value_of(x).shape, value_of(node).shape
    if len(labels) != len(after):
        return None
    for axis, label in enumerate(labels):
        if label is not None and (axis > 1 or before[axis] != after[axis]):
            labeling.groups.fix(label, f"it lies along an axis that {_shown(node)} changes")
            labels = (*labels[:axis], None, *labels[axis + 1 :])
    return labels


def pooled_pair(labeling: Labeling, node: fx.Node) -> list[Labels] | None:
    """Pool, and say where the largest were."""
    labels = labeling.of(source_of(node))
    return None if any(labels[2:]) else [labels, labels]


def pad(labeling: Labeling, node: fx.Node) -> Labels | None:
    """An axis that is not padded keeps its width."""
    x = source_of(node)
    labels, sizes = labeling.of(x), argument(node, 1, "pad", default=())
    if not isinstance(sizes, tuple | list):
        return None
    for back in range(len(sizes) // 2):
        if any(size != 0 for size in sizes[2 * back : 2 * back + 2]):
            labeling.fix(x, "it is padded", [len(labels) - 1 - back])
            labels = (*labels[: len(labels) - 1 - back], None, *labels[len(labels) - back :])
    return labels


def _shown(node: fx.Node) -> str:
    return f"{node.target!r}" if isinstance(node.target, str) else node.name


# -- fewer and other axes ------------------------------------------------------------------------


def _axes(node: fx.Node, place: int, rank: int) -> list[int]:
    """Return the axes an operation names, by place or as `dim`, `dims` or `axis`; or all."""
    dims = argument(node, place, "dim", "dims", "axis", default=None)
    dims = list(node.args[place:]) if node.op == "call_method" and _is_int(dims) else dims
    if dims is None:
        return list(range(rank))
    return [int(dim) % rank for dim in ([dims] if isinstance(dims, int) else dims)]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def reduce(labeling: Labeling, node: fx.Node) -> Labels | list[Labels] | None:
    """Axes are summed up or averaged; they go, or have one position left."""
    labels = labeling.of(source_of(node))
    dims = argument(node, 1, "dim", "axis")
    chosen = [dims] if _is_int(dims) else dims
    if chosen is not None and not (
        isinstance(chosen, tuple | list) and all(isinstance(dim, int) for dim in chosen)
    ):
        return None
    axes = {dim % len(labels) for dim in (chosen or range(len(labels)))}
    value = node.meta["value"]
    rank = (value if isinstance(value, Tensor) else value[0]).ndim
    if rank == len(labels):
        left = tuple(None if axis in axes else label for axis, label in enumerate(labels))
    else:
        left = tuple(label for axis, label in enumerate(labels) if axis not in axes)
    return left if isinstance(value, Tensor) else [left] * len(value)


def norm(labeling: Labeling, node: fx.Node) -> Labels | list[Labels] | None:
    """Reduce, with the kind of norm before the axes."""
    dims = argument(node, 2, "dim")
    labels = labeling.of(source_of(node))
    axes = [dims] if _is_int(dims) else list(range(len(labels))) if dims is None else list(dims)
    gone = {axis % len(labels) for axis in axes}
    if value_of(node).ndim == len(labels):
        return tuple(None if axis in gone else label for axis, label in enumerate(labels))
    return tuple(label for axis, label in enumerate(labels) if axis not in gone)


def permute(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Axes change places."""
    labels, order = labeling.of(source_of(node)), argument(node, 1, "dims")
    order = list(node.args[1:]) if _is_int(order) else order
    if not isinstance(order, tuple | list) or not all(isinstance(dim, int) for dim in order):
        return None
    return tuple(labels[dim] for dim in order)


def transpose(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Two axes change places."""
    labels = list(labeling.of(source_of(node)))
    a, b = argument(node, 1, "dim0", "axis0"), argument(node, 2, "dim1", "axis1")
    if node.name.startswith("t_") or (a is None and b is None):
        return tuple(reversed(labels)) if len(labels) <= 2 else None
    if not isinstance(a, int) or not isinstance(b, int):
        return None
    labels[a], labels[b] = labels[b], labels[a]
    return tuple(labels)


def move(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Axes are moved."""
    labels = list(labeling.of(source_of(node)))
    places = torch.empty(*range(2, 2 + len(labels)), device="meta")
    try:
        moved = torch.movedim(places, node.args[1], node.args[2])  # type: ignore[arg-type]
    except (IndexError, TypeError, RuntimeError):
        return None
    return tuple(labels[size - 2] for size in moved.shape)


def attribute(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Read an attribute of a tensor."""
    labels, name = labeling.of(source_of(node)), node.args[1]
    if name in ("T", "H") and len(labels) <= 2:
        return tuple(reversed(labels))
    if name in ("mT", "mH") and len(labels) >= 2:
        return *labels[:-2], labels[-1], labels[-2]
    return labels if name in ("data", "real") else None


def unsqueeze(labeling: Labeling, node: fx.Node) -> Labels | None:
    """There is an axis more."""
    labels, dim = list(labeling.of(source_of(node))), argument(node, 1, "dim")
    if not isinstance(dim, int):
        return None
    labels.insert(dim % (len(labels) + 1), None)
    return tuple(labels)


# -- other shapes --------------------------------------------------------------------------------


def reshape(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Give another shape."""
    asked: Any = list(node.args[1:]) or node.kwargs.get("shape", node.kwargs.get("size"))
    if isinstance(asked, list) and len(asked) == 1 and isinstance(asked[0], tuple | list):
        asked = list(asked[0])
    if not isinstance(asked, tuple | list) or len(asked) != value_of(node).ndim:
        return None
    return reshaped(labeling, node, asked)


def flatten(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Give a shape that follows by itself."""
    return reshaped(labeling, node, [None] * value_of(node).ndim)


def unflatten(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Divide an axis."""
    dim, sizes = argument(node, 1, "dim"), argument(node, 2, "sizes", "unflattened_size")
    rank = value_of(source_of(node)).ndim
    if not isinstance(dim, int) or not isinstance(sizes, tuple | list):
        return None
    return reshaped(labeling, node, [None] * (dim % rank) + list(sizes) + [None] * rank)


def shaped_like(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Give the shape of another value."""
    other = node.args[1]
    if not isinstance(other, fx.Node):
        return None
    decided: set[Any] = set()
    asked = [
        Sized.of(size, frozenset({(other, axis)}), decided)
        for axis, size in enumerate(value_of(other).shape)
    ]
    return reshaped(labeling, node, asked)


def reshaped(labeling: Labeling, node: fx.Node, asked: Sequence[Any]) -> Labels | None:
    """Find each labeled axis again, merged with others or divided.

    Args:
        labeling: The labels so far.
        node: The operation.
        asked: The sizes its result is asked to have.
    """
    x = source_of(node)
    before, after = list(value_of(x).shape), list(value_of(node).shape)
    labels, out = labeling.of(x), [None] * len(after)
    out_labels: list[Label | None] = list(out)
    for olds, news in _blocks(before, after):
        # A width that can't change is a number like any other.
        wide = [axis for axis in olds if labeling.groups.is_free(labels[axis])]
        if not wide:
            continue
        if len(wide) > 1:  # two widths are multiplied; one that a layer makes may stay
            wide.sort(key=lambda axis: not labeling.groups.is_made(labels[axis]))
            for axis in wide[1:]:
                labeling.fix(x, "it is merged with another width into one axis", [axis])
        axis = wide[0]
        label = labels[axis]
        assert label is not None
        # Of the axes it is merged with, those before it repeat it, those behind it widen it.
        ahead = math.prod(before[a] for a in olds if a < axis)
        behind = math.prod(before[a] for a in olds if a > axis)
        merged = repeated(label, behind) * ahead
        real = [place for place in news if after[place] != 1] or list(news[:1])
        if len(real) == 1:
            place = real[0]
            labeling.follow(asked[place], merged, "reshaped")
            out_labels[place] = merged
            continue
        found = _divide(labeling, merged, [after[p] for p in real], [asked[p] for p in real])
        if found is None:
            labeling.groups.fix(label, "it is divided into several axes")
        else:
            out_labels[real[found[0]]] = found[1]
    for size, label in zip(asked, out_labels, strict=False):
        if label is None and labeling.is_read(size):
            labeling.fix_read(size, "what has a fixed size is reshaped to it")
    return tuple(out_labels)


def _blocks(before: Sequence[int], after: Sequence[int]) -> list[tuple[range, range]]:
    """Return which neighboring axes become which, in the smallest pieces."""
    blocks: list[tuple[range, range]] = []
    a = b = 0
    while a < len(before) and b < len(after):
        start_a, start_b = a, b
        left, right = before[a], after[b]
        a, b = a + 1, b + 1
        while left != right:
            if left < right:
                if a == len(before):
                    return blocks
                left, a = left * before[a], a + 1
            else:
                if b == len(after):
                    return blocks
                right, b = right * after[b], b + 1
        blocks.append((range(start_a, a), range(start_b, b)))
    return blocks


def _divide(
    labeling: Labeling, label: Label, sizes: Sequence[int], asked: Sequence[Any]
) -> tuple[int, Label] | None:
    """Return which of several axes the width lies along, and its label there."""
    # That which is left open, or was read; a number in the code stays.
    numbers = [type(size) is int and size != -1 for size in asked]
    places = [place for place, number in enumerate(numbers) if not number]
    read = [p for p in places if labeling.is_read(asked[p])]
    for place in [*read, *(p for p in places if p not in read)]:
        found = _along(labeling, label, sizes, place)
        if found is not None:
            others = (a for p, a in enumerate(asked) if p != place and isinstance(a, Sized))
            if any(map(labeling.is_read, others)):
                return None
            labeling.follow(None if place not in read else asked[place], found, "divided")
            return place, found
    return None


def _along(labeling: Labeling, label: Label, sizes: Sequence[int], place: int) -> Label | None:
    """Return the label along one of the axes a width is divided into, all others being fixed.

    The width consists of as many equal parts as there are positions before that axis; of each of
    its channels, there are as many neighbors as positions behind it.
    """
    groups = labeling.groups
    ahead, behind = math.prod(sizes[:place]), math.prod(sizes[place + 1 :])
    each = sizes[place] * behind
    pieces: list[Label] = []
    for _ in range(ahead):
        rest = groups.resolve(label)
        piece = sections(labeling, rest, [each * len(pieces), each])
        if piece is None:
            return None
        pieces.append(piece[1])
    for piece_label in pieces[1:]:
        groups.join(pieces[0], piece_label)
    return _narrower(labeling, pieces[0], behind)


def _narrower(labeling: Labeling, label: Label, times: int) -> Label | None:
    """Return a label of channels of so many positions, counted as one each."""
    groups = labeling.groups
    if times == 1:
        return groups.resolve(label)
    for segment in groups.resolve(label):
        if segment.repeat % times:
            per = times // math.gcd(times, segment.repeat)
            if segment.count % per:
                return None
            groups.part(segment.width, [(segment.count // per, per)])
    found = groups.resolve(label)
    if any(segment.repeat % times for segment in found):
        return None
    return tuple(type(s)(s.width, s.count, s.repeat // times) for s in found)


def sections(labeling: Labeling, label: Label, sizes: Sequence[int]) -> list[Label] | None:
    """Cut a label into sections, parting widths where that is needed; None if it can't be."""
    groups = labeling.groups
    found: list[Label] = []
    start = 0
    for size in sizes:
        for edge in (start, start + size):
            if not _cut(labeling, label, edge):
                return None
        place, section = 0, []
        for segment in groups.resolve(label):
            if start <= place < start + size:
                section.append(segment)
            place += segment.size
        found.append(tuple(section))
        start += size
    return found


def _cut(labeling: Labeling, label: Label, edge: int) -> bool:
    """Part a width so that a segment begins at some position."""
    place = 0
    for segment in labeling.groups.resolve(label):
        if place < edge < place + segment.size:
            count, odd = divmod(edge - place, segment.repeat)
            if odd:
                return False
            forms = [(count, 1), (segment.count - count, 1)]
            return labeling.groups.part(segment.width, forms) is not None
        place += segment.size
    return True


def expand(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Spread axes of one position."""
    labels, shape = labeling.of(source_of(node)), value_of(node).shape
    asked: Any = list(node.args[1:]) or list(node.kwargs.values())
    if len(asked) == 1 and isinstance(asked[0], tuple | list):
        asked = list(asked[0])
    if len(asked) != len(shape):
        return None
    whole = (None,) * (len(shape) - len(labels)) + labels
    for label, size in zip(whole, asked, strict=True):
        if label is not None:
            labeling.follow(size, label, "expanded")
    return whole


def repeat(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Put copies one after the other."""
    labels = labeling.of(source_of(node))
    times: Any = list(node.args[1:])
    if len(times) == 1 and isinstance(times[0], tuple | list):
        times = list(times[0])
    if len(times) != value_of(node).ndim or not all(isinstance(t, int) for t in times):
        return None
    whole = (None,) * (len(times) - len(labels)) + labels
    return tuple(
        None if label is None else label * int(count)
        for label, count in zip(whole, times, strict=True)
    )


def repeat_each(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Put copies of each position beside it."""
    labels = list(labeling.of(source_of(node)))
    times, dim = argument(node, 1, "repeats"), argument(node, 2, "dim")
    if not isinstance(times, int) or not isinstance(dim, int):
        return None
    if (label := labels[dim]) is not None:
        labels[dim] = repeated(label, int(times))
    return tuple(labels)


# -- parts of a width ----------------------------------------------------------------------------


def index(labeling: Labeling, node: fx.Node) -> Labels | list[Labels] | None:
    """Take a part, or one of several values."""
    x, where = source_of(node), node.args[1]
    if x in labeling.several:
        several = labeling.several[x]
        return several[where] if isinstance(where, int) else None
    labels = list(labeling.of(x))
    parts: list[Any] = list(where) if isinstance(where, tuple | list) else [where]
    if not all(p is None or p is ... or isinstance(p, int | slice | fx.Node) for p in parts):
        return None
    tensors = [value_of(p) for p in parts if isinstance(p, fx.Node)]
    if len(tensors) > 1 or any(t.dtype in (torch.bool, torch.uint8) for t in tensors):
        return None
    if ... in [p for p in parts if not isinstance(p, fx.Node)]:
        at = next(n for n, p in enumerate(parts) if p is ...)
        named = sum(p is not None and p is not ... for p in parts)
        parts[at : at + 1] = [slice(None)] * (len(labels) - named)
    out: list[Label | None] = []
    for part in parts:
        if part is None:
            out.append(None)
            continue
        label = labels.pop(0)
        if isinstance(part, slice):
            out.append(_slice(labeling, label, part))
            continue
        labeling.groups.fix(label, "the model takes a part of it")
        if isinstance(part, fx.Node):
            out += [None] * value_of(part).ndim
    return *out, *labels


def _slice(labeling: Labeling, label: Label | None, part: slice) -> Label | None:
    """Return the label of a part of an axis.

    The code may cut a width where a part of it ends that is as wide as what is left, or as wide as
    another width; anything else fixes it.
    """
    if label is None or part == slice(None):
        return label
    size = size_of(label)
    start, stop, step = part.indices(size)
    cuts = [cut for cut in (part.start, part.stop) if cut is not None]
    read = all(isinstance(cut, Sized) and labeling.is_read(cut) for cut in cuts if cut != 0)
    found = None
    if step == 1 and start < stop and read:
        found = sections(labeling, label, [start, stop - start, size - stop])
    if found is None:
        labeling.groups.fix(label, "the model takes a part of it")
        return None
    whole = [piece for piece in found if piece]
    if len({size_of(piece) for piece in whole}) != 1:
        labeling.groups.fix(label, "the model takes a part of it")
        return None
    labeling.join(whole)
    for cut in cuts:
        if cut not in (0, size):
            labeling.follow(cut, found[1], "cut")
    return found[1]


def chunk(labeling: Labeling, node: fx.Node) -> list[Labels] | None:
    """Cut into equal parts, as many as the code says."""
    dim = argument(node, 2, "dim", "axis", default=0)
    return _cut_up(labeling, node, dim, [], follows=True)


def split(labeling: Labeling, node: fx.Node) -> list[Labels] | None:
    """Cut into parts of given sizes."""
    sizes = argument(node, 1, "split_size", "split_size_or_sections", "split_sizes")
    dim = argument(node, 2, "dim", "axis", default=0)
    given = list(sizes) if isinstance(sizes, tuple | list) else [sizes]
    follows = all(isinstance(size, Sized) and labeling.is_read(size) for size in given)
    return _cut_up(labeling, node, dim, given, follows=follows)


def _cut_up(
    labeling: Labeling, node: fx.Node, dim: Any, given: Sequence[Any], *, follows: bool
) -> list[Labels] | None:
    x, pieces = source_of(node), node.meta["value"]
    if not isinstance(dim, int):
        return None
    labels = labeling.of(x)
    axis = dim % len(labels)
    label = labels[axis]
    if label is None:
        return [labels] * len(pieces)
    sizes = [piece.shape[axis] for piece in pieces]
    found = sections(labeling, label, sizes) if follows and len(set(sizes)) == 1 else None
    if found is None:
        labeling.fix(x, "it is cut at a number in the model's code", [axis])
        return [(*labels[:axis], None, *labels[axis + 1 :])] * len(pieces)
    labeling.join(found)
    for size in given:
        labeling.follow(size, found[0], "cut")
    return [(*labels[:axis], found[0], *labels[axis + 1 :])] * len(pieces)


def unbind(labeling: Labeling, node: fx.Node) -> list[Labels] | None:
    """Take an axis apart."""
    labels = labeling.of(source_of(node))
    dim = argument(node, 1, "dim", default=0)
    if not isinstance(dim, int):
        return None
    axis = dim % len(labels)
    labeling.groups.fix(labels[axis], "the model takes it apart")
    return [(*labels[:axis], *labels[axis + 1 :])] * len(node.meta["value"])


def glu(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Multiply the first half by what the second half says."""
    labels = labeling.of(source_of(node))
    dim = argument(node, 1, "dim", default=-1)
    if node.op == "call_module":
        dim = labeling.modules[str(node.target)].dim
    axis = dim % len(labels)
    if (label := labels[axis]) is None:
        return labels
    half = value_of(node).shape[axis]
    found = sections(labeling, label, [half, half])
    if found is None:
        return None
    return (*labels[:axis], labeling.join(found), *labels[axis + 1 :])


def shuffle(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Deal the channels of groups out in turn."""
    labels = labeling.of(source_of(node))
    count = argument(node, 1, "groups")
    if node.op == "call_module":
        count = labeling.modules[str(node.target)].groups
    if (label := labels[1]) is None or not isinstance(count, int):
        return labels if isinstance(count, int) else None
    found = _along(labeling, label, [count, size_of(label) // count], 1)
    return None if found is None else (labels[0], repeated(found, count), *labels[2:])


def pixel_shuffle(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Neighboring channels become neighboring pixels."""
    labels, times = labeling.of(source_of(node)), _times(node)
    if any(labels[2:]):
        return None
    if (label := labels[1]) is None:
        return labels
    found = _narrower(labeling, label, times)
    return None if found is None else (labels[0], found, *labels[2:])


def pixel_unshuffle(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Neighboring pixels become neighboring channels."""
    labels = labeling.of(source_of(node))
    if any(labels[2:]):
        return None
    label = labels[1]
    whole = None if label is None else repeated(label, 1)
    times = value_of(node).shape[1] // value_of(source_of(node)).shape[1]
    return (labels[0], None if whole is None else repeated(whole, times), *labels[2:])


def _times(node: fx.Node) -> int:
    return value_of(source_of(node)).shape[1] // value_of(node).shape[1]


# -- several values ------------------------------------------------------------------------------


def _listed(node: fx.Node) -> list[fx.Node] | None:
    parts = argument(node, 0, "tensors")
    if not isinstance(parts, tuple | list):
        return None
    return [part for part in parts if isinstance(part, fx.Node)]


def concatenate(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Put values one after the other."""
    nodes, dim = _listed(node), argument(node, 1, "dim", "axis", default=0)
    if nodes is None or not isinstance(dim, int):
        return None
    nodes = [n for n in nodes if value_of(n).ndim == value_of(node).ndim]
    rank = value_of(node).ndim
    out: list[Label | None] = []
    for axis in range(rank):
        labels = [labeling.of(n)[axis] for n in nodes]
        if axis == dim % rank:
            if any(labels):
                fixed = "some of its channels are made by no layer"
                whole = [
                    labeling.groups.new(value_of(n).shape[axis], fixed=[fixed])
                    if label is None
                    else label
                    for n, label in zip(nodes, labels, strict=True)
                ]
                out.append(tuple(itertools.chain.from_iterable(whole)))
            else:
                out.append(None)
            continue
        found = [label for label in labels if label is not None]
        out.append(labeling.join(found))
        if 0 < len(found) < len(labels):
            labeling.groups.fix(found[0], "it lies beside a width that no layer makes")
    return tuple(out)


def stack(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Put values side by side, along an axis more."""
    nodes, dim = _listed(node), argument(node, 1, "dim", default=0)
    if nodes is None or not isinstance(dim, int):
        return None
    shape = value_of(nodes[0]).shape
    labels = list(combined(labeling, node, nodes, shape))
    labels.insert(dim % value_of(node).ndim, None)
    return tuple(labels)


def product(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Multiply matrices."""
    a, b = node.args[0], node.args[1] if len(node.args) > 1 else None
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node):
        return None
    if min(value_of(a).ndim, value_of(b).ndim) < 2:
        return None
    left, right = labeling.of(a), labeling.of(b)
    _contract(labeling, (a, left[-1]), (b, right[-2]))
    shape = value_of(node).shape
    batch = _batch(labeling, [(a, 2), (b, 2)], shape[:-2])
    return *batch, left[-2], right[-1]


def _contract(
    labeling: Labeling, one: tuple[fx.Node, Label | None], other: tuple[fx.Node, Label | None]
) -> None:
    """Two axes are multiplied and summed up: they are equally wide."""
    (a, first), (b, second) = one, other
    if first is not None and second is not None:
        labeling.groups.join(first, second)
    for label, partner in ((first, b), (second, a)):
        if label is not None and (first is None or second is None):
            labeling.groups.fix(label, f"it is combined with {_described(partner)}")


def _batch(
    labeling: Labeling, operands: Sequence[tuple[fx.Node, int]], shape: Sequence[int]
) -> Labels:
    """Return the labels of the axes before the last few, which are spread over one another."""
    out: list[Label | None] = [None] * len(shape)
    for back in range(1, len(shape) + 1):
        found: list[tuple[fx.Node, Label | None]] = []
        bare: list[tuple[fx.Node, Label | None]] = []
        for n, skipped in operands:
            rank = value_of(n).ndim - skipped
            if back <= rank and value_of(n).shape[rank - back] == shape[-back] != 1:
                label = labeling.of(n)[rank - back]
                (found if label is not None else bare).append((n, label))
        out[-back] = labeling.join(label for _, label in found)
        for n, _ in bare if found else ():
            labeling.groups.fix(out[-back], f"it is combined with {_described(n)}")
    return tuple(out)


def attention(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Attend: scaled dot product attention."""
    names = ("query", "key", "value")
    given = [argument(node, place, name) for place, name in enumerate(names)]
    if not all(isinstance(n, fx.Node) for n in given):
        return None
    query, key, value = given
    mask = argument(node, 3, "attn_mask")
    operands = [(n, 2) for n in (query, key, value, mask) if isinstance(n, fx.Node)]
    _contract(labeling, (query, labeling.of(query)[-1]), (key, labeling.of(key)[-1]))
    _contract(labeling, (key, labeling.of(key)[-2]), (value, labeling.of(value)[-2]))
    batch = _batch(labeling, operands, value_of(node).shape[:-2])
    return *batch, labeling.of(query)[-2], labeling.of(value)[-1]


def sum_of_products(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Do what an equation of Einstein's sums says."""
    equation, *operands = node.args
    if operands and isinstance(operands[0], tuple | list):
        operands = list(operands[0])
    if not isinstance(equation, str) or "..." in equation or "->" not in equation:
        return None
    left, right = equation.replace(" ", "").split("->")
    letters: dict[str, list[tuple[Any, Label | None]]] = {}
    for term, operand in zip(left.split(","), operands, strict=True):
        if not isinstance(operand, fx.Node) or len(set(term)) < len(term):
            return None
        for letter, label in zip(term, labeling.of(operand), strict=True):
            letters.setdefault(letter, []).append((operand, label))
    found: dict[str, Label | None] = {}
    for letter, uses in letters.items():
        found[letter] = labeling.join(label for _, label in uses)
        for operand, label in uses if found[letter] is not None else ():
            if label is None:
                why = f"it is combined with {_described(operand)}"
                labeling.groups.fix(found[letter], why)
    return tuple(found[letter] for letter in right)


# -- with parameters among the arguments ---------------------------------------------------------


def functional_norm(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Normalize the last axis, with a scale and a shift that may be given."""
    x = source_of(node)
    labels, shape = labeling.of(x), argument(node, 1, "normalized_shape")
    if not isinstance(shape, tuple | list) or len(shape) != 1:
        return None
    given = [argument(node, 2, "weight")]
    if "layer" in node.name:  # the fourth of an RMS norm is a number
        given.append(argument(node, 3, "bias"))
    last = _beside(labeling, labels[-1], given)
    if last is not None:
        labeling.follow(shape[0], last, "normalized")
    return *labels[:-1], last


def functional_group_norm(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Normalize groups of channels."""
    labels, count = labeling.of(source_of(node)), argument(node, 1, "num_groups")
    if not isinstance(count, int):
        return None
    channels = _beside(
        labeling, labels[1], (argument(node, 2, "weight"), argument(node, 3, "bias"))
    )
    if channels is not None and count > 1:
        labeling.groups.keep_multiple(channels, int(count))
    return labels[0], channels, *labels[2:]


def functional_linear(labeling: Labeling, node: fx.Node) -> Labels | None:
    """Multiply by a matrix that is given."""
    x, weight = source_of(node), argument(node, 1, "weight")
    if not isinstance(weight, fx.Node) or value_of(weight).ndim != 2:
        return None
    labels, matrix = labeling.of(x), labeling.of(weight)
    _contract(labeling, (x, labels[-1]), (weight, matrix[1]))
    return *labels[:-1], _beside(labeling, matrix[0], (argument(node, 2, "bias"),))


def _beside(labeling: Labeling, label: Label | None, given: Sequence[Any]) -> Label | None:
    """Return the width of channels that have each a number in some vectors."""
    nodes = [n for n in given if isinstance(n, fx.Node)]
    labels = [labeling.of(n)[0] if len(labeling.of(n)) == 1 else None for n in nodes]
    joined = labeling.join([label, *labels])
    if joined is not None and (label is None or None in labels):
        labeling.groups.fix(joined, "it is combined with a width that no layer makes")
    return joined


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *("add", "sub", "subtract", "mul", "multiply", "div", "divide", "truediv"),
            *("true_divide", "floor_divide", "floordiv", "rsub", "neg", "negative", "pow", "mod"),
            *("remainder", "fmod", "iadd", "isub", "imul", "itruediv", "maximum", "minimum"),
            *("where", "masked_fill", "lerp", "addcmul", "addcdiv", "copysign", "atan2"),
            *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "logical_and"),
            *("logical_or", "logical_xor", "logical_not", "invert", "isnan", "isinf", "isfinite"),
            *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish"),
            *("rrelu", "hardswish", "hardsigmoid", "hardtanh", "hardshrink", "softshrink"),
            *("tanhshrink", "threshold", "sigmoid", "tanh", "softplus", "softsign", "logit"),
            *("logsigmoid", "softmax", "softmin", "log_softmax", "gumbel_softmax", "normalize"),
            *("abs", "absolute", "sign", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p"),
            *("sqrt", "rsqrt", "square", "reciprocal", "erf", "erfc", "sin", "cos", "tan", "sinh"),
            *("cosh", "asin", "acos", "atan", "floor", "ceil", "round", "trunc", "frac"),
            *("clamp", "clip", "clamp_min", "clamp_max", "nan_to_num", "dropout", "dropout1d"),
            *("dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "contiguous"),
            *("feature_alpha_dropout", "clone", "detach", "to", "type", "float", "double", "half"),
            *("bfloat16", "bool", "int", "long", "cpu", "cuda", "type_as", "requires_grad"),
            *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"),
            *("bernoulli", "zero", "fill", "copy", "expand_as", "stochastic_depth", "identity"),
            *("drop_path", "swish", "hard_swish", "hard_sigmoid", "bitwise_and", "bitwise_or"),
            *("pos", "add_", "mul_", "instance_norm", "local_response_norm", "lrn"),
        ),
        elementwise,
    ),
    **dict.fromkeys(
        (
            *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
            *("boolean_dispatch", "lp_pool1d", "lp_pool2d", "adaptive_avg_pool1d"),
            *("adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d"),
            *(
                "adaptive_max_pool2d",
                "adaptive_max_pool3d",
                "interpolate",
                "upsample",
                "grid_sample",
            ),
        ),
        keep_channels,
    ),
    "pad": pad,
    **dict.fromkeys(("max_pool1d_with_indices", "max_pool2d_with_indices"), pooled_pair),
    **dict.fromkeys(
        (
            *("mean", "sum", "amax", "amin", "var", "std", "prod", "logsumexp", "all", "any"),
            *("median", "nanmean", "nansum", "var_mean", "std_mean", "max", "min", "argmax"),
            "argmin",
        ),
        reduce,
    ),
    **dict.fromkeys(("norm", "vector_norm", "linalg_vector_norm"), norm),
    "permute": permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "t"), transpose),
    **dict.fromkeys(("movedim", "moveaxis"), move),
    "getattr": attribute,
    "unsqueeze": unsqueeze,
    **dict.fromkeys(("flatten", "squeeze", "ravel"), flatten),
    "unflatten": unflatten,
    **dict.fromkeys(("reshape", "view"), reshape),
    **dict.fromkeys(("view_as", "reshape_as"), shaped_like),
    **dict.fromkeys(("expand", "broadcast_to"), expand),
    **dict.fromkeys(("repeat", "tile"), repeat),
    "repeat_interleave": repeat_each,
    "flip": flip,
    "roll": roll,
    "getitem": index,
    "chunk": chunk,
    **dict.fromkeys(("split", "split_with_sizes"), split),
    "unbind": unbind,
    "glu": glu,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), shuffle),
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    **dict.fromkeys(("cat", "concat", "concatenate"), concatenate),
    "stack": stack,
    **dict.fromkeys(("matmul", "bmm", "mm"), product),
    "scaled_dot_product_attention": attention,
    "einsum": sum_of_products,
    **dict.fromkeys(("layer_norm", "rms_norm"), functional_norm),
    "group_norm": functional_group_norm,
    "linear": functional_linear,
}
