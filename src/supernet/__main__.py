"""`python -m supernet` is the command `supernet`."""

from supernet.cli import main

if __name__ == "__main__":
    main()
