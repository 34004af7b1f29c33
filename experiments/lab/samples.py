"""Samples set beside test images, in numbers and in words: alike, off the data, or near it.

One number is not enough: a blur is near to many images, chains that end in one image have a small
drift, and broken strokes vary as much as the data.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from jaxgen.data import Dataset
from jaxgen.evaluation import sample_quality

NUM_COMPARED = 500
"""Samples, and test images, at most."""
NUM_GROUPED = 200
"""Of them, in search of groups that are alike."""
ALIKE = 0.01
"""Samples whose pixels vary less than this part of what those of test images do are all alike."""
GROUP = 0.5
"""Samples are alike if more than this share of them is, and twice the share of test images."""
FAR = 1.25
"""Samples are off the data if their mean distance to the nearest training image is more than this
many times that of test images."""
SMOOTH = 0.5
"""Samples vary little if their pixels do so by less than this part of what test images' do."""

VARIANCE = "100% is that of test images; less is less variety"
"""The note below that number."""

Verdict = Literal["alike", "off the data", "of little variety", "near the data"]


RULES: Mapping[Verdict, str] = {
    "alike": f"Alike are samples if more than {GROUP:.0%} of them lie nearer to one of them than "
    "half the median distance of two test images, and twice as many as test images do; or if their "
    f"pixels vary less than {ALIKE:.0%} as much.",
    "off the data": f"Off the data are samples that lie over {FAR:g} times as far from the nearest "
    "training image as test images do.",
    "of little variety": f"Of little variety are samples whose pixels vary less than {SMOOTH:.0%} "
    "as much as those of test images.",
    "near the data": f"Near the data are samples at most {FAR:g} times as far from the nearest "
    f"training image as test images, whose pixels vary at least {SMOOTH:.0%} as much. Blurred "
    "images may be so too.",
}
"""The condition of each verdict; the first that holds counts."""
EXPLAINED = " ".join(RULES.values())


class Looks(NamedTuple):
    """How samples compare with test images."""

    distance: float
    """Mean distance to the nearest training image, over that of test images."""
    variance: float
    """Variance of the pixels, over that of test images."""
    group: float
    """Share of the largest group that is alike, see `sample_quality.largest_group`."""
    test_group: float
    """The same of test images."""

    @property
    def verdict(self) -> Verdict:
        """The verdict from the numbers; the first that holds."""
        if self.variance < ALIKE or self.group > max(GROUP, 2 * self.test_group):
            return "alike"
        if self.distance > FAR:
            return "off the data"
        return "of little variety" if self.variance < SMOOTH else "near the data"

    @property
    def alike(self) -> bool:
        """Whether the samples are one image, or a few of a kind."""
        return self.verdict == "alike"

    def too_short(self, num_steps: int) -> str:
        """Why a training of so many updates is too short for a finding; empty if it is not."""
        if not self.alike:
            return ""
        return (
            f"After {num_steps:,} updates the samples are {self.in_words()}. Most likely the "
            "updates are too few, so the numbers here are no finding about the model: more epochs "
            "come first (`--epochs`). If the samples stay alike then, the training has failed."
        )

    def in_words(self) -> str:
        """The verdict with the number that it follows from, after "the samples are"."""
        if self.verdict == "alike":
            if self.variance < ALIKE:
                return f"all alike: their pixels vary {self.variance:.1%} as much as test images'"
            words = f"alike: {self.group:.0%} of them lie near one image"
            return words if self.distance <= FAR else f"{words}, and {self.far_in_words()}"
        if self.verdict == "off the data":
            return f"off the data: {self.far_in_words()}"
        if self.verdict == "of little variety":
            share = f"{self.variance:.0%}"
            return f"of little variety: their pixels vary {share} as much as test images'"
        words = f"near the data in pixels: {self.far_in_words()}"
        return f"{words}, with {self.variance:.0%} of their variance"

    @property
    def rule(self) -> str:
        """The condition of the verdict on these samples."""
        return RULES[self.verdict]

    def far_in_words(self) -> str:
        """The distance, after "the samples lie"."""
        factor = f"{self.distance:.2g}"
        times = "" if factor == "1" else f"{factor} times "
        return f"{times}as far from the nearest training image as test images are"

    def measures(self, prefix: str) -> dict[str, float]:
        """The numbers by name."""
        return {f"{prefix}_{name}": value for name, value in self._asdict().items()}


def looks_of(measures: Mapping[str, float], prefix: str) -> Looks:
    """The numbers of `Looks.measures` read back."""
    return Looks(*(measures[f"{prefix}_{name}"] for name in Looks._fields))


def measure(images: np.ndarray, dataset: Dataset) -> Looks:
    """Sets the first samples, in [0, 1] and of the data's size, beside the first test images."""
    images, real = images[:NUM_COMPARED], dataset.test.images[:NUM_COMPARED] / np.float32(255)
    distances = [
        float(sample_quality.nearest_distance(each, dataset.train.images).mean())
        for each in (images, real)
    ]
    variances = [sample_quality.pixel_variance(each) for each in (images, real)]
    groups = [
        sample_quality.largest_group(each[:NUM_GROUPED], real[:NUM_GROUPED])
        if min(len(each), len(real)) > 1
        else 0.0
        for each in (images, real)
    ]
    return Looks(
        distance=distances[0] / max(distances[1], 1e-12),
        variance=variances[0] / max(variances[1], 1e-12),
        group=groups[0],
        test_group=groups[1],
    )
