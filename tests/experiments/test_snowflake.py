"""The snowflake's geometry against closed forms."""

import numpy as np
import pytest

from lipbench.experiments.snowflake import HEIGHT, distances, inside, outline, pixels, snowflake

SIDE = HEIGHT / 2 * np.sqrt(3)  # of the triangle that it starts from


@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_the_snowflake_has_the_perimeter_and_the_area_of_von_koch(iterations):
    corners = snowflake(iterations)
    steps = np.roll(corners, -1, axis=0) - corners
    lengths = np.linalg.norm(steps, axis=1)
    assert len(corners) == 3 * 4**iterations
    np.testing.assert_allclose(lengths, SIDE / 3**iterations)
    area = abs(np.sum(corners[:, 0] * steps[:, 1] - corners[:, 1] * steps[:, 0])) / 2
    triangle = np.sqrt(3) / 4 * SIDE**2
    np.testing.assert_allclose(area, triangle * (8 - 3 * (4 / 9) ** iterations) / 5)
    assert 0 < corners.min() < corners.max() < 1


def test_distances_are_those_to_the_nearest_point_of_the_polygon():
    corners = snowflake(2)
    points = np.random.default_rng(0).uniform(0, 1, (1203, 2))
    fine = outline(corners, 200)
    nearest = np.linalg.norm(points[:, None] - fine[None], axis=2).min(axis=1)
    found = distances(points, corners)
    assert (found <= nearest + 1e-12).all()
    np.testing.assert_allclose(found, nearest, atol=1.1 * SIDE / 9 / 400)  # half of the spacing of the fine points
    np.testing.assert_allclose(distances(fine, corners), 0, atol=1e-12)


def test_the_triangle_is_the_first_iteration_by_hand():
    corners = snowflake(0)
    inner = HEIGHT / 4  # radius of the inscribed circle
    np.testing.assert_allclose(distances(np.array([[0.5, 0.5]]), corners), inner)
    assert inside(np.array([[0.5, 0.5], [0.5, 0.5 - inner - 0.01], [0.01, 0.01]]), corners).tolist() == [
        True,
        False,
        False,
    ]


def test_pixels_are_centres_row_by_row():
    np.testing.assert_allclose(pixels(2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
