"""`python -m rosenblatt` is the command `rosenblatt`."""

from rosenblatt.cli.main import main

main()
