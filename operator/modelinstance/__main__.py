"""``python -m modelinstance``."""

from modelinstance.cli import main

if __name__ == "__main__":
    main()
