"""``python -m callkpi``."""

from callkpi.cli import main

if __name__ == "__main__":
    main()
