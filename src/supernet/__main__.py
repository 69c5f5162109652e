"""Where the command `supernet`, and `python -m supernet`, begin."""

import sys


def main() -> None:
    """Run the command line, and end in a sentence even if stopped while it is still loading."""
    try:
        from supernet.cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("supernet: stopped by Ctrl-C\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
