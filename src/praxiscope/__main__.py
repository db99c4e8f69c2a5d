"""``python -m praxiscope``."""

from praxiscope.cli.main import main

if __name__ == "__main__":
    main()
