"""What training leaves behind, and all that scoring needs.

Belongs here: the shape of a model. Does not belong here: training (`training.py`), scoring (`scoring.py`), or models as
files (`model_files.py`). A model holds weights, keys and shares of frequent values (such as common surnames; none that
fewer than five records have). It holds no record.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from segmentation.identity.matching.blocking import Key
from segmentation.identity.matching.features import Frequencies
from segmentation.identity.matching.kinds import Feature, features_of
from segmentation.identity.matching.scoring import Parameters
from segmentation.identity.matching.training import Learned


@dataclass(frozen=True, slots=True)
class MatchingModel:
    """A model that can score pairs.

    Attributes:
        kinds: Kind of each attribute, by name.
        keys: Keys that find pairs.
        parameters: Weights and prior.
        frequencies: Of frequent values, by column.
        summary: Figures about data and training.
        version: Its number; 0 where it is in no file.
    """

    kinds: Mapping[str, str]
    keys: tuple[Key, ...]
    parameters: Parameters
    frequencies: Mapping[str, Frequencies]
    summary: Mapping[str, int | float | str]
    version: int = 0

    @property
    def features(self) -> tuple[Feature, ...]:
        """What is made of the attributes."""
        return features_of(self.kinds)


def model_of(learned: Learned, summary: Mapping[str, int | float | str]) -> MatchingModel:
    """Return what was learned as a model; ``summary`` is added to the training's own."""
    return MatchingModel(
        learned.kinds, learned.keys, learned.parameters, learned.frequencies, {**learned.summary, **summary}
    )
