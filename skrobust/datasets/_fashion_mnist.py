"""Fashion-MNIST: from the files of Debian's package, a folder of one's own, or OpenML."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml
from sklearn.utils import Bunch, check_random_state

from skrobust.exceptions import invalid

__all__ = ["fashion_mnist_available", "load_fashion_mnist"]

ENVIRONMENT = "SKROBUST_DATA"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
OPENML_ID = 40996  # 70,000 rows: the 60,000 of training, then the 10,000 of testing
N_TRAIN = 60_000
FILES = {"train": "train", "test": "t10k"}
NAMES = (
    "t-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
DESCR = """Fashion-MNIST: 70,000 photographs of clothes in grey, 28 x 28 pixels, ten classes of
equal size (60,000 rows to train on, 10,000 to test on).

Xiao, Rasul, Vollgraf. "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms". 2017. arXiv:1708.07747. MIT licence.
"""


def load_fashion_mnist(
    *,
    subset: str = "train",
    n_rows: int | None = None,
    return_X_y: bool = False,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Photographs of clothes as images (n, 1, 28, 28) with values in [0, 1].

    The files are looked for in ``data_home``, in the folder named by the environment variable
    ``SKROBUST_DATA``, and where Debian's and Ubuntu's package ``dataset-fashion-mnist`` puts them.
    If they are nowhere, they are fetched from OpenML, and cached, by scikit-learn.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        The 60,000 rows to train on or the 10,000 to test on.
    n_rows : int, optional
        Only so many of them: the first ones, or with ``random_state`` a random choice.
    return_X_y : bool, default=False
        Return ``(X, y)`` instead of a Bunch.
    data_home : path, optional
        Folder that holds the four files ``train-images-idx3-ubyte.gz``, ..., or a folder
        ``fashion-mnist`` with them; also scikit-learn's ``data_home`` for the download.
    download_if_missing : bool, default=True
        Whether OpenML may be asked.
    random_state : int or RandomState, optional
        Draws the ``n_rows`` rows.

    Returns
    -------
    Bunch or tuple
        ``data`` float32 of shape (n, 1, 28, 28), ``target`` int64 of shape (n,), ``target_names``,
        ``DESCR``.

    Raises
    ------
    OSError
        When the files are nowhere and the download is not allowed or fails; the message says how
        to get them.
    ValueError, TypeError
        For an unknown subset, for more rows than there are, for a file that is something else.

    Examples
    --------
    >>> from skrobust.datasets import fashion_mnist_available, load_fashion_mnist
    >>> if fashion_mnist_available():
    ...     X, y = load_fashion_mnist(subset="test", n_rows=100, return_X_y=True)
    ...     assert X.shape == (100, 1, 28, 28) and 0 <= X.min() <= X.max() <= 1
    """
    if subset not in FILES:
        raise invalid("subset", subset, "'train' or 'test'")
    folder = _find(data_home)
    if folder is not None:
        images, y = _read_folder(folder, FILES[subset])
    else:
        images, y = _fetch(subset, data_home, download_if_missing)
    rows = _choose(len(y), n_rows, random_state)
    X = images[rows].reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(255)
    y = y[rows].astype(np.int64)
    if return_X_y:
        return X, y
    return Bunch(data=X, target=y, target_names=np.array(NAMES), DESCR=DESCR)


def fashion_mnist_available(data_home: str | os.PathLike | None = None) -> bool:
    """Whether :func:`load_fashion_mnist` finds its files without a download.

    Parameters
    ----------
    data_home : path, optional
        A folder to look in first.

    Returns
    -------
    bool

    Examples
    --------
    >>> from skrobust.datasets import fashion_mnist_available
    >>> fashion_mnist_available() in (True, False)
    True
    """
    return _find(data_home) is not None


def _places(data_home: str | os.PathLike | None) -> list[Path]:
    given = [data_home, os.environ.get(ENVIRONMENT)]
    own = [Path(folder).expanduser() for folder in given if folder]
    return [place for folder in own for place in (folder, folder / "fashion-mnist")] + [DEBIAN]


def _find(data_home: str | os.PathLike | None) -> Path | None:
    """The first folder that holds all four files."""
    for place in _places(data_home):
        if all(
            _file(place, part, kind) for part in FILES.values() for kind in ("images", "labels")
        ):
            return place
    return None


def _file(folder: Path, part: str, kind: str) -> Path | None:
    name = f"{part}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
    found = [path for path in (folder / f"{name}.gz", folder / name) if path.is_file()]
    return found[0] if found else None


def _read_folder(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images = read_idx(_file(folder, part, "images"))
    labels = read_idx(_file(folder, part, "labels"))
    if images.shape[1:] != (28, 28) or labels.shape != (len(images),):
        raise ValueError(
            f"{folder} does not hold Fashion-MNIST: its {part} files have images of shape "
            f"{images.shape} and labels of shape {labels.shape}."
        )
    return images, labels


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes from a file in the format of MNIST, gzipped or not.

    Two zero bytes, the type (8: unsigned bytes), the number of axes, each length as a big-endian
    32-bit integer, the values.
    """
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    n_axes = raw[3] if len(raw) > 3 else 0
    start = 4 + 4 * n_axes
    shape = tuple(np.frombuffer(raw[4:start], dtype=">i4").astype(int))
    if raw[:3] != b"\x00\x00\x08" or len(raw) - start != int(np.prod(shape)):
        raise ValueError(f"{path} is no idx file of bytes, or it is cut short.")
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)


def _fetch(subset: str, data_home, allowed: bool) -> tuple[np.ndarray, np.ndarray]:
    places = ", ".join(str(place) for place in _places(data_home))
    advice = (
        f"Fashion-MNIST is in none of: {places}. On Debian and Ubuntu: apt-get install "
        f"dataset-fashion-mnist. Elsewhere set {ENVIRONMENT} (or data_home=) to a folder with the "
        "four files *-ubyte.gz, or let scikit-learn fetch it with download_if_missing=True."
    )
    if not allowed:
        raise FileNotFoundError(advice)
    try:
        X, y = fetch_openml(data_id=OPENML_ID, data_home=data_home, as_frame=False, return_X_y=True)
    except OSError as error:
        raise OSError(f"{advice} The download from OpenML failed: {error}") from error
    rows = slice(None, N_TRAIN) if subset == "train" else slice(N_TRAIN, None)
    return np.asarray(X[rows]), np.asarray(y[rows])


def _choose(n: int, n_rows: int | None, random_state) -> slice | np.ndarray:
    if n_rows is None:
        return slice(None)
    allowed = f"None or a number of rows from 1 to {n}"
    if isinstance(n_rows, bool) or not isinstance(n_rows, (int, np.integer)):
        raise invalid("n_rows", n_rows, allowed, error=TypeError)
    if not 1 <= n_rows <= n:
        raise invalid("n_rows", n_rows, allowed)
    if random_state is None:
        return slice(n_rows)
    return check_random_state(random_state).permutation(n)[:n_rows]
