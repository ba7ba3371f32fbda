"""python -m llorch_core is the command llorch."""

from llorch_core.cli import main

if __name__ == "__main__":
    main()
