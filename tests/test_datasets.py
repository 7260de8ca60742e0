"""The loaders: from files of the real format, made here; nothing is fetched."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from skrobust.datasets import (
    _fashion_mnist,
    fashion_mnist_available,
    load_digits_images,
    load_fashion_mnist,
)

N_ROWS = {"train": 12, "t10k": 5}
RNG = np.random.default_rng(0)
IMAGES = {part: RNG.integers(0, 256, (n, 28, 28), dtype=np.uint8) for part, n in N_ROWS.items()}
LABELS = {part: (np.arange(n) % 10).astype(np.uint8) for part, n in N_ROWS.items()}


def idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim])
    return head + np.array(values.shape, dtype=">i4").tobytes() + values.tobytes()


def write(folder, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    for part in N_ROWS:
        for name, values in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
            path = folder / f"{part}-{name}-ubyte{'.gz' if compress else ''}"
            raw = idx(values[part])
            path.write_bytes(gzip.compress(raw) if compress else raw)
    return folder


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """No Debian package, no environment variable, no network."""
    monkeypatch.delenv("SKROBUST_DATA", raising=False)
    monkeypatch.setattr(_fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr(_fashion_mnist, "fetch_openml", no_network)


def no_network(**kwargs):
    raise ConnectionError("no network in tests")


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(("subset", "part"), [("train", "train"), ("test", "t10k")])
def test_values_shapes_types(tmp_path, subset, part, compress):
    data = load_fashion_mnist(subset=subset, data_home=write(tmp_path / "data", compress))
    assert data.data.shape == (N_ROWS[part], 1, 28, 28)
    assert data.data.dtype == np.float32 and data.target.dtype == np.int64
    np.testing.assert_array_equal(data.data[:, 0], IMAGES[part] / np.float32(255))
    np.testing.assert_array_equal(data.target, LABELS[part])
    assert len(data.target_names) == 10 and "Fashion-MNIST" in data.DESCR


def test_found_in_each_place_in_order(tmp_path, monkeypatch):
    def first_pixels(**options):
        return load_fashion_mnist(return_X_y=True, **options)[0][:, 0, 0, 0]

    assert not fashion_mnist_available()
    debian = write(tmp_path / "nowhere")
    assert fashion_mnist_available()
    by_debian = first_pixels()
    for path in debian.iterdir():  # a change that tells the places apart
        if "images" in path.name:
            raw = bytearray(gzip.decompress(path.read_bytes()))
            raw[16] ^= 255
            path.write_bytes(gzip.compress(bytes(raw)))
    assert first_pixels()[0] != by_debian[0]
    write(tmp_path / "mine" / "fashion-mnist")
    monkeypatch.setenv("SKROBUST_DATA", str(tmp_path / "mine"))
    assert first_pixels()[0] == by_debian[0], "the environment variable comes before Debian"
    assert first_pixels(data_home=debian)[0] != by_debian[0], "data_home comes first"


def test_n_rows_and_random_state(tmp_path):
    home = write(tmp_path / "data")
    _, first = load_fashion_mnist(data_home=home, n_rows=4, return_X_y=True)
    np.testing.assert_array_equal(first, LABELS["train"][:4])
    X, y = load_fashion_mnist(data_home=home, n_rows=12, random_state=3, return_X_y=True)
    assert not np.array_equal(y, LABELS["train"]), "a random choice"
    pixels = IMAGES["train"] / np.float32(255)
    order = [next(i for i in range(12) if np.array_equal(pixels[i], x[0])) for x in X]
    assert sorted(order) == list(range(12)), "without replacement"
    np.testing.assert_array_equal(y, LABELS["train"][order])
    again = load_fashion_mnist(data_home=home, n_rows=12, random_state=3).target
    np.testing.assert_array_equal(y, again)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"subset": "valid"}, ValueError, "subset='valid'.*'train' or 'test'"),
        ({"n_rows": 13}, ValueError, "n_rows=13.*from 1 to 12"),
        ({"n_rows": 0}, ValueError, "n_rows=0"),
        ({"n_rows": 2.5}, TypeError, "n_rows=2.5"),
        ({"n_rows": True}, TypeError, "n_rows=True"),
    ],
)
def test_bad_options(tmp_path, options, error, match):
    with pytest.raises(error, match=match):
        load_fashion_mnist(data_home=write(tmp_path / "data"), **options)


def test_missing_files_say_how_to_get_them():
    advice = "apt-get install dataset-fashion-mnist.*SKROBUST_DATA"
    with pytest.raises(FileNotFoundError, match=advice):
        load_fashion_mnist(download_if_missing=False)
    with pytest.raises(OSError, match=f"{advice}.*no network in tests"):
        load_fashion_mnist()


def test_incomplete_folder_does_not_count(tmp_path):
    home = write(tmp_path / "data")
    (home / "t10k-labels-idx1-ubyte.gz").unlink()
    assert not fashion_mnist_available(home)


def test_files_that_are_something_else(tmp_path):
    home = write(tmp_path / "data")
    path = home / "train-images-idx3-ubyte.gz"
    whole = gzip.decompress(path.read_bytes())
    for raw in (whole[:-1], b"\x01" + whole[1:], b""):
        path.write_bytes(gzip.compress(raw))
        with pytest.raises(ValueError, match="no idx file"):
            load_fashion_mnist(data_home=home)
    path.write_bytes(gzip.compress(idx(IMAGES["train"][:3])))
    with pytest.raises(ValueError, match="does not hold Fashion-MNIST"):
        load_fashion_mnist(data_home=home)


def test_download_is_cut_into_the_subsets(monkeypatch, tmp_path):
    asked = {}

    def fetch(**options):
        asked.update(options)
        return np.full((70_000, 784), 255.0, dtype=np.float32), np.repeat(
            ["1", "2"], [60_000, 10_000]
        )

    monkeypatch.setattr(_fashion_mnist, "fetch_openml", fetch)
    X, y = load_fashion_mnist(subset="test", n_rows=3, data_home=tmp_path, return_X_y=True)
    assert X.shape == (3, 1, 28, 28) and (X == 1).all() and (y == 2).all()
    assert y.dtype == np.int64 and asked["data_home"] == tmp_path
    assert (load_fashion_mnist(n_rows=3).target == 1).all()


def test_digits():
    data = load_digits_images()
    X, y = load_digits_images(return_X_y=True)
    assert X.shape == (1797, 1, 8, 8) and X.dtype == np.float32 and y.dtype == np.int64
    assert X.min() == 0 and X.max() == 1 and len(np.unique(X)) == 17
    np.testing.assert_array_equal(data.data, X)
    assert list(data.target_names) == list(range(10))
