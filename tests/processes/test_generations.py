"""Where a process stands among those of its service."""

from itertools import product

import pytest

from wshub.processes import generations
from wshub.processes.generations import LEAST_BATCH, MOST_BATCHES, TABLE, Standing, Turn, after, batch_size


def test_the_table_in_the_docstring_is_the_one_in_force() -> None:
    """Each cell of the documented table is what happens, and an empty one changes nothing."""
    rows = [line for line in (generations.__doc__ or "").splitlines() if line.strip().split(" ")[0] in Turn.__members__]
    assert len(rows) == len(Turn)
    for row in rows:
        turn = Turn[row.split()[0]]
        cells = [row[start : start + 11].strip() for start in (54, 65, 76, 87)]
        for standing, cell in zip(list(Standing)[:4], cells, strict=True):
            assert after(standing, turn) == (Standing[cell] if cell else standing), (standing, turn)


def test_gone_is_final() -> None:
    """Whatever happens then."""
    assert {after(Standing.GONE, turn) for turn in Turn} == {Standing.GONE}


def test_there_is_one_way_to_become_current() -> None:
    """Only the next one does: no old one ever comes back."""
    became = {before for (before, _), then in TABLE.items() if then is Standing.CURRENT}
    assert became == {Standing.NEXT}
    assert all(after(each, turn) is not Standing.NEXT for each, turn in product(list(Standing)[1:], Turn))


@pytest.mark.parametrize(("count", "size"), [(1, 16), (16, 16), (320, 16), (321, 17), (20_000, 1000)])
def test_batches(count: int, size: int) -> None:
    """Few clients are closed at once, many in twenty batches."""
    assert batch_size(count) == size
    assert size == LEAST_BATCH or -(-count // size) <= MOST_BATCHES
