"""What the smoothed models share of their docstrings, written once."""

from __future__ import annotations

import inspect

__all__ = ["document"]

BLOCKS = {
    "{training}": """
n_augment : int, default=4
    Noisy copies of each row that the estimator is fitted to; 0: the rows as they are.
""",
    "{sampling}": """
batch_size : int, optional
    Noisy rows in one call of the estimator; by default up to 100,000.
n_jobs : int, optional
    Processes that share the rows, as in scikit-learn.
random_state : int, RandomState or None, default=None
    Of the noise. Drawn once, in ``fit``: a fitted model answers the same twice, whatever the
    batches, the processes and the rows beside.
""",
    "{attributes}": """
threat_ : threat
    Bound to the rows of ``fit``.
noise_ : object
    ``std`` (shape of a row, in the units of X) and ``seed``.
n_features_in_ : int

See Also
--------
skrobust.certify : Proofs for any model; it calls this one's by itself.

Notes
-----
The promise is statistical: each row's holds with probability ``confidence``, over the draw of
the noise, for moved rows that were chosen without knowing that draw.""",
}


def document(cls: type) -> type:
    """Fill the blocks above into a class docstring."""
    doc = inspect.cleandoc(cls.__doc__)
    for mark, block in BLOCKS.items():
        doc = doc.replace(mark, block.strip("\n"))
    cls.__doc__ = doc
    return cls
