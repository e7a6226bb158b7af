"""What figures 4-3 and 4-5 of the thesis say of the same nets.

Read off the coordinates of the PDF's vector graphics (August 2017, pages 52 and 55), to two
decimals. They are of 10 repetitions with 100 nets to learn from. Their nets are the first 1,000
of each published file: of these, the R² of the last accuracy seen is the figure's.
"""

from __future__ import annotations

NETS = 1000

SVR, LAST_SEEN = "ν-SVR", "last seen"

R2: dict[str, dict[str, dict[int, float]]] = {
    "cifar10": {
        SVR: {2: 0.84, 5: 0.94, 10: 0.99, 15: 1.00},
        LAST_SEEN: {5: 0.50, 10: 0.97, 15: 1.00},
    },
    "svhn": {
        SVR: {2: 0.57, 5: 0.68, 10: 0.84, 15: 0.95},
        LAST_SEEN: {5: -0.56, 10: 0.92, 15: 1.00},
    },
}
"""Coefficient of determination by method and epochs observed (Figure 4-3, Gaussian kernel)."""

SPEED_UP: dict[str, dict[tuple[int, float], dict[float, float]]] = {
    "cifar10": {
        (1, 0.0): {0.90: 5.63, 0.95: 5.11, 0.99: 4.35},
        (10, 0.0): {0.90: 4.35, 0.95: 3.94, 0.99: 3.38},
        (1, 0.01): {0.90: 5.25, 0.95: 4.72, 0.99: 3.97},
    },
    "svhn": {
        (1, 0.0): {0.90: 2.66, 0.95: 2.31, 0.99: 1.94},
        (10, 0.0): {0.90: 2.40, 0.95: 2.12, 0.99: 1.82},
        (1, 0.01): {0.90: 2.16, 0.95: 1.94, 0.99: 1.70},
    },
}
"""Factor by ν-SVR's rank and offset, and threshold (Figure 4-5).

In more than half of the orders each of them found the best net.
"""
