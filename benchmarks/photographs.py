"""Crops of scikit-learn's two colour photographs, the test crops of parts that no training crop touches."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_sample_images

SIDE = 32  # of a crop
SHAPE = (SIDE, SIDE, 3)
_TILE = 64
_TEST_SHARE = 0.2  # of the tiles


class Crops(NamedTuple):
    """The crops [N, 32, 32, 3] of each part, and of how many distinct pixels of the photographs they are made."""

    train: np.ndarray
    test: np.ndarray
    train_pixels: int
    test_pixels: int


class _Tiles(NamedTuple):
    """Parts of the photographs, and which of their pixels a crop has touched."""

    images: list[np.ndarray]
    touched: list[np.ndarray]

    def crops(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """So many crops at random places within a tile each."""
        crops = []
        for _ in range(count):
            i = generator.integers(len(self.images))
            top, left = generator.integers(_TILE - SIDE + 1, size=2)
            place = slice(top, top + SIDE), slice(left, left + SIDE)
            crops.append(self.images[i][place])
            self.touched[i][place] = True
        return np.stack(crops)

    def pixels(self) -> int:
        """How many have been touched."""
        return sum(int(touched.sum()) for touched in self.touched)


def make_crops(train_count: int = 10_000, test_count: int = 2_000) -> Crops:
    """The photographs are cut into tiles of 64x64; a fifth of them, drawn at random, gives the test crops."""
    generator = np.random.default_rng(0)
    train, test = _Tiles([], []), _Tiles([], [])
    for photograph in load_sample_images().images:
        for top in range(0, photograph.shape[0] - _TILE + 1, _TILE):
            for left in range(0, photograph.shape[1] - _TILE + 1, _TILE):
                tiles = test if generator.random() < _TEST_SHARE else train
                tiles.images.append(photograph[top : top + _TILE, left : left + _TILE])
                tiles.touched.append(np.zeros((_TILE, _TILE), bool))
    train_crops, test_crops = train.crops(train_count, generator), test.crops(test_count, generator)
    return Crops(train_crops, test_crops, train.pixels(), test.pixels())
