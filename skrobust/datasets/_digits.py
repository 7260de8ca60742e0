"""scikit-learn's digits as images."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

__all__ = ["load_digits_images"]


def load_digits_images(*, return_X_y: bool = False) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """1,797 handwritten digits as images (n, 1, 8, 8) with values in [0, 1].

    They come with scikit-learn, so this works anywhere; each pixel has 17 levels, 1/16 apart.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    Bunch or tuple
        ``data`` float32 of shape (1797, 1, 8, 8), ``target`` int64 of shape (1797,),
        ``target_names``, ``DESCR``.

    Examples
    --------
    >>> from skrobust.datasets import load_digits_images
    >>> X, y = load_digits_images(return_X_y=True)
    >>> X.shape, X.dtype, float(X.max())
    ((1797, 1, 8, 8), dtype('float32'), 1.0)
    """
    digits = load_digits()
    X = (digits.images[:, None] / 16).astype(np.float32)
    y = digits.target.astype(np.int64)
    if return_X_y:
        return X, y
    return Bunch(data=X, target=y, target_names=digits.target_names, DESCR=digits.DESCR)
