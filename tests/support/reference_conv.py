"""Slow, independent truth of convolutions in NumPy, one tap of the kernel at a time."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np


class Maps(NamedTuple):
    """A convolution y, and the gradients of sum(y dy) with respect to the input and the kernel."""

    forward: np.ndarray
    input_gradient: np.ndarray
    kernel_gradient: np.ndarray


def output_size(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: int
) -> tuple[int, ...]:
    """[H', W'], by moving the kernel until it leaves the padded image."""
    found = []
    for length, edge in zip(size, kernel, strict=True):
        place = 0
        while stride * place + edge <= length + 2 * padding:
            place += 1
        found.append(place)
    return tuple(found)


def taps(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: int
) -> Iterator[tuple[int, ...]]:
    """All (i, j, r, s, u, v): the output (i, j) reads the pixel (r, s) with the weight (u, v)."""
    for i, j in np.ndindex(output_size(size, kernel, stride, padding)):
        for u, v in np.ndindex(kernel):
            r, s = stride * i + u - padding, stride * j + v - padding
            if 0 <= r < size[0] and 0 <= s < size[1]:
                yield i, j, r, s, u, v


def convolution(x: np.ndarray, w: np.ndarray, dy: np.ndarray, stride: int, padding: int) -> Maps:
    """All three maps in float64."""
    maps = Maps(np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape))
    for i, j, r, s, u, v in taps(x.shape[1:3], w.shape[:2], stride, padding):
        maps.forward[:, i, j] += x[:, r, s] @ w[u, v]
        maps.input_gradient[:, r, s] += dy[:, i, j] @ w[u, v].T
        maps.kernel_gradient[u, v] += x[:, r, s].T @ dy[:, i, j]
    return maps


def winograd(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, rounded: Callable[[np.ndarray], np.ndarray]
) -> Maps:
    """The maps for k4 s2 p1 by products of transformed and rounded factors, tile by tile."""
    to_x = np.array([[1, -1, 0], [0, 1, 0], [0, 1, -1]])  # products from cells
    to_w = np.array([[1, 0], [1, 1], [0, 1]])  # products from the kernel
    to_y = np.array([[1, 0], [1, 1], [0, -1]])  # products from outputs
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    maps = Maps(np.zeros(dy.shape), np.zeros(padded.shape), np.zeros(w.shape))
    weights = w.reshape(2, 2, 2, 2, *w.shape[2:]).swapaxes(1, 2)  # [cell, cell, 2, 2, C, O]
    m_w = rounded(np.einsum("kp,lq,pqabco->klabco", to_w, to_w, weights))
    for b, i, j in np.ndindex(len(x), dy.shape[1] // 2, dy.shape[2] // 2):
        rows, columns = slice(4 * i, 4 * i + 6), slice(4 * j, 4 * j + 6)
        outputs = (b, slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
        cells = padded[b, rows, columns].reshape(3, 2, 3, 2, -1).swapaxes(1, 2)
        m_x = rounded(np.einsum("kp,lq,pqabc->klabc", to_x, to_x, cells))
        m_y = rounded(np.einsum("ki,lj,ijo->klo", to_y, to_y, dy[outputs]))
        y = np.einsum("klabc,klabco->klo", m_x, m_w)
        maps.forward[outputs] = np.einsum("ki,lj,klo->ijo", to_y, to_y, y)
        dx = np.einsum("klo,klabco->klabc", m_y, m_w)
        dx = np.einsum("kp,lq,klabc->paqbc", to_x, to_x, dx).reshape(6, 6, -1)
        maps.input_gradient[b, rows, columns] += dx
        dw = np.einsum("klabc,klo->klabco", m_x, m_y)
        dw = np.einsum("kp,lq,klabco->paqbco", to_w, to_w, dw).reshape(w.shape)
        maps.kernel_gradient[:] += dw
    return maps._replace(input_gradient=maps.input_gradient[:, 1:-1, 1:-1])
