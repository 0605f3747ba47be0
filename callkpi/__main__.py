"""``python -m callkpi``."""

from callkpi.commands.cli import main

if __name__ == "__main__":
    main()
