"""Kernels are chosen before torch computes, wherever training may begin, and the user's own choice stays."""

from __future__ import annotations

import pytest

from tests.trainables.numerics.processes import output_of

SETTING = "import os; print(os.environ.get('MKL_CBWR'))"


@pytest.mark.parametrize("package", ["trainables", "sweep", "sweep.cli", "sweep.on_ray.cohort_actor"])
def test_importing_the_product_chooses_kernels(package: str) -> None:
    assert output_of(f"import {package}; {SETTING}") == "AUTO"


def test_what_the_user_has_set_stays() -> None:
    assert output_of(f"import trainables; {SETTING}", MKL_CBWR="COMPATIBLE") == "COMPATIBLE"


def test_an_empty_setting_is_none() -> None:
    assert output_of(f"import trainables; {SETTING}", MKL_CBWR="") == "AUTO"


def test_choosing_imports_nothing_heavy() -> None:
    code = "import sys, trainables, sweep; print({'torch', 'numpy', 'ray', 'pandas'} & set(sys.modules))"
    assert output_of(code) == "set()"
