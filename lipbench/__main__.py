"""``python -m lipbench``."""

from lipbench.cli import main

if __name__ == "__main__":
    main()
