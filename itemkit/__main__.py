"""The command line: python -m itemkit."""

from itemkit.running.command import main

if __name__ == "__main__":
    raise SystemExit(main())
