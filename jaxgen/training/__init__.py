"""Training of any learner: the loop, the compiled epoch, devices, checkpoints. Knows no model."""

from jaxgen.training.loop import Progress, Result, Schedule, Start, fit, steps_in_epoch

__all__ = ["Progress", "Result", "Schedule", "Start", "fit", "steps_in_epoch"]
