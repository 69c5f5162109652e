"""Entry point of the command `supernet` and of `python -m supernet`."""

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
