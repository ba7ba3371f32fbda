"""How far one tensor is from another, in units of what is allowed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MISTAKE_MARGIN = 4.0  # a mistake must go this many tolerances past the right answer
PRECISIONS = {  # name of a precision: distance from 1 to the next number, smallest normal number
    "float64": (2.0**-52, 2.0**-1022),
    "float32": (2.0**-23, 2.0**-126),
    "float16": (2.0**-10, 2.0**-14),
    "bfloat16": (2.0**-7, 2.0**-126),
}


def shares(
    got: NDArray[np.floating], wanted: NDArray[np.floating], bound: NDArray[np.floating] | float
) -> NDArray[np.float64]:
    """Return |got - wanted| / bound for every element: above 1 is wrong.

    Where the two are equal the share is 0, also at bound 0 and at infinities. Non-finite values
    are compared by kind: one that is not met by its like has the share inf.
    """
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    with np.errstate(all="ignore"):
        share = np.abs(got - wanted) / bound
    share = np.where(np.isnan(share), np.inf, share)  # NaN on one side, or inf - inf
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    return np.where(same, 0.0, share)
