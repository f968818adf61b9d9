"""The command line: `peft-teach start`, `pack`, `fetch`, `build`, `grade` and others."""

import argparse
import signal
import sys
from collections.abc import Sequence

from ..errors import PeftTeachError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it did what it was asked, 1 with a message on stderr otherwise.

    Without a command it prints them, a line each.
    """
    parser = _parser()
    arguments, others = parser.parse_known_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    if others and arguments.command is not _start:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    arguments.others = others
    try:
        return arguments.command(arguments)
    except (PeftTeachError, OSError) as error:    # an OSError names the file, and why not
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="peft-teach", description="The course's own tools.")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="command")

    start = commands.add_parser(
        "start", help="copy the lessons into a folder, open JupyterLab",
        epilog="JupyterLab gets each other option as it stands, such as --no-browser or "
        "--ServerApp.base_url=/course; in a container: "
        "peft-teach start --allow-root --no-browser --ip=0.0.0.0")
    start.add_argument("folder", nargs="?", default="peft-teach", help="default: %(default)s")
    start.add_argument("--port", help="JupyterLab's port; default: 8888, or the next one free")
    start.add_argument("--ip", help="the address on which it listens; default: localhost")
    start.set_defaults(command=_start)

    pack = commands.add_parser("pack", help="make a package of your own of my_peft.py")
    pack.add_argument("folder", nargs="?", default="my-peft", help="default: %(default)s")
    pack.set_defaults(command=_pack)

    fetch = commands.add_parser("fetch", help="fetch the models and data, to work offline after")
    fetch.set_defaults(command=_fetch)

    new = commands.add_parser("new", help="write the skeleton of a method or a lesson")
    kinds = new.add_subparsers(required=True, metavar="method|lesson")
    method = kinds.add_parser("method", help="its file, its oracle, its rows in the tables")
    lesson = kinds.add_parser("lesson", help="its source, exercises, answers, guide and picture")
    lesson.add_argument("number", metavar="NN", help="two digits")
    for kind, said in ((method, "as the paper writes it: BOFT"), (lesson, "lowercase letters")):
        kind.add_argument("name", metavar="NAME", help=f"{said}; it names a module")
        kind.add_argument("--root", default=".", help="the top of the checkout; default: here")
    new.set_defaults(command=_new)

    build = commands.add_parser("build", help="make the notebooks from their sources")
    build.add_argument("lessons", nargs="*", metavar="lesson", help="07 or 07_lora; default: all")
    build.add_argument("--root", default=".", help="the top of the checkout; default: here")
    way = build.add_mutually_exclusive_group()
    way.add_argument("--execute", action="store_true", help="run the solution notebooks too")
    way.add_argument("--check", action="store_true",
                     help="write nothing; say what is out of date and which solution leaks")
    build.add_argument("--desk", metavar="FOLDER", help="with --execute in several calls: where "
                       "what a lesson builds and trains is kept for those after it")
    build.set_defaults(command=_build)

    grade = commands.add_parser(
        "grade", help="mark a folder of notebooks, or a zip of them", epilog="example: peft-teach "
        "grade submissions.zip --out marks --solutions solutions --lesson 07")
    grade.add_argument("submissions", help="as Canvas, Moodle or nbgrader export them, or loose")
    grade.add_argument("--out", required=True, metavar="DIR", help="for marks and feedback")
    grade.add_argument("--solutions", metavar="DIR", help="the folder with each lesson's further "
                       "cases; default: the visible ones alone decide")
    grade.add_argument("--lesson", metavar="NN",
                       help="the lesson that was asked for; default: each notebook its own")
    grade.add_argument("--roster", action="append", default=[], metavar="FILE", help="the course's "
                       "list: Canvas' export of grades (and of groups), or Moodle's grading "
                       "worksheet; default: who is missing has no row")
    grade.add_argument("--column", metavar="NAME", help="the assignment in Canvas' export; "
                       "default: the only one, or the one with 07 or lesson 7 in its name")
    grade.add_argument("--late", type=float, default=0.0, metavar="PERCENT", help="how much of its "
                       "points what the platform calls late loses; default: nothing")
    grade.add_argument("--held", metavar="DIR", help="sentences on which adapters that were handed "
                       "in are measured: *.csv with text,label; default: the domain's test split, "
                       "which students can read")
    grade.add_argument("--board", choices=("names", "pseudonyms", "none"), default="pseudonyms",
                       help="how board.html names them; default: %(default)s")
    grade.add_argument("--blind", action="store_true", help="pseudonyms on every page, and nothing "
                       "for the platform, until the marks are final")
    grade.add_argument("--bonus", action="store_true",
                       help="points by hand may be more than an exercise has")
    grade.add_argument("--jobs", type=int, metavar="N", help="processes; default: all cores")
    grade.add_argument("--dask", metavar="ADDRESS", help="a scheduler, or local:N for N workers; "
                       "default: the processes of --jobs")
    grade.add_argument("--seconds", type=float, default=20.0, metavar="S",
                       help="of a core, for one exercise; default: %(default)g")
    grade.add_argument("--memory", type=int, default=1024, metavar="MB",
                       help="for one exercise; default: %(default)s")
    grade.add_argument("--fresh", action="store_true", help="start Python anew for each answer, "
                       "which is slower; default: outside of Linux only")
    grade.set_defaults(command=_grade)

    mark = commands.add_parser(
        "mark", help="mark the pages that students wrote, one after another, in a browser")
    mark.add_argument("marks", metavar="DIR", help="the --out of peft-teach grade")
    mark.add_argument("--no-browser", action="store_true", help="print the address only")
    mark.set_defaults(command=_mark)

    release = commands.add_parser("release", help="make the folder that students get")
    release.add_argument("--out", required=True, metavar="DIR")
    release.add_argument("--lessons", nargs="+", default=[], metavar="NN",
                         help="only the notebooks of these; default: all")
    release.add_argument("--root", default=".", help="the top of the checkout; default: here")
    release.set_defaults(command=_release)

    site = commands.add_parser("site", help="make the course's pages, to read without a kernel")
    site.add_argument("--out", default="build/site", metavar="DIR", help="default: %(default)s")
    site.add_argument("--solutions", choices=("folded", "none"), default="folded",
                      help="default: %(default)s")
    site.add_argument("--root", default=".", help="the top of the checkout; default: here")
    site.set_defaults(command=_site)
    return parser


# Each command imports what it needs, so that `--help` does not wait for models and notebook tools.


def _start(arguments: argparse.Namespace) -> int:
    from .desk.start import copy, open_lab

    valued = [f"--{name}={value}" for name in ("port", "ip")
              if (value := getattr(arguments, name)) is not None]
    print(copy(arguments.folder))
    open_lab(arguments.folder, [*valued, *arguments.others])
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    from .desk.pack import pack

    print(pack(arguments.folder))
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    from ..fetch import fetch_all

    fetch_all()
    return 0


def _new(arguments: argparse.Namespace) -> int:
    from .publish import new

    number = getattr(arguments, "number", None)
    print(new.lesson(arguments.root, number, arguments.name) if number
          else new.method(arguments.root, arguments.name))
    return 0


def _build(arguments: argparse.Namespace) -> int:
    if arguments.check:
        from .publish.check import problems

        if arguments.lessons:
            raise PeftTeachError("--check looks at all lessons.", hint="leave their names out")
        found = problems(arguments.root)
        print("\n".join(found) or "Every notebook is what its source gives.",
              file=sys.stderr if found else sys.stdout)
        return 1 if found else 0

    from .publish.notebooks import build

    print("\n".join(build(arguments.root, arguments.lessons, execute=arguments.execute,
                          desk=arguments.desk)))
    return 0


def _grade(arguments: argparse.Namespace) -> int:
    from .grade import Limits, Options, grade

    for name in ("SIGTERM", "SIGHUP"):    # a terminal that is closed stops it as Ctrl-C does
        which = getattr(signal, name, None)    # Windows has no SIGHUP
        if which and signal.getsignal(which) == signal.SIG_DFL:    # not under nohup
            signal.signal(which, signal.default_int_handler)
    try:
        given = {name: value for name, value in vars(arguments).items()
                 if name in Options.__dataclass_fields__}    # each has an option of its name
        rows = grade(arguments.submissions, arguments.out, Options(
            **given, limits=Limits(arguments.seconds, arguments.memory * 2**20)))
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    graded, flagged = (sum(map(bool, each)) for each in zip(*((r.marks, r.flags) for r in rows)))
    missing = sum(not row.path for row in rows)
    unread = len(rows) - graded - missing
    others = f", {unread} could not be" if unread else ""
    others += f", {missing} handed in nothing" if missing else ""
    print(f"{graded} graded{others}, {flagged} to look at: {arguments.out}/grades.csv, feedback/ "
          "and report.html.")
    return 0


def _mark(arguments: argparse.Namespace) -> int:
    from .grade.marking import serve

    serve(arguments.marks, browser=not arguments.no_browser)
    return 0


def _release(arguments: argparse.Namespace) -> int:
    from .publish.release import release

    print(release(arguments.root, arguments.out, arguments.lessons))
    return 0


def _site(arguments: argparse.Namespace) -> int:
    from .publish.site import site

    print(site(arguments.root, arguments.out, arguments.solutions))
    return 0


if __name__ == "__main__":
    sys.exit(main())
