"""`python -m slick`."""

from slick.cli import main

if __name__ == "__main__":
    main()
