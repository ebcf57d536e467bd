"""Learning a model without labels: expectation maximisation over every pair that the keys find, all at once.

Belongs here: the estimate. Does not belong here: comparing records (`scoring.py`).

Splink's own way trains on the pairs of one blocking rule after the other, and learns of each attribute from pairs that
agree in others. Where errors exclude each other (one per record, say) that misleads it. Here the pairs of all keys are
one population: what no key finds is taken for two persons, so the prior and the weights follow from the same counts.
Households are a population of their own, or sharing a home would be taken for being one person. Chance is known
beforehand (`scoring.estimate_chance`) and corrected for the matches that were among it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.identity.matching.kinds import Feature
from segmentation.identity.matching.scoring import Neighbours, Parameters, Weights

Reals = NDArray[np.float64]
Levels = NDArray[np.int64]

_MAX_ITERATIONS, _TOLERANCE = 300, 1e-4
#: Matches' first guess: most agree, few differ; and with how many pairs the guess counts.
_AGREE, _DIFFER, _GUESS_PAIRS = 0.8, 0.02, 1.0
#: Share of matches in which what makes a person (names, birth) may differ. Without it, the estimate may settle on
#: another likeness of records, such as living in one house.
_PERSONAL = {"given_name", "surname", "birth_date"}
_PERSONAL_DIFFER = 0.4
#: Kinds that are a person's own: neighbours agree in them by chance alone.
_OWN = {"given_name", "birth_date", "code"}
#: Share of pairs that stands for none.
_NOBODY = 1e-12
#: A correction for matches leaves at least this share of the chance that was measured.
_LEAST_CHANCE_LEFT = 0.1


@dataclass(frozen=True, slots=True)
class Patterns:
    """Pairs counted by how they agree.

    Attributes:
        levels: One row per pattern, one column per attribute: position of its level, -1 where nothing was compared.
        rarity: Bits that frequencies add to the pattern's weight.
        shared_rarity: Those of them that are about attributes which neighbours share.
        pairs: Pairs of the pattern.
    """

    levels: Levels
    rarity: Reals
    shared_rarity: Reals
    pairs: Reals


@dataclass(frozen=True, slots=True)
class Estimate:
    """Parameters, and how they were reached."""

    parameters: Parameters
    iterations: int
    expected_matches: float


def first_guess(features: Sequence[Feature], chance: Mapping[str, Sequence[float]], records: int) -> Parameters:
    """Return the parameters that the estimate starts from."""
    return Parameters(
        1 / max(records, 2),
        {one.attribute: Weights(_guessed(len(one.levels)), tuple(chance[one.attribute])) for one in features},
    )


def _guessed(levels: int) -> tuple[float, ...]:
    between = levels - 2
    if not between:
        return (1 - _DIFFER, _DIFFER)
    return (_AGREE, *([(1 - _AGREE - _DIFFER) / between] * between), _DIFFER)


def shared_attributes(kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Return the attributes that neighbours may share; none where nothing tells two of them apart."""
    if not _OWN & set(kinds.values()):
        return ()
    return tuple(name for name, kind in kinds.items() if kind not in _OWN)


def estimate(kinds: Mapping[str, str], start: Parameters, patterns: Patterns, all_pairs: float) -> Estimate:
    """Return the parameters that make the patterns most likely.

    A pair is of one person, of two neighbours, or of two persons by chance. Of these, chance is known; the shares
    of the others, and how often they reach each level, are learned.

    Args:
        kinds: Kind of each attribute, in the order of the patterns' columns.
        start: First guess; its chances are those that rarity is relative to.
        patterns: Pairs that the keys find.
        all_pairs: Pairs in all, found or not.
    """
    names, shared = list(kinds), shared_attributes(kinds)
    guess = [np.array(start.weights[name].matches) for name in names]
    measured = [np.array(start.weights[name].others) for name in names]
    matches, others = [one.copy() for one in guess], [one.copy() for one in measured]
    near = {index: guess[index].copy() for index, name in enumerate(names) if name in shared}
    prior, near_prior = start.prior, start.prior if near else _NOBODY
    expected, iterations = 0.0, 0
    while iterations < _MAX_ITERATIONS:
        iterations += 1
        by_chance = 1 - prior - near_prior
        match_bits = math.log2(prior / by_chance) + patterns.rarity
        near_bits = math.log2(near_prior / by_chance) + patterns.shared_rarity
        for index, (m, u) in enumerate(zip(matches, others, strict=True)):
            match_bits = match_bits + _bits(m, u)[patterns.levels[:, index]]
            if index in near:
                near_bits = near_bits + _bits(near[index], u)[patterns.levels[:, index]]
        match_odds, near_odds = np.exp2(np.clip(match_bits, -200, 200)), np.exp2(np.clip(near_bits, -200, 200))
        if not near:
            near_odds = np.zeros_like(match_odds)
        share = match_odds / (1 + match_odds + near_odds) * patterns.pairs
        near_share = near_odds / (1 + match_odds + near_odds) * patterns.pairs
        expected = float(share.sum())
        new_prior = min(max(expected / all_pairs, _NOBODY), 0.4)
        near_prior = min(max(float(near_share.sum()) / all_pairs, _NOBODY), 0.4)
        moved = abs(math.log(new_prior / prior))
        prior = new_prior
        for index, name in enumerate(names):
            updated = _levels_of(patterns.levels[:, index], share, guess[index])
            if kinds[name] in _PERSONAL:
                updated = _differing_at_most(updated, _PERSONAL_DIFFER)
            moved = max(moved, float(np.abs(updated - matches[index]).max()))
            matches[index] = updated
            chance = measured[index] - prior * updated
            if index in near:
                near[index] = _levels_of(patterns.levels[:, index], near_share, guess[index])
                chance = chance - near_prior * near[index]
            others[index] = np.maximum(chance / (1 - prior - near_prior), measured[index] * _LEAST_CHANCE_LEFT)
        if moved < _TOLERANCE:
            break
    weights = {name: Weights(_plain(m), _plain(u / u.sum())) for name, m, u in zip(names, matches, others, strict=True)}
    neighbours = Neighbours(near_prior, {names[index]: _plain(one) for index, one in near.items()}) if near else None
    return Estimate(Parameters(prior, weights, neighbours), iterations, expected)


def _bits(agreeing: Reals, chance: Reals) -> Reals:
    """Return the bits of each level; the last entry stands for -1: nothing was compared, nothing is learned."""
    return np.append(np.log2(agreeing / chance), 0.0)


def _levels_of(column: Levels, share: Reals, guess: Reals) -> Reals:
    told = column >= 0
    counted = np.bincount(column[told], weights=share[told], minlength=len(guess))
    return np.asarray((counted + _GUESS_PAIRS * guess) / (counted.sum() + _GUESS_PAIRS), dtype=np.float64)


def _differing_at_most(levels: Reals, most: float) -> Reals:
    if levels[-1] <= most:
        return levels
    return np.append(levels[:-1] * (1 - most) / (1 - levels[-1]), most)


def _plain(levels: Reals) -> tuple[float, ...]:
    return tuple(map(float, levels))
