"""What a learner calls and sees in a lesson: checks, hints, `my_peft.py`, bets."""
