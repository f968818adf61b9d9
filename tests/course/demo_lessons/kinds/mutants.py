"""What a test of doubling is tried on."""

RIGHT = {
    "adds a number to itself": lambda x: x + x,
    "multiplies by two": lambda x: 2 * x,
    "takes the half away from": lambda x: x - -x,
}
BROKEN = {
    "gives the number back": lambda x: x,
    "adds two": lambda x: x + 2,
    "squares": lambda x: x * x,
    "forgets the sign": lambda x: abs(2 * x),
}
