"""Names for runs that nobody named: two words that people can say, and a number."""

from __future__ import annotations

import random
from typing import Final


def made_name(run: str, number: int) -> str:
    """Return a name for a run that nobody named: an adjective, a noun, and the run's number.

    Args:
        run: the run's id; the same id gives the same words.
        number: what tells it from others with the same words: how many runs the project has with
            this one, where that is known.
    """
    chosen = random.Random(run)
    return f"{chosen.choice(_ADJECTIVES)}-{chosen.choice(_NOUNS)}-{number}"


_ADJECTIVE_WORDS: Final = """
amber ancient arctic autumn azure balmy bold brisk bright calm chilly classic clean clear cool
copper cosmic crimson crisp dainty dandy dark dazzling deep devout distant divine dry dulcet
eager earnest easy electric elated faithful fallen fast fearless fine firm floral fluent
fragrant fresh frosty gallant gentle giddy glad glamorous golden good graceful grand happy hardy
helpful honest humble icy jolly jumping kind laced legendary light likely lilac lively logical
lucky lunar lyric magic major mild misty morning noble northern olive peaceful playful pleasant
polar polished proud pure quiet radiant rare rich rosy royal ruby rural scarlet serene silver
silvery smooth snowy soft solar spring stellar still stoic summer sunny super sweet swift tough
toasty unique upbeat valiant visionary vital vivid warm wandering whole wild winter wise wobbly
young zany zesty
"""
_NOUN_WORDS: Final = """
aardvark armadillo bee bird blaze breeze brook bush butterfly canyon capybara cherry cloud
cosmos creek dawn deluge dew disco donkey dragon dream durian dust eagle elevator energy etching
falcon feather field fire firefly flower fog forest frog frost galaxy gorge grass grove haze
hill jazz lake leaf lion meadow microwave monkey moon morning mountain night oath ocean paper
pine planet plant plasma pond puddle pyramid rain rainbow resonance river salad sea serenity
shadow shape silence sky smoke snow snowball snowflake sound spaceship star sun sunset surf
terrain thunder tree universe valley violet voice vortex water waterfall wave wildflower wind
wood yogurt
"""
_ADJECTIVES: Final = tuple(_ADJECTIVE_WORDS.split())
_NOUNS: Final = tuple(_NOUN_WORDS.split())
