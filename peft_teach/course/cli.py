"""The command line: `peft-teach fetch`, `peft-teach build`."""

import argparse
import sys
from collections.abc import Sequence

from ..errors import PeftTeachError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it did what it was asked, 1 with a message on stderr otherwise."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except PeftTeachError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="peft-teach", description="The course's own tools.")
    commands = parser.add_subparsers(required=True, metavar="command")

    fetch = commands.add_parser("fetch", help="fetch the models and data, to work offline after")
    fetch.set_defaults(command=_fetch)

    build = commands.add_parser("build", help="make the notebooks from their sources")
    build.add_argument("lessons", nargs="*", metavar="lesson", help="07 or 07_lora; default: all")
    build.add_argument("--root", default=".", help="the top of the checkout; default: here")
    way = build.add_mutually_exclusive_group()
    way.add_argument("--execute", action="store_true", help="run the solution notebooks too")
    way.add_argument("--check", action="store_true",
                     help="write nothing; say what is out of date and which solution leaks")
    build.set_defaults(command=_build)
    return parser


# Each command imports what it needs: `--help` should not wait for models and notebook tools.


def _fetch(arguments: argparse.Namespace) -> int:
    from ..fetch import fetch_all

    fetch_all()
    return 0


def _build(arguments: argparse.Namespace) -> int:
    if arguments.check:
        from .audit import audit

        if arguments.lessons:
            raise PeftTeachError("--check looks at all lessons.", hint="leave their names out")
        problems = audit(arguments.root)
        print("\n".join(problems) or "Every notebook is what its source gives.",
              file=sys.stderr if problems else sys.stdout)
        return 1 if problems else 0

    from .build import build

    print("\n".join(build(arguments.root, arguments.lessons, execute=arguments.execute)))
    return 0
