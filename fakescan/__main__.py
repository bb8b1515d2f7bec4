"""`python -m fakescan`."""

from fakescan.cli import main

main()
