"""Settings of `rosenblatt.tune` that contradict each other."""

import pytest

import rosenblatt
from rosenblatt.errors import SpecError
from rosenblatt.spec.dimensions import uniform


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reuse": True}, "compares with what trials read on this machine"),
        ({"cores_per_trial": 0}, "cores_per_trial of at least 1"),
        ({"workers": 0}, "workers must be a whole number"),
        ({"on": None, "gpus_per_trial": 1}, "Add on=PLACE"),
    ],
)
def test_settings_that_cannot_be_combined_are_refused(options, message):
    with pytest.raises(SpecError, match=message):
        rosenblatt.tune(lambda params, run: 1.0, {"x": uniform(0, 1)}, **{"on": "lab"} | options)
