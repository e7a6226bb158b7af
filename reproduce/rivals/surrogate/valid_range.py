"""Which architectures the surrogate can speak of: those like the ones that it has learned from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from prototxt_gen.notation import Architecture, Layer
from reproduce.rivals.surrogate.features import DEPTH, LOG_PARAMETERS

Floats = NDArray[np.float64]

_QUANTILE = 0.99


class ValidRange:
    """The range of some architectures.

    An architecture is in it if its depth and parameters lie between the least and the most of
    theirs, each of its layers and each succession of two layer types occurs among them, and its
    nearest neighbour is no farther than for 99 % of them their own nearest other one.
    Distances are Euclidean, of features in units of their standard deviation.
    """

    def __init__(self, architectures: Sequence[Architecture], features: Floats) -> None:
        self._layers = {str(x) for net in architectures for x in net.without_dropout()}
        self._pairs = {pair for net in architectures for pair in _successions(net)}
        self._low, self._high = features.min(axis=0), features.max(axis=0)
        self._scaler = StandardScaler().fit(features)
        scaled = self._scaler.transform(features)
        self._neighbours = NearestNeighbors(n_neighbors=1).fit(scaled)
        distances, _ = NearestNeighbors(n_neighbors=2).fit(scaled).kneighbors(scaled)
        self.farthest = float(np.quantile(distances[:, 1], _QUANTILE))

    def problems(self, nets: Sequence[Architecture], features: Floats) -> list[str | None]:
        """Why each architecture lies outside, in one phrase; None if it does not."""
        distances, _ = self._neighbours.kneighbors(self._scaler.transform(features))
        return [
            self._problem(net, row, float(distance))
            for net, row, distance in zip(nets, features, distances[:, 0], strict=True)
        ]

    def _problem(self, net: Architecture, features: Floats, distance: float) -> str | None:
        for index, name, unit in (
            (DEPTH, "depth", np.asarray),
            (LOG_PARAMETERS, "parameters", np.exp),
        ):
            value, low, high = features[index], self._low[index], self._high[index]
            if not low - 1e-9 <= value <= high + 1e-9:
                shown = [f"{float(unit(x)):,.0f}" for x in (value, low, high)]
                return f"{name} {shown[0]} is not within {shown[1]} to {shown[2]}"
        for layer in net.without_dropout():
            if str(layer) not in self._layers:
                return f"no net that was trained has {layer}"
        for pair in _successions(net):
            if pair not in self._pairs:
                return f"in no net that was trained {pair[1]} follows {pair[0]}"
        if distance > self.farthest:
            most = f"farther than {self.farthest:.1f}"
            return f"its nearest trained net is {distance:.1f} away, {most}"
        return None


def _successions(architecture: Architecture) -> list[tuple[str, str]]:
    names = ["the image", *map(_kind, architecture.without_dropout())]
    return list(pairwise(names))


def _kind(layer: Layer) -> str:
    return str(layer).partition("(")[0]
