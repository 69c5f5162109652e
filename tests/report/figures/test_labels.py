import itertools
import random

from supernet.report.figures.labels import Box, place

FRAME = Box(0, 0, 400, 400)


def test_a_tight_cluster_gets_labels_that_cover_nothing_and_stay_inside() -> None:
    rng = random.Random(0)
    points = [(200 + rng.uniform(-8, 8), 200 + rng.uniform(-8, 8)) for _ in range(9)]
    boxes = place(points, [(40.0, 10.0)] * 9, [], FRAME, radius=3, gap=1)
    dots = [Box(x - 3, y - 3, x + 3, y + 3) for x, y in points]
    for a, b in itertools.combinations([*boxes, *dots], 2):
        if not (a in dots and b in dots):
            assert a.overlap(b) == 0
    assert all(box.area_outside(FRAME) == 0 for box in boxes)


def test_same_points_same_places() -> None:
    points = [(10.0, 10.0), (12.0, 10.0)]
    first, second = (place(points, [(30.0, 8.0)] * 2, [], FRAME, radius=3, gap=1) for _ in range(2))
    assert first == second


def test_no_room_at_all_still_ends() -> None:
    points = [(1.0, 1.0)] * 4
    assert len(place(points, [(50.0, 50.0)] * 4, [], Box(0, 0, 2, 2), radius=3, gap=1)) == 4
