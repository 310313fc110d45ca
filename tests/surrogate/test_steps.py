"""Generators whose value counts too."""

import pytest

from ase_bayesel.surrogate.steps import Steps


def counting(n, left):
    """Counts; notes how it was left."""
    try:
        yield from range(n)
        left.append("through")
        return "value"
    except GeneratorExit:
        left.append("closed")
        raise


def test_steps_and_then_the_value():
    steps = Steps(counting(3, left := []))
    assert list(steps) == [0, 1, 2]
    assert (steps.value, left) == ("value", ["through"])


def test_a_loop_that_is_left_closes_the_generator():
    left = []

    def outer():
        for step in Steps(counting(3, left)):
            yield 10 * step

    running = outer()
    assert next(running) == 0
    running.close()
    assert left == ["closed"]


def test_errors_pass_through():
    def failing():
        yield 1
        raise ValueError("of the work")

    steps, done = Steps(failing()), []
    with pytest.raises(ValueError, match="of the work"):
        done.extend(step for step in steps)
    assert not hasattr(steps, "value")
