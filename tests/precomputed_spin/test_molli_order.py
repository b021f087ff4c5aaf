"""The order in which a MOLLI acquired its images, derived from their inversion times."""

import pytest

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.molli_order import acquisition_order
from nnunet_phys.sequences import MOLLI


@pytest.mark.parametrize("scheme", ["5(3)3", "4(1)3(1)2", "3(3)3(3)5", "5(1)1(1)1", "6"])
def test_times_of_a_published_scheme_show_their_order(scheme):
    times = MOLLI(scheme=scheme, rr_ms=870.0, first_inversion_times_ms=(110.0, 190.0, 270.0)).inversion_times_ms
    ascending = tuple(sorted(times))
    assert tuple(ascending[i] for i in acquisition_order(ascending)) == times


def test_times_of_another_scheme_need_its_name():
    times = MOLLI(scheme="2(3)4", first_inversion_times_ms=(110.0, 190.0)).inversion_times_ms
    ascending = tuple(sorted(times))
    assert tuple(ascending[i] for i in acquisition_order(ascending, (2, 4))) == times
    assert tuple(ascending[i] for i in acquisition_order(ascending)) != times
    with pytest.raises(InputError, match=r"do not fit 3 \+ 3 images after 2 inversions"):
        acquisition_order(ascending, (3, 3))
    with pytest.raises(InputError, match="do not show which image was acquired first"):
        acquisition_order((100.0, 120.0, 1100.0))
