"""Generators whose value counts too."""

from contextlib import closing

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
    assert list(steps) == []
    assert steps.value == "value"


def test_a_loop_that_is_left_can_be_taken_up_again():
    steps = Steps(counting(3, left := []))
    assert next(steps) == 0
    assert left == []
    assert list(steps) == [1, 2]
    assert steps.value == "value"


def test_what_the_end_of_a_generator_raises_is_not_lost():
    """A campaign that is left saves then, and the disk may be full."""

    def saving():
        try:
            yield 1
        finally:
            raise OSError("disk full")

    def outer():
        with closing(Steps(saving())) as steps:
            for step in steps:
                yield 10 * step

    running = outer()
    assert next(running) == 10
    with pytest.raises(OSError, match="disk full"):
        running.close()


def test_errors_pass_through():
    def failing():
        yield 1
        raise ValueError("of the work")

    steps, done = Steps(failing()), []
    with pytest.raises(ValueError, match="of the work"):
        done.extend(step for step in steps)
    assert not hasattr(steps, "value")
