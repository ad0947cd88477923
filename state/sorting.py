"""Sorting and selecting in compiled code.

`sorted_from` and `sorted_with` are a radix sort of 64-bit numbers that leaves their lowest bits
out: `numpy.sort` takes 60 ns a number of four million on an AMD EPYC (30 November 2026), this sort
11. `kth_smallest` and `order_of` are for other kernels to call. numba's own np.partition takes nine
seconds to compile wherever it is used, np.sort and np.argsort two to three; these take less than
one.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from state.kernel import I32, I64, U64

__all__ = ["kth_smallest", "order_of", "sorted_from", "sorted_with"]

#: Most bits that one pass sorts by. With more, the places written to are too many for the caches
#: of a core, and with fewer there are more passes: 10 and 11 were the fastest of 7 to 13.
_PASS_BITS = 11


def sorted_from(keys: U64, first: int) -> U64:
    """Return numbers sorted by their bits from `first` on; equal ones keep their order.

    keys: overwritten. What is returned may be the same array.
    """
    return sorted_with(keys, np.empty(0, np.int32), first)[0]


def sorted_with(keys: U64, values: I32, first: int) -> tuple[U64, I32]:
    """Sort as `sorted_from` does, each value with its key; both arrays are overwritten."""
    # The greatest number has as many bits as all of them together.
    end = int(np.bitwise_or.reduce(keys)).bit_length()
    into, values_into = np.empty_like(keys), np.empty_like(values)
    found: tuple[U64, I32] = _sorted(keys, into, values, values_into, first, end)
    return found


@njit(cache=True)
def _sorted(
    keys: U64, keys_into: U64, values: I32, values_into: I32, first: int, end: int
) -> tuple[U64, I32]:
    """Sort by the bits in [first, end), the lowest digit first; values are moved along, if any."""
    n, carries = np.uint64(len(keys)), len(values) > 0
    bits = max(end - first, 1)
    passes = -(-bits // _PASS_BITS)
    width = -(-bits // passes)
    counts = np.zeros((passes, 1 << width), np.uint64)
    mask, step = np.uint64((1 << width) - 1), np.uint64(width)
    for row in range(n):
        left = keys[row] >> np.uint64(first)
        for turn in range(passes):
            counts[turn, left & mask] += np.uint64(1)
            left >>= step
    for turn in range(passes):
        places = counts[turn]
        most, begin = np.uint64(0), np.uint64(0)
        for digit in range(len(places)):
            here = places[digit]
            places[digit] = begin
            begin += here
            most = max(most, here)
        if most == n:
            continue  # all are equal in this digit
        shift = np.uint64(first + turn * width)
        for row in range(n):
            digit = (keys[row] >> shift) & mask
            place = places[digit]
            places[digit] = place + np.uint64(1)
            keys_into[place] = keys[row]
            if carries:
                values_into[place] = values[row]
        keys, keys_into = keys_into, keys
        values, values_into = values_into, values
    return keys, values


@njit(cache=True, nogil=True)
def kth_smallest(values: npt.NDArray[Any], k: int) -> Any:
    """Return the k-th smallest of numbers [n], 0 <= k < n; they are put into another order.

    Hoare's quickselect. No number is NaN.
    """
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if k <= right:
            high = right
        elif k >= left:
            low = left
        else:
            break
    return values[k]


@njit(cache=True, nogil=True)
def order_of(values: npt.NDArray[Any]) -> I64:
    """Return the places of numbers [n] in ascending order, equal ones as they stand; i64 [n].

    A merge sort from the bottom up. No number is NaN.
    """
    n = len(values)
    order, into = np.arange(n), np.empty(n, np.int64)
    width = 1
    while width < n:
        for begin in range(0, n, 2 * width):
            middle, end = min(begin + width, n), min(begin + 2 * width, n)
            left, right = begin, middle
            for at in range(begin, end):
                if right == end or (left < middle and values[order[left]] <= values[order[right]]):
                    into[at] = order[left]
                    left += 1
                else:
                    into[at] = order[right]
                    right += 1
        order, into = into, order
        width *= 2
    return order
