"""Parameters as rows and back."""

import torch

from trainables.lanes.layout import Layout


def test_rows_and_parameters_are_inverse_views_of_each_other() -> None:
    layout = Layout({"a/kernel": (3, 4), "a/bias": (4,), "b": (2, 2)})
    assert layout.weights == 20
    rows = torch.arange(40.0).view(2, 20)
    parameters = layout.parameters(rows)
    assert {name: tuple(weight.shape) for name, weight in parameters.items()} == {
        "a/kernel": (2, 3, 4),
        "a/bias": (2, 4),
        "b": (2, 2, 2),
    }
    assert torch.equal(layout.rows(parameters), rows)
    assert torch.equal(layout.parameters(rows[1])["b"], parameters["b"][1])
    rows.zero_()
    assert not parameters["b"].any()


def test_missing_parts_are_zero() -> None:
    layout = Layout({"a": (2,), "b": (3,), "c": (1,)})
    rows = layout.rows({"a": None, "b": torch.ones(2, 3)})
    assert rows.tolist() == [[0, 0, 1, 1, 1, 0]] * 2
