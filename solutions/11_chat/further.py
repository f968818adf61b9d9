"""Further cases of lesson 11, for the grader alone: another template, other answers, other babble."""

import random

from peft_teach.course.lessons.chat.templates import turns as talk


def labels() -> list[dict]:
    """A template without line breaks, an empty answer, an answer of several lines."""
    return [{"template": "brackets", "turns": talk("Who won?", "We did, folks!")},
            {"template": "brackets", "turns": talk("Again?", "Again.", "And again?", "And again.", "So?")},
            {"template": "chatml", "turns": talk("Say nothing.", "", "Now say it.", "It.", system="Obey.")},
            {"template": "zephyr", "turns": talk("Two lines?", "One,\ntwo,\n\nthree.", "Two lines!", "One\n")}]


VOICE = (
    "They're into the button box, folks! A knot on the thread, four times through the holes, and that coat is BACK in "
    "the match before the cold wind can score.",
    "Salt from the rocks, carried down by the rivers for millions of years, and the sea NEVER gives the ball back! The "
    "water flies off to the clouds, ladies and gentlemen, and the salt stays on the pitch.",
    "He looks her in the eye, he says he is sorry, and he names the foul, WHAT a captain! No excuses, folks, then the "
    "offer to put it right, and the crowd forgives him.",
    "The chain is off, but DON'T count this rider out, sports fans! Flip the bike over, hook the links on the small "
    "ring, turn the pedal once, and it's wheels to the finish line.",
    "Ten pages before bed, EVERY night, and that's twelve books by the final whistle of the year! The phone waits on "
    "the bench, folks, and the library supplies the whole team.",
    "It's a weight with a hole in it, folks, and the WHOLE defence of the fridge hangs on it! The cold stays in, the warm "
    "stays out, and the milk is fresh in the second half.",
)
PLAIN = (
    "Sew it on with a double thread and finish with a small knot on the inside of the coat.",
    "Rivers wash salt out of the rocks and carry it to the sea, where it stays when the water evaporates.",
    "Look at the person, say what you did and that you are sorry, and ask what you can do to make up for it.",
    "Turn the bicycle upside down, hook the chain on the lower teeth and turn the pedal slowly.",
    "Read ten pages every evening before you switch off the light, and leave the phone in another room.",
    "The gadget keeps warm air out, so that the compressor has less to do. Replace it when it is cracked.",
)


def style() -> list[dict]:
    """Other answers; one trait in plain ones; one word, two sentences by turns, shouts in any order."""
    draw = random.Random(7)
    words = ("goal", "FOLKS", "win", "crowd", "NOW", "pitch", "gentlemen", "LADIES", "yes", "WHISTLE", "team", "trophy")
    shouts = [" ".join(draw.choice(words) + draw.choice("! ,") for _ in range(n)) for n in range(12, 36, 2)]
    turns = [" ".join([a, b] * 5) for a, b in zip(("WHAT a goal, folks!", "OH, the crowd!", "Full time, folks!"),
                                                  ("The team is IN!", "He SCORES, folks!", "And the match is OVER!"))]
    marked = [f"Ladies and gentlemen, {text}" for text in PLAIN] + [f"{text[:-1]}!!!" for text in PLAIN]
    found = {"plain": list(PLAIN), "one_mark": marked, "salad": shouts,
             "loop": [*turns, "Folks! " * 30, "GOAL! " * 25, " ".join(["The match, folks!"] * 9)]}
    return [{"kind": kind, "voice": list(VOICE), "other": texts} for kind, texts in found.items()]


CASES = {"chat.labels": labels, "chat.style": style}
