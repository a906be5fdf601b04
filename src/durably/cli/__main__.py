"""`python -m durably.cli`."""

from . import main

main()
