"""Writes the array files beside it that the tests read (NumPy 2.4.6)."""

import pathlib

import numpy as np
from numpy.lib.format import write_array

here = pathlib.Path(__file__).parent

members = {
    "images": (np.arange(120) * 7 % 256).astype(np.uint8).reshape(2, 3, 4, 5),
    "labels": np.array([3, -1], dtype=np.int64),
    "features": (np.arange(6, dtype=np.float32) / 8).reshape(3, 2),
    "words": np.array(["a", "bc"]),
}
np.savez(here / "stored.npz", **members)
np.savez_compressed(here / "deflated.npz", **members)

# Entry (i, j) is 10 i + j.
table = np.fromfunction(lambda i, j: 10 * i + j, (2, 3))
np.save(here / "fortran_big_endian.npy", np.asfortranarray(table.astype(">f8")))
np.save(here / "half.npy", table.astype(np.float16))
np.save(here / "number.npy", np.int32(-5))
for version in (1, 2, 3):
    with open(here / f"version{version}.npy", "wb") as file:
        write_array(file, table.astype("<i4"), version=(version, 0))

# As pytorch-fid saves statistics.
rows = np.fromfunction(lambda i, j: (3 * i + j * j) % 7, (10, 3))
np.savez_compressed(
    here / "statistics.npz", mu=rows.mean(axis=0), sigma=np.cov(rows, rowvar=False)
)
